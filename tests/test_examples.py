"""Examples as columns are the same as one by one."""

from __future__ import annotations

from dataclasses import replace

from google.ai import generativelanguage_v1beta as gl
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.examples import Column, Example, Examples
from tuner.spans import joined
from tuner.targets.protos import create_bytes
from tuner.types import Hyperparameters, NewTunedModel

ROWS = [Example("a", "1", 2), Example("é\0", "東京", 3), Example("", "x", 7)]


def columns() -> Examples:
    examples = Examples()
    examples.add([], [], [])
    examples.add(Column(joined([b"a", "é\0".encode()]), [1], has_nul=True), ["1", "東京"], [2, 3])
    examples.add([""], Column(joined([b"x"]), [], has_nul=False), range(7, 8))
    return examples


def test_they_are_a_sequence_of_what_was_added() -> None:
    examples = columns()
    assert list(examples) == ROWS
    assert [each.line for each in examples] == [2, 3, 7]
    assert len(examples) == 3
    assert [examples[index] for index in (0, 1, 2, -1, -3)] == [*ROWS, ROWS[2], ROWS[0]]
    assert examples[1:] == ROWS[1:]
    assert examples[::2] == ROWS[::2]
    assert Column(joined([b"a", b"b", b"c"]), [], has_nul=False)[1:] == ["b", "c"]


def test_none_are_none() -> None:
    assert list(Examples()) == []
    assert len(Examples()) == 0


def test_they_make_the_same_request() -> None:
    one, other = (create_bytes(NewTunedModel("id", rows)) for rows in (columns(), tuple(ROWS)))
    assert one == other
    assert "東京".encode() in one


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.text(max_size=9), st.sampled_from(["", "x", "y" * 127, "z" * 16_384])))
)
def test_what_stands_in_a_file_makes_the_request_that_messages_make(rows):
    spans = [joined([row[field].encode() for row in rows]) for field in (0, 1)]
    examples = Examples()
    examples.add(*(Column(each, [], has_nul=False) for each in spans), range(len(rows)))
    new = NewTunedModel(
        "id",
        tuple(Example(*row) for row in rows),
        base_model="models/b",
        description="d",
        hyperparameters=Hyperparameters(epoch_count=3),
    )

    read = gl.CreateTunedModelRequest.pb().FromString
    ours, theirs = create_bytes(replace(new, examples=examples)), create_bytes(new)
    assert read(ours) == read(theirs)
    assert len(ours) == len(theirs)
