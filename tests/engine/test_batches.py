from __future__ import annotations

import pytest

from tests.engine.places import EXAMPLES, tiny
from tuner.engine import EngineError, batches
from tuner.engine.batches import Row
from tuner.engine.chat import open_chat
from tuner.types import Example

ROWS = [Row(tuple(range(1 + n * 7 % 40)), (n,)) for n in range(101)]


def test_an_epoch_holds_every_row_once():
    found = [row for batch in batches.epoch(ROWS, 4, 1, 1) for row in batch]

    assert sorted(found, key=hash) == sorted(ROWS, key=hash)


def test_an_order_is_decided_by_seed_and_epoch_alone():
    assert batches.epoch(ROWS, 4, 1, 1) == batches.epoch(ROWS, 4, 1, 1)
    assert batches.epoch(ROWS, 4, 1, 1) != batches.epoch(ROWS, 4, 1, 2)
    assert batches.epoch(ROWS, 4, 1, 1) != batches.epoch(ROWS, 4, 2, 1)


def test_batches_have_the_size_asked_for_but_one():
    sizes = sorted(len(batch) for batch in batches.epoch(ROWS, 4, 1, 1))

    assert sizes == [1] + [4] * 25


def test_rows_of_a_batch_are_of_about_one_length():
    padding = sum(
        max(map(len, batch)) * len(batch) - sum(map(len, batch))
        for batch in batches.epoch(ROWS, 4, 1, 1)
    )

    assert padding < 0.2 * sum(map(len, ROWS))


@pytest.mark.parametrize("hands", [1, 2, 5, 200])
def test_a_batch_is_dealt_out_whole_and_evenly(hands):
    shares = batches.deal(ROWS, hands)

    assert sorted((row for share in shares for row in share), key=hash) == sorted(ROWS, key=hash)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert min(map(len, shares)) > 0


def test_micro_batches_hold_the_batch_within_the_bound():
    parts = list(batches.micro(ROWS, tokens=100))

    assert sorted((row for part in parts for row in part), key=hash) == sorted(ROWS, key=hash)
    assert all(len(part) * max(map(len, part)) <= 100 for part in parts)


def test_the_answer_ends_with_the_end_of_the_turn():
    chat = open_chat(tiny())

    (row,) = batches.rows([Example("1", "two")], chat, limit=100)

    assert row.prompt[-1] == chat.tokenizer.encode("\n").ids[0]
    assert chat.text(row.answer[:-1]) == "two"
    assert row.answer[-1] == 257


def test_an_example_that_is_too_long_is_named_with_its_line():
    long = Example("x" * 200, "y", line=14)

    with pytest.raises(EngineError, match=r"example 13 \(line 14\) has \d+ tokens.* takes 100"):
        batches.rows([*EXAMPLES, long], open_chat(tiny()), limit=100)
