"""Files made to fill the memory or to take for ever: a clear error, 300 MB at most, and an end."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

MIB = 2**20
GIB = 2**30
MOST_MIB = 300
FEW_MIB = 45
"""For 150,000 problems that are told and forgotten: to keep them takes 30 MiB more than the 25 it is."""
TIME_S = 120
"""For a gigabyte on a busy machine; what is not linear takes hours."""

MEASURED = f"""
import resource, subprocess, sys

resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
with open(sys.argv[1], "wb") as out, open(sys.argv[2], "wb") as err:
    code = subprocess.run(sys.argv[3:], stdout=out, stderr=err, timeout={TIME_S}).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
"""A small process between this large one and the command: a child's peak counts its parent's."""


class Ran(NamedTuple):
    """How a check ended, with the most memory it had at once in MiB."""

    code: int
    peak_mib: int
    places: list[str]
    report_bytes: int
    stderr: str


def check(path, *options):
    """Run ``tuner data check`` on a file, and take the file away."""
    out, err = path.with_name("out.jsonl"), path.with_name("err.txt")
    command = [sys.executable, "-m", "tuner", "data", "check", "-o", "jsonl", *options, str(path)]
    measured = [sys.executable, "-c", MEASURED, str(out), str(err), *command]
    try:
        said = subprocess.run(measured, capture_output=True, text=True, check=True).stdout
    finally:
        path.unlink()
    code, peak = map(int, said.split())
    return Ran(code, peak, list(places(out)), out.stat().st_size, err.read_text(errors="replace"))


def places(report) -> Iterator[str]:
    """``line:column rule`` of every error in a report."""
    with report.open(errors="surrogateescape") as lines:
        for each in map(json.loads, lines):
            if each["severity"] == "error":
                yield f"{each['line']}:{each['column']} {each['rule']}"


def as_one_line(path, start, end):
    """A gigabyte of text between two pieces."""
    with path.open("wb") as file:
        file.write(start)
        for _ in range(GIB // (16 * MIB)):
            file.write(b"so long " * (2 * MIB))
        file.write(end)


def as_rows(path, head, row, count, tail=b""):
    """Many rows alike; ``row`` may count them."""
    with path.open("wb") as file:
        file.write(head)
        file.writelines(row % number if b"%d" in row else row for number in range(count))
        file.write(tail)


def sparse(path, start):
    """Half a gigabyte of NULs that takes no room on the disk."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(GIB // 2)


def zipped(path, start):
    """Half a gigabyte of zeros that takes half a megabyte, as many members of one file."""
    member = gzip.compress(bytes(16 * MIB), 1)
    with path.open("wb") as file:
        file.write(gzip.compress(start))
        file.writelines(member for _ in range(GIB // (32 * MIB)))


def deep(opening, closing, tail=b""):
    """A value of a hundred thousand levels."""
    return opening * 100_000 + b"1" + closing * 100_000 + tail


HEADER = b"text_input,output\n"
ROW = b"Where is it?,Here\n"
GOOD = b'{"text_input": "Where?", "output": "Here"}'
WITH = b'{"text_input": "Is it new?", "output": "It is", "x": '

LONG_LINES = {
    "x.csv": (HEADER + ROW, b"\n,Empty\n", ["3:* row-too-large", "4:1 empty-text-input"]),
    "x.jsonl": (
        GOOD + b'\n{"text_input": "',
        b'", "output": "x"}\n{}\n',
        ["2:* row-too-large", "3:1 no-key", "3:1 no-key"],
    ),
    "x.json": (
        b"[\n" + GOOD + b',\n{"text_input": "',
        b'", "output": "x"},\n{}]\n',
        ["3:* row-too-large", "4:1 no-key", "4:1 no-key"],
    ),
    "bracket.json": (b"[", b"]", ["1:* *"]),
    "quoted.csv": (
        HEADER + b'Where?,"',
        b'"\n,Empty\n',
        ["2:* row-too-large", "3:1 empty-text-input"],
    ),
}


@pytest.mark.parametrize("name", LONG_LINES)
def test_a_line_of_a_gigabyte_costs_that_row(tmp_path, name):
    start, end, expected = LONG_LINES[name]
    as_one_line(tmp_path / name, start, end)

    agree(check(tmp_path / name), expected)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json", "x"])
@pytest.mark.parametrize("make", [sparse, zipped])
def test_half_a_gigabyte_of_nothing_is_one_error(tmp_path, make, name):
    make(tmp_path / name, HEADER if name == "x.csv" else b"")

    ran = check(tmp_path / name)

    agree(ran, ["*"])


DEEP = {
    "lists.jsonl": (GOOD + b"\n" + WITH + deep(b"[", b"]", b"}\n"), ["2:* bad-json"]),
    "objects.jsonl": (GOOD + b"\n" + WITH + deep(b'{"a": ', b"}", b"}\n"), ["2:* bad-json"]),
    "open.jsonl": (GOOD + b"\n" + b"[" * 100_000, ["2:* bad-json"]),
    "lists.json": (b"[" + GOOD + b",\n" + WITH + deep(b"[", b"]", b"}]"), ["2:* bad-json"]),
    "objects.json": (
        b"[" + GOOD + b",\n" + WITH + deep(b'{"a":\n', b"}", b"}]"),
        ["500:1 bad-json"],
    ),
    "nothing_else.json": (b"[" * 100_000 + b"]" * 100_000, ["1:* *"]),
    "open.json": (b"[" * 100_000, ["1:* *"]),
}


@pytest.mark.parametrize("name", DEEP)
def test_json_of_a_hundred_thousand_levels_is_one_error(tmp_path, name):
    content, expected = DEEP[name]
    (tmp_path / name).write_bytes(content)

    agree(check(tmp_path / name), expected)


def test_a_file_whose_name_is_no_unicode_is_told_all_the_same(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_bytes(HEADER + b"Where?,\n")

    agree(check(path), ["2:8 empty-output"])


def test_a_hundred_thousand_columns_are_read(tmp_path):
    names = ["text_input", *map(str, range(100_000)), "output"]
    rows = [["Where?", *["x"] * 100_000, "Here"], ["too", "few"], ["too", "many"] * 100_000]
    text = "".join(",".join(row) + "\n" for row in (names, *rows))
    (tmp_path / "x.csv").write_text(text)

    agree(check(tmp_path / "x.csv"), ["3:8 ragged-row", "4:450010 ragged-row"])


def test_a_hundred_thousand_columns_without_the_named_ones_are_told_shortly(tmp_path):
    (tmp_path / "x.csv").write_text(",".join(map(str, range(100_000))) + "\n")

    ran = check(tmp_path / "x.csv")

    agree(ran, ["1:* no-column", "1:* no-column"])
    assert ran.report_bytes < 2000


def test_a_first_row_of_sixteen_megabytes_is_told_shortly(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"x" * (17 * MIB) + b"\n" + ROW)

    ran = check(tmp_path / "x.csv")

    agree(ran, ["1:* row-too-large"])
    assert ran.report_bytes < 2000


def test_a_quote_that_is_never_closed_costs_one_row_of_a_large_file(tmp_path):
    row = b"%d is a number," + b"so is this " * 100 + b"%d\n"
    as_rows(tmp_path / "x.csv", HEADER + b'"never closed,x\n', row.replace(b"%d\n", b"\n"), 80_000)

    ran = check(tmp_path / "x.csv", "--ignore", "near-duplicate", "--ignore", "request-too-large")

    assert ran.places in (["2:1 bad-csv"], ["2:1 row-too-large"])
    agree(ran, ran.places)


MILLIONS = {
    "ragged.csv": (HEADER, b"%d\n", b"", "ragged-row"),
    "quotes.csv": (HEADER, b'"never closed,%d\n', b"", "bad-csv"),
    "text_after.csv": (HEADER, b'"a"b,%d\n', b"", "bad-csv"),
    "returns.csv": (HEADER, b"a\rb,%d\n", b"", "bad-csv"),
    "bytes.csv": (HEADER, b"\xe9,%d\n", b"", "encoding"),
    "cut.jsonl": (b"", b'{"text_input": %d\n', b"", "bad-json"),
    "nan.jsonl": (b"", b'{"text_input": NaN, "output": "%d"}\n', b"", "not-text"),
    "surrogates.jsonl": (b"", b'{"text_input": "\\ud800", "output": "%d"}\n', b"", "not-unicode"),
    "numbers.json": (b"[", b'{"text_input": %d, "output": ""},\n', GOOD + b"]", "not-text"),
    "messages.jsonl": (b"", b'{"messages": [%d]}\n', b"", "bad-conversation"),
}


@pytest.mark.parametrize("name", MILLIONS)
def test_very_many_broken_rows_are_all_told_and_memory_stays_flat(tmp_path, name):
    head, row, tail, rule = MILLIONS[name]
    count = 150_000 if name == "ragged.csv" else 30_000
    as_rows(tmp_path / name, head, row, count, tail)

    ran = check(tmp_path / name)

    assert sum(place.endswith(f" {rule}") for place in ran.places) == count
    agree(ran, [f"*:* {rule}"] * count)
    assert name != "ragged.csv" or ran.peak_mib <= FEW_MIB


def agree(ran, expected):
    """It found what is expected, within its memory, and told it without a traceback."""
    assert ran.code == 2, ran.stderr[-2000:]
    assert len(ran.places) == len(expected), ran.places[:5]
    assert all(map(fnmatchcase, ran.places, expected)), ran.places[:5]
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr) < 10_000
    assert ran.peak_mib <= MOST_MIB
