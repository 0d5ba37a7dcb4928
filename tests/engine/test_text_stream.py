from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tuner.engine.generate import TextStream

TEXT = st.text(alphabet="ab🙂é\ufffd", max_size=12)


def decode(tokens):
    return bytes(tokens).decode("utf-8", "replace")


def pieces(content, stops=()):
    stream = TextStream(decode, stops)
    sent = []
    for byte in content:
        sent.append(stream.push(byte))
        if stream.stopped:
            return sent
    return [*sent, stream.finish()]


@given(st.binary(max_size=20))
def test_the_pieces_make_the_whole(content):
    assert "".join(pieces(content)) == decode(content)


@given(TEXT)
def test_no_piece_ends_inside_a_character(text):
    assert all(piece == "" or piece in text for piece in pieces(text.encode()))


@example("baa", ["a", "baa"])
@example("a🙂", ["a🙂"])
@given(TEXT, st.lists(st.text(alphabet="ab🙂", max_size=3), max_size=3))
def test_an_answer_is_cut_before_the_stop_sequence_that_is_whole_first(text, stops):
    stops = [stop for stop in stops if stop]
    begun = (text[:end] for end in range(len(text) + 1))
    heard = next((said for said in begun if any(stop in said for stop in stops)), text)
    places = [heard.find(stop) for stop in stops if stop in heard]

    assert "".join(pieces(text.encode(), stops)) == heard[: min(places, default=len(heard))]


def test_text_is_sent_as_soon_as_it_is_certain():
    assert pieces("né!".encode()) == ["n", "", "é", "!", ""]


@pytest.mark.parametrize("text", ["<sto", "<stop"])
def test_what_only_looked_like_a_stop_sequence_is_sent_in_the_end(text):
    assert "".join(pieces(text.encode(), ["<stop>"])) == text
