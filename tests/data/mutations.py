"""Mutations of a row of a good file, and the place where each must be found."""

# ruff: noqa: ARG001 -- every mutation has the same signature

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from tests.data.good_files import DELIMITERS, LETTERS, SHAPES, Row, Span, Written


class Mutant(NamedTuple):
    """The text of a file with a defect, the character the defect is at, and the rule it breaks.

    ``is_row`` says that the row as a whole is meant: its place has column 0.
    """

    text: str
    at: int
    rule: str
    is_row: bool = False

    @property
    def place(self) -> tuple[int, int, str]:
        """Line, column and rule."""
        before = self.text[: self.at]
        column = 0 if self.is_row else self.at - before.rfind("\n")
        return before.count("\n") + 1, column, self.rule


Mutation = Callable[[Written, Row, Random], Mutant]


def _put(text: str, span: Span, new: str) -> str:
    return text[: span.start] + new + text[span.end :]


def _side(row: Row, chance: Random) -> tuple[Span, str]:
    return chance.choice([(row.text_input, "text-input"), (row.output, "output")])


def _word(text: str, span: Span, chance: Random) -> int:
    """Where some word of a text begins."""
    letters = range(span.start + 1, span.end)
    return chance.choice([at for at in letters if text[at - 1] == " " and text[at] in LETTERS])


def blank(file: Written, row: Row, chance: Random) -> Mutant:
    span, side = _side(row, chance)
    text = _put(file.text, span, chance.choice(["", " ", "   "]))
    return Mutant(text, span.start, f"empty-{side}")


def lengthen(file: Written, row: Row, chance: Random) -> Mutant:
    span, side = _side(row, chance)
    text = _put(file.text, span, "so long " * 100)
    return Mutant(text, span.start, f"long-{side}")


def insert(what: str, rule: str) -> Mutation:
    """Return a mutation that inserts something before a word of either text."""

    def inserted(file: Written, row: Row, chance: Random) -> Mutant:
        at = _word(file.text, _side(row, chance)[0], chance)
        return Mutant(_put(file.text, Span(at, at), what), at, rule)

    return inserted


def swap_byte(file: Written, row: Row, chance: Random) -> Mutant:
    at = _word(file.text, _side(row, chance)[0], chance)
    return Mutant(_put(file.text, Span(at, at + 1), "\udce9"), at, "encoding")


def _copy(file: Written, changed: str) -> tuple[str, int]:
    """Return the file with a copy of a row at its end, and where the copy begins."""
    end = file.rows[-1].whole.end
    between = ",\n" if file.name.endswith(".json") else "\n"
    return _put(file.text, Span(end, end), between + changed), end + len(between)


def duplicate(file: Written, row: Row, chance: Random) -> Mutant:
    return Mutant(*_copy(file, file.text[slice(*row.whole)]), "duplicate", is_row=True)


def recase(file: Written, row: Row, chance: Random) -> Mutant:
    at = _word(file.text, row.text_input, chance)
    text = _put(file.text, Span(at, at + 1), file.text[at].upper())[slice(*row.whole)]
    return Mutant(*_copy(file, text), "similar-case", is_row=True)


def relabel(file: Written, row: Row, chance: Random) -> Mutant:
    text = _put(file.text, row.output, "wholly different")
    moved = row.whole.end + len(text) - len(file.text)
    text, start = _copy(file, text[row.whole.start : moved])
    return Mutant(text, start + row.output.start - row.whole.start, "conflict")


def add_cell(file: Written, row: Row, chance: Random) -> Mutant:
    delimiter, end = DELIMITERS[file.name], row.whole.end
    text = _put(file.text, Span(end, end), delimiter + chance.choice(["more", "", '"more"']))
    return Mutant(text, end + 1, "ragged-row")


def drop_cell(file: Written, row: Row, chance: Random) -> Mutant:
    end = row.whole.end - len(DELIMITERS[file.name] + "note")
    return Mutant(_put(file.text, Span(end, row.whole.end), ""), end, "ragged-row")


def begin(before: str, after: str) -> Mutation:
    """Return a mutation that changes the start of a row; the defect is between the two."""

    def begun(file: Written, row: Row, chance: Random) -> Mutant:
        text = _put(file.text, row.whole, _cells(file, before + after))
        return Mutant(text, row.whole.start + len(before), "bad-csv")

    return begun


def _cells(file: Written, first: str) -> str:
    return DELIMITERS[file.name].join([first, "so it is", "note"])


def value(what: str) -> Mutation:
    """Return a mutation that replaces a text by another value."""

    def replaced(file: Written, row: Row, chance: Random) -> Mutant:
        start, end = _side(row, chance)[0]
        return Mutant(_put(file.text, Span(start - 1, end + 1), what), start - 1, "not-text")

    return replaced


def rename_key(file: Written, row: Row, chance: Random) -> Mutant:
    """The key in front of one of the texts."""
    at = file.text.rindex('"', 0, file.text.rindex('"', 0, _side(row, chance)[0].start - 1)) + 1
    return Mutant(_put(file.text, Span(at, at), "x"), row.whole.start, "no-key")


def repeat_key(file: Written, row: Row, chance: Random) -> Mutant:
    key = file.text[file.text.index('"', row.whole.start) : row.text_input.start - 1]
    at = row.whole.end - 1
    return Mutant(_put(file.text, Span(at, at), f', {key}"again"'), at + 2, "repeated-key")


def remove(what: str) -> Mutation:
    """Return a mutation that removes the last of some punctuation before the output."""

    def removed(file: Written, row: Row, chance: Random) -> Mutant:
        at = file.text.rindex(what, 0, row.output.start)
        text = _put(file.text, Span(at, at + 1), "")
        return Mutant(text, len(text) - len(text[at:].lstrip()), "bad-json")

    return removed


def cut(file: Written, row: Row, chance: Random) -> Mutant:
    end = row.whole.end
    return Mutant(_put(file.text, Span(end - 1, end), ""), end - 1, "bad-json")


TABLES = tuple(DELIMITERS)
LINES = tuple(name for name in SHAPES if name.endswith(".jsonl"))
FLAT = tuple(name for name, shape in SHAPES.items() if shape.count("{") == 1)
ALL = (*TABLES, *SHAPES)

KINDS: dict[str, tuple[Mutation, tuple[str, ...]]] = {
    "a blank text": (blank, ALL),
    "a text too long": (lengthen, ALL),
    "a byte of another encoding": (swap_byte, ALL),
    "NUL": (insert("\0", "control-character"), TABLES),
    "an escaped NUL": (insert("\\u0000", "control-character"), tuple(SHAPES)),
    "a bell": (insert("\x7f", "control-character"), ALL),
    "mojibake": (insert("Ã©", "mojibake"), ALL),
    "escaped mojibake": (insert("\\u00c3\\u00a9", "mojibake"), tuple(SHAPES)),
    "half a surrogate pair": (insert("\\ud83d", "not-unicode"), tuple(SHAPES)),
    "an e-mail address": (insert("ana@example.com ", "personal-data"), ALL),
    "a card number": (insert("4111 1111 1111 1111 ", "personal-data"), ALL),
    "a key": (insert("AKIAIOSFODNN7EXAMPLE ", "secret"), ALL),
    "a row twice": (duplicate, ALL),
    "a row in another case": (recase, ALL),
    "another label": (relabel, ALL),
    "a cell more": (add_cell, TABLES),
    "a cell less": (drop_cell, TABLES),
    "a quote never closed": (begin("", '"never closed'), TABLES),
    "text after a quote": (begin('"closed"', " too early"), TABLES),
    "a bare carriage return": (begin("it", "\rreturns"), TABLES),
    "a number": (value("-1.5e3"), tuple(SHAPES)),
    "null": (value("null"), tuple(SHAPES)),
    "false": (value("false"), tuple(SHAPES)),
    "an object": (value('{"a": ["b"]}'), FLAT),
    "another key": (rename_key, FLAT),
    "a key twice": (repeat_key, FLAT),
    "a raw tab": (insert("\t", "bad-json"), LINES),
    "a bad escape": (insert("\\x", "bad-json"), LINES),
    "no comma": (remove(","), LINES),
    "no colon": (remove(":"), LINES),
    "no end": (cut, LINES),
}
"""Each mutation, and the files it applies to."""
