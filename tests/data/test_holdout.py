"""A row's side is decided by its content."""

import pytest

from tuner.data.holdout import choose, rank, split
from tuner.types import Example

ROWS = [Example(f"input {n}", f"output {n}", n) for n in range(1, 1001)]


def inputs(rows):
    return {row.text_input for row in rows}


def test_about_the_share_asked_for_is_held_out_in_order():
    train, held = split(ROWS, 0.2)

    assert 150 < len(held) < 250
    assert sorted(train + held, key=lambda row: row.line) == ROWS
    assert list(held) == sorted(held, key=lambda row: row.line)


def test_growth_moves_no_row():
    train, held = split(ROWS[:500], 0.2)
    more_train, more_held = split(ROWS[::-1], 0.2)

    assert inputs(train) <= inputs(more_train)
    assert inputs(held) <= inputs(more_held)


def test_a_larger_share_keeps_what_was_held_out():
    assert inputs(split(ROWS, 0.1)[1]) < inputs(split(ROWS, 0.3)[1])


def test_no_input_is_on_both_sides():
    twice = ROWS + [Example(row.text_input, "another") for row in ROWS]
    train, held = split(twice, 0.5)

    assert not inputs(train) & inputs(held)


def test_a_side_is_pinned():
    """These rows were held out by the first release, and must be by every later one."""
    _, held = split(ROWS[:40], 0.1)

    assert [row.line for row in held] == [3, 4, 5, 13, 16, 21]


@pytest.mark.parametrize("most", [1, 7, 1000, 2000])
def test_no_more_than_the_most_are_chosen_whatever_their_order(most):
    chosen = choose(ROWS, most)

    assert len(chosen) == min(most, 1000)
    assert inputs(chosen) == inputs(choose(ROWS[::-1], most))
    assert inputs(chosen) <= inputs(choose(ROWS, most + 1))


LABELS = ("good",) * 80 + ("bad",) * 15 + ("odd",) * 3 + ("rare", "rarer")
LABELLED = [Example(f"input {n}", LABELS[n % 100], n) for n in range(1, 1001)]


def shares(rows):
    return {label: sum(row.output == label for row in rows) for label in dict.fromkeys(LABELS)}


def test_every_output_has_its_share_on_both_sides():
    train, held = split(LABELLED, 0.1, stratify=True)

    assert shares(held) == {"good": 80, "bad": 15, "odd": 3, "rare": 1, "rarer": 1}
    assert sorted(train + held, key=lambda row: row.line) == LABELLED


def test_the_order_of_the_rows_moves_none():
    rows = LABELLED + [row._replace(output="bad") for row in LABELLED[::3]]

    assert inputs(split(rows, 0.1, stratify=True)[1]) == inputs(
        split(rows[::-1], 0.1, stratify=True)[1]
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("outputs", [1000, 200, 30])
def test_outputs_too_rare_for_a_whole_row_keep_to_the_share_together(share, outputs):
    rows = [row._replace(output=f"output {row.line % outputs}") for row in ROWS]

    _, held = split(rows, share, stratify=True)

    assert abs(len(held) - 1000 * share) < 40


def test_rows_of_one_input_stay_together_whatever_their_outputs():
    twice = LABELLED + [row._replace(output="bad", line=0) for row in LABELLED[::3]]
    train, held = split(twice, 0.3, stratify=True)

    assert not inputs(train) & inputs(held)


def test_an_added_row_moves_at_most_one_other_and_of_its_own_output():
    known = LABELLED[:300]
    before = inputs(split(known, 0.1, stratify=True)[1])
    for row in LABELLED[300:380]:
        held = split([*known, row], 0.1, stratify=True)[1]
        moved = before ^ inputs(held) - {row.text_input}

        assert len(moved) <= 1
        assert {each.output for each in known if each.text_input in moved} <= {row.output}


def test_the_order_by_rank_says_nothing_about_the_side():
    """Else the rows that balancing keeps would all be held out afterwards."""
    kept = sorted(ROWS, key=rank)[:200]
    _, held = split(kept, 0.1)

    assert 8 < len(held) < 35
