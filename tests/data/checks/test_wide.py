"""Wide screens, and the table behind them, find what the others do."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.checks.test_texts import TEXTS
from tuner.data import USUAL
from tuner.data.checks import check
from tuner.data.checks.check import Checks
from tuner.data.checks.many_rows import ManyRows
from tuner.data.checks.screen import Screen, fold, folded
from tuner.data.checks.wide import WideScreen
from tuner.data.memory import batches
from tuner.examples import Column, Example
from tuner.spans import hashes, joined, packed
from tuner.types import Limits

PIECES = [
    *TEXTS, "", " ", "\u3000", "\x1c", "4111 1111 1111 1111", "ana@example.com", "sk-a", "x" * 30,
    "\x01", "\ufeff", "tab\t\tbed", "\u00c3\u00a9", "line\r\nend", "\ud800",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), max_size=3).map("".join)


def screens(texts):
    """All that there are, of the same texts."""
    yield Screen(texts)
    yield WideScreen(texts)
    if "\ud800" not in "".join(texts):
        foreign = [row for row, text in enumerate(texts) if not text.isascii()]
        encoded = joined([text.encode() for text in texts])
        yield WideScreen(Column(encoded, foreign, has_nul="\0" in "".join(texts)))


@settings(max_examples=40)
@given(st.lists(TEXT, min_size=1))
def test_they_find_the_same_rows(texts):
    few, *others = screens(texts)

    for wide in others:
        assert list(wide.texts) == texts
        assert wide.blank() == few.blank()
        assert list(wide.longer(20)) == list(few.longer(20))
        assert list(wide.foreign) == list(few.foreign)
        assert wide.foreign_text == few.foreign_text
        for needle in ("@", "sk-", "1111 1111", "nothing", "exa"):
            assert list(wide.having(needle)) == list(few.having(needle))
        assert set(wide.with_controls()) <= set(few.with_controls())
        assert wide.size == few.size
        cards = {row for row, text in enumerate(texts) if "1111 1111 1111" in text}
        assert cards <= set(wide.with_cards())
        assert cards <= set(few.with_cards())


@settings(max_examples=40)
@given(st.lists(TEXT, min_size=1))
def test_they_have_the_same_keys_in_the_same_rows(texts):
    few, *others = screens(texts)

    for wide, name in itertools.product(others, ("keys", "hashes")):
        theirs, ours = list(getattr(few, name)()), getattr(wide, name)().tolist()
        assert len(set(ours)) == len(set(theirs)) == len(set(zip(ours, theirs, strict=True)))


FOREIGN = (
    "a \u00c9\u00e9\u00df\u3000\u00a0\u0416\u0436\u0130\u0131\u1e9es\u2126\U00010400\U00010428"
)
"""Letters that lower case keeps as long, makes shorter or longer, or leaves, and blanks."""


@given(st.lists(st.text(FOREIGN, max_size=4), min_size=1, max_size=20))
def test_texts_of_letters_beyond_ascii_have_the_same_keys(texts):
    few, *others = screens(texts)

    for wide in others:
        theirs, ours = list(few.keys()), wide.keys().tolist()
        assert len(set(ours)) == len(set(theirs)) == len(set(zip(ours, theirs, strict=True)))


def test_every_letter_is_folded_as_one_text_is():
    letters = [f"{chr(number)}x" for number in range(0x20000)]

    folded_one_by_one = hashes(packed(joined(list(map(fold, letters)))))

    assert (WideScreen(letters).keys() == folded_one_by_one).all()


@given(st.lists(st.text("aA \t\u00c9\u00df\u3000\u0416\u0130\u1e9e", max_size=9), min_size=1))
def test_many_texts_are_folded_as_one_is_however_many_letters_they_have(texts):
    assert folded("\0".join(texts).encode()) == [fold(text) for text in texts]


@pytest.mark.parametrize("start", [0, 24, 25, 31, 32, 33])
@pytest.mark.parametrize("size", [14, 15, 16, 40])
def test_a_text_is_held_wherever_it_stands(start, size):
    part = bytes(range(33, 33 + size)).decode()
    texts = ["-" * start + part, "-" * start + part + "-", "-" * start + part[:-1], part]

    found = WideScreen(texts).holding(WideScreen([part] * len(texts)))

    assert found == [0, 1, 3]


@settings(max_examples=40)
@given(st.lists(st.tuples(TEXT, st.sampled_from(PIECES))))
def test_they_hold_their_outputs_in_the_same_rows(rows):
    inputs, outputs = ([row[field] for row in rows] for field in (0, 1))

    few, *others = (
        one.holding(other) for one, other in zip(screens(inputs), screens(outputs), strict=False)
    )

    assert all(list(wide) == list(few) for wide in others)


@pytest.mark.parametrize("different", [10, 10**9])
def test_the_first_rows_of_many_keys_are_those_of_a_dictionary(different):
    chance = random.Random(different)
    values = [chance.getrandbits(64) >> 12 << 12 for _ in range(min(different, 5000))]
    table, known, start = ManyRows(), {}, 0
    for size in (0, 1, 9000, 999, 9000):
        keys = [chance.choice(values) for _ in range(size)]
        first = [known.setdefault(key, start + index) for index, key in enumerate(keys)]
        expected = [(index, row) for index, row in enumerate(first) if row != start + index]

        assert list(table.repeated(np.array(keys, np.uint64), start)) == expected
        start += size


@pytest.mark.parametrize("ignore", [(), ("similar-case",)])
def test_becoming_many_on_the_way_changes_no_finding(monkeypatch, ignore):
    rows = [Example(f"What is {number % 70} ?", f"It is {number % 90}") for number in range(600)]
    rows += [*(Example(one.upper(), two) for one, two, _ in rows[::9]), *rows[:5]]
    parts = [next(batches(rows[at : at + 100], USUAL)) for at in range(0, len(rows), 100)]

    def problems(many):
        monkeypatch.setattr(check, "MANY", many)
        checks = Checks(Limits(None, None, None), ignore=("near-duplicate", "near-leak", *ignore))
        found = [each for part in parts for each in checks.train(part)]
        return [*found, *(each for part in parts for each in checks.held(part)), *checks.finish()]

    assert problems(300) == problems(10**9)
    assert len({each.rule for each in problems(300)}) == 4 - len(ignore)
