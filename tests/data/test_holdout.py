"""A row's side is decided by its content."""

import pytest

from tuner.data.holdout import choose, split
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
