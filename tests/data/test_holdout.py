"""Whether a row is held out depends on its content."""

import pytest

from tuner.data.holdout import choose, rank, split
from tuner.types import Example

ROWS = [Example(f"input {n}", f"output {n}", n) for n in range(1, 1001)]
LABELS = ("good",) * 80 + ("bad",) * 15 + ("odd",) * 3 + ("rare", "rarer")
LABELLED = [Example(f"input {n}", LABELS[n % 100], n) for n in range(1, 1001)]
TWICE = LABELLED + [row._replace(output="bad", line=0) for row in LABELLED[::3]]


def inputs(rows):
    return {row.text_input for row in rows}


def held_out(rows, share, **options):
    return inputs(split(rows, share, **options)[1])


def test_about_the_requested_share_is_held_out_in_order():
    train, held = split(ROWS, 0.2)

    assert 150 < len(held) < 250
    assert sorted(train + held, key=lambda row: row.line) == ROWS
    assert list(held) == sorted(held, key=lambda row: row.line)


def test_added_rows_and_their_order_move_no_row():
    train, held = split(ROWS[:500], 0.2)
    more_train, more_held = split(ROWS[::-1], 0.2)

    assert inputs(train) <= inputs(more_train)
    assert inputs(held) <= inputs(more_held)
    assert held_out(TWICE, 0.1, stratify=True) == held_out(TWICE[::-1], 0.1, stratify=True)


def test_a_larger_share_keeps_what_was_held_out():
    assert held_out(ROWS, 0.1) < held_out(ROWS, 0.3)


@pytest.mark.parametrize("stratify", [False, True])
def test_no_input_is_in_both_sets(stratify):
    train, held = split(TWICE, 0.4, stratify=stratify)

    assert held
    assert not inputs(train) & inputs(held)


def test_a_split_never_changes_between_releases():
    _, held = split(ROWS[:40], 0.1)

    assert [row.line for row in held] == [3, 4, 5, 13, 16, 21]


@pytest.mark.parametrize("most", [1, 7, 1000, 2000])
def test_a_limited_number_of_rows_is_chosen_independently_of_their_order(most):
    chosen = choose(ROWS, most)

    assert len(chosen) == min(most, 1000)
    assert inputs(chosen) == inputs(choose(ROWS[::-1], most))
    assert inputs(chosen) <= inputs(choose(ROWS, most + 1))


def test_with_stratify_every_output_has_its_share_in_both_sets():
    train, held = split(LABELLED, 0.1, stratify=True)

    shares = {label: sum(row.output == label for row in held) for label in LABELS}
    assert shares == {"good": 80, "bad": 15, "odd": 3, "rare": 1, "rarer": 1}
    assert sorted(train + held, key=lambda row: row.line) == LABELLED


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("outputs", [1000, 200, 30])
def test_with_stratify_rare_outputs_together_keep_to_the_share(share, outputs):
    rows = [row._replace(output=f"output {row.line % outputs}") for row in ROWS]

    assert abs(len(held_out(rows, share, stratify=True)) - 1000 * share) < 40


def test_with_stratify_an_added_row_moves_at_most_one_other_with_its_output():
    known = LABELLED[:300]
    before = held_out(known, 0.1, stratify=True)
    for row in LABELLED[300:380]:
        moved = before ^ held_out([*known, row], 0.1, stratify=True) - {row.text_input}

        assert len(moved) <= 1
        assert {each.output for each in known if each.text_input in moved} <= {row.output}


def test_the_order_by_rank_is_independent_of_the_split():
    assert 8 < len(held_out(sorted(ROWS, key=rank)[:200], 0.1)) < 35
