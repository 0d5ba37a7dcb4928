"""Examples as columns are the same as one by one."""

from __future__ import annotations

from google.ai import generativelanguage_v1beta as gl

from tuner.examples import Column, Example, Examples
from tuner.targets.wire import create_request
from tuner.types import NewTunedModel

ROWS = [Example("a", "1", 2), Example("é\0", "東京", 3), Example("", "x", 7)]


def columns() -> Examples:
    examples = Examples()
    examples.add([], [], [])
    examples.add(Column([b"a", "é\0".encode()], [1], has_nul=True), ["1", "東京"], [2, 3])
    examples.add([""], Column([b"x"], [], has_nul=False), range(7, 8))
    return examples


def test_they_are_a_sequence_of_what_was_added() -> None:
    examples = columns()
    assert list(examples) == ROWS
    assert [each.line for each in examples] == [2, 3, 7]
    assert len(examples) == 3
    assert [examples[index] for index in (0, 1, 2, -1, -3)] == [*ROWS, ROWS[2], ROWS[0]]
    assert examples[1:] == ROWS[1:]
    assert examples[::2] == ROWS[::2]
    assert Column([b"a", b"b", b"c"], [], has_nul=False)[1:] == ["b", "c"]


def test_none_are_none() -> None:
    assert list(Examples()) == []
    assert len(Examples()) == 0


def test_they_make_the_same_request() -> None:
    one, other = (
        gl.CreateTunedModelRequest.serialize(create_request(NewTunedModel("id", rows)))
        for rows in (columns(), tuple(ROWS))
    )
    assert one == other
    assert "東京".encode() in one
