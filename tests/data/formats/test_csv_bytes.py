"""A large CSV file is read from its bytes: what is taken so is what a row by row look gives."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tuner.data import Columns, Source, read
from tuner.data.formats import blocks, csv, csv_bytes
from tuner.data.formats.csv_text import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = Path(__file__).parents[1]
PIECES = [b'"', b'""', b",", b"\n", b"\r\n", b"a", b"a,b\n", b'"x\ny","z"\n', b"caf\xc3\xa9"]
RARE = [b"\r", b"\0", b"\xff", b" ", b"\xed\xa0\x80", b"\xe6\x9d\xb1,\xc2\xa0\n", b"\n\n", b",,\n"]


def outcome(path: Path, many: int, columns: Columns) -> tuple[list[object], list[object]]:
    """Rows with the places of their texts, and problems, however they are parted into batches.

    Ways out are left out: an encoding is guessed from what was read in one go.
    """
    rows: list[object] = []
    problems: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "_FEW", many)
        for batch in read(Source((path,), columns, "csv")):
            for row, texts in enumerate(zip(batch.text_inputs, batch.outputs, strict=True)):
                last = len(texts[1])
                places = [
                    batch.locate(row, "text_input"),
                    batch.locate(row, "output"),
                    batch.locate(row, "output", last),
                ]
                rows.append((batch.lines[row], texts, places))
            problems += [replace(each, fix="") for each in batch.problems]
    return rows, sorted(map(str, problems))


def random_files(path: Path, seeds: range) -> Iterator[Path]:
    for seed in seeds:
        chance = random.Random(seed)
        pieces = chance.choices(PIECES, k=chance.randrange(40))
        for _ in range(chance.choice((0, 0, 1, 3))):
            pieces.insert(chance.randrange(len(pieces) + 1), chance.choice(RARE))
        path.write_bytes(b"text_input,output\n" + b"".join(pieces))
        yield path


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 400), marks=pytest.mark.slow)])
def test_random_bytes_are_read_as_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: range
) -> None:
    taken = 0
    monkeypatch.setattr(csv_bytes, "take", counted := Counted(csv_bytes.take))
    for seed, path in zip(seeds, random_files(tmp_path / "x.csv", seeds), strict=True):
        monkeypatch.setattr(blocks, "BLOCK", (8, 40, 2**18)[seed % 3])
        slow, fast = (outcome(path, many, Columns()) for many in (10**9, 0))
        assert fast == slow, f"{seed}: {path.read_bytes()!r}"
        taken += len(fast[0])
    assert counted.rows > 0.2 * taken


class Counted:
    """How many rows were taken from bytes."""

    def __init__(self, take: object) -> None:
        self.take, self.rows = take, 0

    def __call__(self, *arguments: object) -> object:
        taken = self.take(*arguments)  # type: ignore[operator]
        self.rows += len(taken.batch.lines)
        return taken


@pytest.mark.parametrize(
    "path", sorted(CORPUS.rglob("*.csv")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_a_file_of_the_corpus_is_read_as_row_by_row(path: Path) -> None:
    slow, fast = (outcome(path, many, Columns()) for many in (10**9, 0))
    assert fast == slow


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("wanted", [("a", "c"), ("c", "b")])
@pytest.mark.parametrize("quickest", [{"_LITTLE": 0}, {"_LITTLE": 99}, {"_FEW_DOUBLED": 0}])
def test_any_two_of_many_columns_are_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    wanted: tuple[str, str],
    quickest: dict[str, int],
) -> None:
    for name, number in quickest.items():
        monkeypatch.setattr(csv_bytes, name, number)
    path = tmp_path / "wide.csv"
    rows = ["a;b;c", "1;2;3", '"1""x";"2;""";"3\n"', ";;", '"";"";""', "é;2;東京"]
    path.write_text(ending.join([*rows, ""]), newline="", encoding="utf-8")
    slow, fast = (outcome(path, many, Columns(*wanted)) for many in (10**9, 0))
    assert len(fast[0]) == 5
    assert fast == slow


@pytest.mark.parametrize(
    ("raw", "rows", "rest", "is_stuck"),
    [
        (b'a,b\n\n\r\nc,"d\n', 1, b'\n\r\nc,"d\n', False),
        (b"a,b\n\n\r\nc,d\n\n", 2, b"\n", False),
        (b"a,b\n\xff,d\ne,f\n", 1, b"\xff,d\ne,f\n", True),
        (b'a,b\nc"d,e\n', 1, b'c"d,e\n', True),
        (b"a,b\nc\n", 1, b"c\n", True),
    ],
)
def test_a_block_is_taken_up_to_its_first_odd_row(
    raw: bytes, rows: int, rest: bytes, is_stuck: bool
) -> None:
    taken = csv_bytes.take(blocks.Block("x.csv", raw, 2), Table("x.csv", ",", 2, (0, 1)))
    assert (len(taken.batch.lines), taken.rest.raw, taken.is_stuck) == (rows, rest, is_stuck)
    assert taken.rest.line == 2 + raw[: len(raw) - len(rest)].count(b"\n")
