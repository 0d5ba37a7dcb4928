from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.engine.text_stream import TextStream

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


@given(TEXT, st.lists(st.text(alphabet="ab🙂", max_size=3), max_size=3))
def test_nothing_of_a_stop_sequence_is_ever_sent(text, stops):
    places = [text.find(stop) for stop in stops if stop and stop in text]

    assert "".join(pieces(text.encode(), stops)) == text[: min(places, default=len(text))]


def test_text_is_sent_as_soon_as_it_is_certain():
    assert pieces("né!".encode()) == ["n", "", "é", "!", ""]


@pytest.mark.parametrize("text", ["<sto", "<stop"])
def test_what_only_looked_like_a_stop_sequence_is_sent_in_the_end(text):
    assert "".join(pieces(text.encode(), ["<stop>"])) == text
