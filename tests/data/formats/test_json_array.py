"""Arrays of JSON, right and wrong, on one line and on many."""

import json
import tracemalloc

import pytest

from tuner.data import encoding
from tuner.data import json as json_module
from tuner.data.dataset import Columns, Source, read, read_rows
from tuner.types import Example

AB = Columns("a", "b")
X, Y = '{"a": "x", "b": "1"}', '{"a": "y", "b": "2"}'


def look(tmp_path, content, **options):
    """The rows, and the places of what is wrong with others."""
    path = tmp_path / "x.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = list(read_rows(Source((path,), AB, **options)))
    problems = [each for each in found if not isinstance(each, Example)]
    assert all(each.fix for each in problems)
    rows = [(each.text_input, each.line) for each in found if isinstance(each, Example)]
    return rows, [(each.line, each.column, each.rule, each.what) for each in problems]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (f"[{X},{Y}]", [1, 1]),
        (f"[{X},\n{Y}\n]\n", [1, 2]),
        (f"\ufeff\n[\r\n  {X}\r\n,  {Y}  ]  \r\n", [3, 4]),
        (json.dumps([json.loads(X), json.loads(Y)], indent=4), [2, 6]),
        ('{\n"a": "x",\n"b": "1"\n}\n{\n"a": "y",\n"b": "2"}', [1, 5]),
        (f"[{X},{Y}]".encode("utf-16"), [1, 1]),
    ],
)
def test_rows_have_the_line_that_their_brace_is_on(tmp_path, content, lines):
    encoding = "utf-16" if isinstance(content, bytes) else "utf-8"
    rows, problems = look(tmp_path, content, encoding=encoding, format="json")

    assert rows == [("x", lines[0]), ("y", lines[1])]
    assert problems == []


@pytest.mark.parametrize(
    ("content", "where", "what"),
    [
        (f"[{X},\n{Y}", (2, 21), "the array is never closed"),
        (f"[{X},{Y},]", (1, 44), "a comma after the last row"),
        (f"[,{X},{Y}]", (1, 2), "a comma with no row before it"),
        (f"[{X},,{Y}]", (1, 23), "a comma with no row before it"),
        (f"[{X},,, ,,{Y}]", (1, 23), "a comma with no row before it"),
        (f"[{X} {Y}]", (1, 23), "a comma is missing before this row"),
        (f"[{X},{Y}]\n]", (2, 1), "text after the end of the array"),
        (f"[{X},7,{Y}]", (1, 23), "is a number (7) where an object is needed"),
        (f'[{X},{{"a": "z", "b": "3", }},{Y}]', (1, 44), "is not JSON: expecting property name"),
        (f'[{X},{{"a": "z" "b": "3"}},{Y}]', (1, 33), "is not JSON: expecting ',' delimiter"),
        (f'[\n{X},\n{{"a": "z, "b": "3"}},\n{Y}]', (3, 12), "is not JSON: expecting ',' delimiter"),
        (f'[\n{X},\n{{"a": "z\n{Y}]', (3, 9), "is not JSON: invalid control character"),
        (f'[\n{X},\n{{a: "z"}},\n{Y}]', (3, 2), "is not JSON: expecting property name"),
        (f"[\n{X},\nz,\n{Y}]", (3, 1), "is not JSON: expecting value"),
        (f'[\n{X},\n{{"a": "z", "b": {"[" * 9999}}},\n{Y}]', (3, 515), "is nested too deep"),
        (f'[\n{X},\n{{"a": {"9" * 5000}, "b": "3"}},\n{Y}]', (3, 7), "a number has more than 4,300"),
        (f'[\n{X},\n {{"a": "z", "a": "3"}},\n{Y}]', (3, 13), "the key 'a' is there twice"),
        (f'[{X},{{"a": "z\xe9", "b": "3"}},{Y}]'.encode("cp1252"), (1, 31),
         "byte 0xe9 at offset 30 of the file is not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_costs_no_other_row(tmp_path, content, where, what):
    rows, problems = look(tmp_path, content, format="json")

    assert [name for name, _ in rows] == ["x", "y"]
    assert [problem[:2] for problem in problems] == [where]
    assert what in problems[0][3]


def test_the_messages_of_a_broken_row_are_not_taken_for_rows(tmp_path):
    turns = '[{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]'
    content = f'[{{"messages": {turns}}}, {{"messages" {turns}}}, {{"messages": {turns}}}]'
    path = tmp_path / "x.json"
    path.write_text(content)

    rows = list(read_rows(Source((path,))))

    assert [type(row) is Example for row in rows].count(True) == 2
    assert len(rows) == 3


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_it_does_not_matter_in_what_pieces_a_file_is_read(tmp_path, monkeypatch, size):
    monkeypatch.setattr(encoding, "BLOCK_BYTES", size)
    monkeypatch.setattr(json_module, "BLOCK_BYTES", size)
    monkeypatch.setattr(json_module, "_NEAR_END_CHARS", 64)
    content = f'[{X}, 12345, -1.5e+10, true, "\u20ac\\u20ac", {{"a": "\u20ac", "b": null}},\n{Y},'

    rows, problems = look(tmp_path, content, format="json")

    assert rows == [("x", 1), ("y", 2)]
    assert [each[:2] for each in problems] == [(1, 24), (1, 31), (1, 41), (1, 47), (1, 74), (2, 22)]
    (batch, *_) = [each for each in read(Source((tmp_path / "x.json",), AB)) if each.lines]
    assert batch.locate(0, "output") == (1, 19)


@pytest.mark.slow
def test_a_row_that_is_too_large_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(json_module, "MAX_ROW_BYTES", 2**17)
    for module in (encoding, json_module):
        monkeypatch.setattr(module, "BLOCK_BYTES", 2**14)
    content = f'[{X},\n{{"a": "{"z" * 2**23}", "b": "3"}},\n{Y}]'
    path = tmp_path / "x.json"
    path.write_text(content)
    del content
    tracemalloc.start()

    found = list(read_rows(Source((path,), AB)))

    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()
    assert [(each.line, getattr(each, "rule", "")) for each in found] == [
        (1, ""), (2, "row-too-large"), (3, ""),
    ]  # fmt: skip


def test_a_cut_gzip_file_says_so(tmp_path):
    import gzip

    path = tmp_path / "x.json.gz"
    content = f"[{','.join([X] * 1000)}]".encode()
    path.write_bytes(gzip.compress(content)[:-12])

    *_, problem = read_rows(Source((path,), AB))

    assert problem.rule == "unreadable"
    assert "gzip data are damaged" in problem.what


@pytest.mark.slow
def test_many_bytes_that_are_no_text_are_placed_without_counting_the_file_for_each(
    tmp_path, monkeypatch
):
    row = b'{"a": "\xc3\xa9\xff", "b": "1"}'
    counted = []
    size = json_module._Text.size
    monkeypatch.setattr(
        json_module._Text, "size", lambda self, text: counted.append(len(text)) or size(self, text)
    )
    content = b"[" + b",\n".join([row] * 20_000) + b"]"
    _, problems = look(tmp_path, content)

    offsets = [what.split("offset ")[1].split(" ")[0] for *_, what in problems]
    step = len(row) + 2
    assert offsets == [f"{at:,}" for at in range(10, 10 + 20_000 * step, step)]
    assert sum(counted) <= 2 * len(content)
