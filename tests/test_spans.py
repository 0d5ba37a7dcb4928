"""Texts as spans of a buffer are hashed and copied as texts are."""

from itertools import combinations, permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.spans import CHUNK, copy, hashes, joined, packed, rows_at, set_in

TEXTS = st.lists(
    st.one_of(st.binary(max_size=99), st.sampled_from([b"", b"\0", b"\0" * 32, b"a" * 64]))
)


@settings(max_examples=40)
@given(TEXTS, st.binary(max_size=9))
def test_hashes_are_the_same_where_texts_are_wherever_they_stand(texts, before):
    found = hashes(packed(joined(texts))).tolist()

    assert len(set(found)) == len(set(texts))
    moved = joined([before, *texts[::-1]])
    assert hashes(packed(moved)).tolist()[1:] == found[::-1]


@settings(max_examples=40)
@given(TEXTS, st.integers(0, 5))
def test_texts_are_copied_to_their_places_and_nothing_else_is_touched(texts, gap):
    spans = joined(texts)
    sizes = spans.ends - spans.begins
    into = np.full(int(sizes.sum()) + gap * len(texts) + CHUNK, ord("-"), np.uint8)

    copy(spans, into, np.cumsum(sizes + gap) - sizes)

    assert into.tobytes() == b"".join(b"-" * gap + text for text in texts) + b"-" * CHUNK


def test_texts_that_differ_by_one_byte_have_other_hashes():
    text = bytes(range(200))
    others = [
        text[:at] + bytes([text[at] ^ bit]) + text[at + 1 :]
        for at in range(200)
        for bit in (1, 128)
    ]

    assert len(set(hashes(packed(joined([text, *others]))).tolist())) == 401


def test_a_byte_belongs_to_the_text_that_holds_it():
    begins, ends = np.array([1, 4, 4, 7]), np.array([3, 4, 6, 8])

    found = [rows_at(np.array([place]), begins, ends).tolist() for place in range(9)]

    assert found == [[], [0], [0], [], [2], [2], [], [3], []]
    assert rows_at(np.arange(3), begins, ends).tolist() == [0]
    assert rows_at(np.arange(9), begins, ends).tolist() == [0, 2, 3]


@given(st.lists(st.booleans(), max_size=99))
def test_flags_that_are_set_are_found(flags):
    assert set_in(np.array(flags, np.bool_)).tolist() == [
        at for at, flag in enumerate(flags) if flag
    ]


def test_texts_that_differ_in_two_places_have_other_hashes():
    pairs = list(combinations(range(100), 2))
    flipped = [bytes(ord("A" if at in pair else "a") for at in range(100)) for pair in pairs]
    words = [b"%d" % digit * 8 for digit in range(7)]
    moved = [b"".join(order) for order in permutations(words)]

    assert len(set(hashes(packed(joined(flipped))).tolist())) == len(pairs)
    assert len(set(hashes(packed(joined(moved))).tolist())) == 5040
