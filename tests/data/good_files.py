"""Good files of every text format, whose every character has a known meaning."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from random import Random

WORDS = (  # noqa: SIM905 -- a list of words reads better without quotes
    "amber basin candle dolphin engine falcon garden harbour island jungle kettle lantern marble "
    "needle orchard pebble quarry ribbon saddle timber umbrella velvet window yonder zephyr anchor "
    "bridge copper desert ember forest glacier hollow ivory jacket kernel ladder meadow nectar "
    "oyster parcel quilt river summit tunnel urchin valley walnut xylem yarrow zinc"
).split()
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
SPICE = ("café, ", 'said "yes" ', "two\nlines ", "🙂 ", "\\ ", "a; b ", "007 ", "שלום ")


class Span(NamedTuple):
    """From one character of a file to before another."""

    start: int
    end: int


class Row(NamedTuple):
    """Where a row stands in the text of its file, and its two texts, without their quotes."""

    whole: Span
    text_input: Span
    output: Span


class Written(NamedTuple):
    """A good file; a row of it may take several lines."""

    name: str
    text: str
    rows: tuple[Row, ...]


def words(chance: Random, count: int) -> str:
    """So many words, some of them awkward, the first and last never."""
    chosen = chance.sample(WORDS, count)
    chosen[1] = chance.choice(("", *SPICE)) + chosen[1]
    return " ".join(chosen)


def pairs(chance: Random, count: int = 9) -> list[tuple[str, str]]:
    """Texts no two of which are alike."""
    return [(words(chance, 9), words(chance, 4)) for _ in range(count)]


def written_csv(chance: Random, name: str, delimiter: str) -> Written:
    """A file with a third column; cells are quoted where they must be, and now and then."""
    text, rows = delimiter.join(["text_input", "output", "note"]) + "\n", []
    for both in pairs(chance):
        start, spans = len(text), []
        for cell in both:
            must = any(each in cell for each in ('"', "\n", delimiter))
            quote = '"' if must or chance.random() < 0.3 else ""
            inner = cell.replace('"', '""') if quote else cell
            begin = len(text) + len(quote)
            text += f"{quote}{inner}{quote}{delimiter}"
            spans.append(Span(begin, begin + len(inner)))
        text += "note"
        rows.append(Row(Span(start, len(text)), *spans))
        text += "\n"
    return Written(name, text, tuple(rows))


def written_json(chance: Random, name: str, shape: str) -> Written:
    """JSON Lines, or an array by a name that ends so; the slots of ``shape`` are the two texts."""
    is_array = name.endswith(".json")
    text, rows = "[\n" if is_array else "", []
    head, middle, tail = shape.split("§")
    for number, both in enumerate(pairs(chance)):
        text += ",\n" if is_array and number else ""
        start = len(text)
        one, two = (json.dumps(each, ensure_ascii=chance.random() < 0.5)[1:-1] for each in both)
        text += f'{head}"{one}"{middle}"'
        spans = (
            Span(start + len(head) + 1, len(text) - len(middle) - 2),
            Span(len(text), len(text) + len(two)),
        )
        text += f'{two}"{tail}'
        rows.append(Row(Span(start, len(text)), *spans))
        text += "" if is_array else "\n"
    return Written(name, text + ("\n]\n" if is_array else ""), tuple(rows))


PLAIN = '{"text_input": §, "output": §, "note": 1}'
SHAPES = {
    "plain.jsonl": PLAIN,
    "array.json": PLAIN,
    "pretty.json": '{\n  "text_input": §,\n  "output": §,\n  "note": 1\n}',
    "prompt.jsonl": '{"prompt": §, "completion": §}',
    "chat.jsonl": '{"messages": [{"role": "user", "content": §}, {"role": "assistant", "content": §}]}',
    "vertex.jsonl": (
        '{"contents": [{"role": "user", "parts": [{"text": §}]}, '
        '{"role": "model", "parts": [{"text": §}]}]}'
    ),
    "alpaca.json": '{"instruction": §, "output": §}',
    "sharegpt.jsonl": (
        '{"conversations": [{"from": "human", "value": §}, {"from": "gpt", "value": §}]}'
    ),
}
DELIMITERS = {"rows.csv": ",", "rows.tsv": "\t", "semicolons.csv": ";"}


def good(name: str, chance: Random) -> Written:
    """The good file of a name in ``SHAPES`` or ``DELIMITERS``."""
    if name in DELIMITERS:
        return written_csv(chance, name, DELIMITERS[name])
    return written_json(chance, name, SHAPES[name])
