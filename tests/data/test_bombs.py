"""Files made to exhaust memory or time: each is a clear error, read in bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.slow

MIB = 2**20
GIB = 2**30
MAX_MIB = 300
MAX_FLAT_MIB = 45
"""For 150,000 problems reported one by one: to keep them takes 30 MiB more than the 25 it is."""
TIMEOUT_S = 120
"""For a gigabyte on a busy machine; what is not linear takes hours."""

MEASURE = f"""
import resource, subprocess, sys

resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
with open(sys.argv[1], "wb") as out, open(sys.argv[2], "wb") as err:
    code = subprocess.run(sys.argv[3:], stdout=out, stderr=err, timeout={TIMEOUT_S}).returncode
print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
"""A small process between this large one and the command: a child's peak includes its parent's."""


class Result(NamedTuple):
    """Places of the errors as ``line:column rule``, and what the check cost."""

    places: list[str]
    peak_mib: int
    report_bytes: int


def check(path, *options):
    """Run ``tuner data check`` on a file that has errors, and delete the file."""
    out, err = path.with_name("out.jsonl"), path.with_name("err.txt")
    command = [sys.executable, "-m", "tuner", "data", "check", "-o", "jsonl", *options, str(path)]
    measured = [sys.executable, "-c", MEASURE, str(out), str(err), *command]
    try:
        run = subprocess.run(measured, capture_output=True, text=True, check=True)
    finally:
        path.unlink()
    code, peak_mib = map(int, run.stdout.split())
    stderr = err.read_text(errors="replace")
    assert code == 2, stderr[-2000:]
    assert "Traceback" not in stderr
    assert len(stderr) < 10_000
    assert peak_mib <= MAX_MIB
    with out.open(errors="surrogateescape") as lines:
        errors = [each for each in map(json.loads, lines) if each["severity"] == "error"]
    places = [f"{each['line']}:{each['column']} {each['rule']}" for each in errors]
    return Result(places, peak_mib, out.stat().st_size)


def assert_places(result, patterns):
    assert len(result.places) == len(patterns), result.places[:5]
    assert all(map(fnmatchcase, result.places, patterns)), result.places[:5]


def write_rows(path, head, row, count, tail=b""):
    """Write many similar rows; ``row`` may contain their number."""
    with path.open("wb") as file:
        file.write(head)
        file.writelines(row % number if b"%d" in row else row for number in range(count))
        file.write(tail)


def write_sparse(path, start):
    """Write half a gigabyte of NULs that takes no space on the disk."""
    with path.open("wb") as file:
        file.write(start)
        file.truncate(GIB // 2)


def write_gzip(path, start):
    """Write half a gigabyte of NULs in half a megabyte, as many members of one gzip file."""
    write_rows(path, gzip.compress(start), gzip.compress(bytes(16 * MIB), 1), GIB // (32 * MIB))


def nested(opening, closing, tail=b""):
    return opening * 100_000 + b"1" + closing * 100_000 + tail


HEADER = b"text_input,output\n"
ROW = b"Where is it?,Here\n"
GOOD = b'{"text_input": "Where?", "output": "Here"}'
OPEN = b'{"text_input": "Is it new?", "output": "It is", "x": '

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
def test_a_line_of_a_gigabyte_costs_one_row(tmp_path, name):
    start, end, expected = LONG_LINES[name]
    write_rows(tmp_path / name, start, b"so long " * (2 * MIB), GIB // (16 * MIB), end)

    assert_places(check(tmp_path / name), expected)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json", "x"])
@pytest.mark.parametrize("write", [write_sparse, write_gzip])
def test_half_a_gigabyte_of_nuls_is_one_error(tmp_path, write, name):
    write(tmp_path / name, HEADER if name == "x.csv" else b"")

    assert_places(check(tmp_path / name), ["*"])


NESTED = {
    "lists.jsonl": (GOOD + b"\n" + OPEN + nested(b"[", b"]", b"}\n"), "2:* bad-json"),
    "objects.jsonl": (GOOD + b"\n" + OPEN + nested(b'{"a": ', b"}", b"}\n"), "2:* bad-json"),
    "open.jsonl": (GOOD + b"\n" + b"[" * 100_000, "2:* bad-json"),
    "lists.json": (b"[" + GOOD + b",\n" + OPEN + nested(b"[", b"]", b"}]"), "2:* bad-json"),
    "objects.json": (
        b"[" + GOOD + b",\n" + OPEN + nested(b'{"a":\n', b"}", b"}]"),
        "500:1 bad-json",
    ),
    "nothing_else.json": (b"[" * 100_000 + b"]" * 100_000, "1:* *"),
    "open.json": (b"[" * 100_000, "1:* *"),
}


@pytest.mark.parametrize("name", NESTED)
def test_json_of_a_hundred_thousand_levels_is_one_error(tmp_path, name):
    content, expected = NESTED[name]
    (tmp_path / name).write_bytes(content)

    assert_places(check(tmp_path / name), [expected])


def test_a_file_whose_name_is_not_unicode_is_checked(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    path.write_bytes(HEADER + b"Where?,\n")

    assert check(path).places == ["2:8 empty-output"]


def test_a_hundred_thousand_columns_are_read(tmp_path):
    names = ["text_input", *map(str, range(100_000)), "output"]
    rows = [["Where?", *["x"] * 100_000, "Here"], ["too", "few"], ["too", "many"] * 100_000]
    text = "".join(",".join(row) + "\n" for row in (names, *rows))
    (tmp_path / "x.csv").write_text(text)

    assert check(tmp_path / "x.csv").places == ["3:8 ragged-row", "4:450010 ragged-row"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (",".join(map(str, range(100_000))), [*["1:* no-column"] * 2, "2:* ragged-row"]),
        ("x" * 17 * MIB, ["1:* row-too-large"]),
    ],
    ids=["columns", "size"],
)
def test_a_huge_header_is_reported_in_few_words(tmp_path, header, expected):
    (tmp_path / "x.csv").write_text(f"{header}\n" + ROW.decode())

    result = check(tmp_path / "x.csv")

    assert_places(result, expected)
    assert result.report_bytes < 2000


@pytest.mark.parametrize(
    ("row", "count"),
    [(b"%d is a number," + b"so is this " * 100 + b"\n", 80_000), (b"\n", 18 * MIB)],
    ids=["rows", "blank lines"],
)
def test_a_quote_that_is_never_closed_costs_one_row_of_a_large_file(tmp_path, row, count):
    write_rows(tmp_path / "x.csv", HEADER + b'"never closed,x\n', row, count)

    result = check(
        tmp_path / "x.csv", "--ignore", "near-duplicate", "--ignore", "request-too-large"
    )

    assert result.places in (["2:1 bad-csv"], ["2:1 row-too-large"])


MANY_BAD_ROWS = {
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


@pytest.mark.parametrize("name", MANY_BAD_ROWS)
def test_very_many_bad_rows_are_all_reported_in_constant_memory(tmp_path, name):
    head, row, tail, rule = MANY_BAD_ROWS[name]
    count = 150_000 if name == "ragged.csv" else 30_000
    write_rows(tmp_path / name, head, row, count, tail)

    result = check(tmp_path / name)

    assert_places(result, [f"*:* {rule}"] * count)
    assert name != "ragged.csv" or result.peak_mib <= MAX_FLAT_MIB
