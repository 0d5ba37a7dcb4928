"""JSON Lines, and JSON arrays on one line or on many: their rows, and what is wrong with others."""

import gzip
import json
import tracemalloc

import pytest

from tuner.data import encoding
from tuner.data import json as json_module
from tuner.data.dataset import Columns, Source, read, read_rows
from tuner.types import Example

AB = Columns("a", "b")
X, Y = '{"a": "x", "b": "1"}', '{"a": "y", "b": "2"}'


def read_all(tmp_path, content, name="x.json", **options):
    """Return (text_input, line) of the rows, and (line, column, rule, message) of the problems."""
    path = tmp_path / name
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
def test_a_row_of_an_array_has_the_line_of_its_brace(tmp_path, content, lines):
    encoding = "utf-16" if isinstance(content, bytes) else "utf-8"
    rows, problems = read_all(tmp_path, content, encoding=encoding, format="json")

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
        (f'[\n{X},\n {{"a": "z", "a": "3"}},\n{Y}]', (3, 13), "the key 'a' appears twice"),
        (f'[{X},{{"a": "z\xe9", "b": "3"}},{Y}]'.encode("cp1252"), (1, 31),
         "byte 0xe9 at offset 30 of the file is not UTF-8"),
    ],
)  # fmt: skip
def test_a_problem_in_an_array_has_its_place_and_costs_no_other_row(tmp_path, content, where, what):
    rows, problems = read_all(tmp_path, content, format="json")

    assert [name for name, _ in rows] == ["x", "y"]
    assert [problem[:2] for problem in problems] == [where]
    assert what in problems[0][3]


def test_messages_in_a_malformed_row_are_not_read_as_rows(tmp_path):
    turns = '[{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]'
    content = f'[{{"messages": {turns}}}, {{"messages" {turns}}}, {{"messages": {turns}}}]'
    path = tmp_path / "x.json"
    path.write_text(content)

    rows = list(read_rows(Source((path,))))

    assert [type(row) is Example for row in rows].count(True) == 2
    assert len(rows) == 3


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_the_size_of_the_blocks_read_does_not_matter(tmp_path, monkeypatch, size):
    monkeypatch.setattr(encoding, "BLOCK_BYTES", size)
    monkeypatch.setattr(json_module, "BLOCK_BYTES", size)
    monkeypatch.setattr(json_module, "_NEAR_END_CHARS", 64)
    content = f'[{X}, 12345, -1.5e+10, true, "\u20ac\\u20ac", {{"a": "\u20ac", "b": null}},\n{Y},'

    rows, problems = read_all(tmp_path, content, format="json")

    assert rows == [("x", 1), ("y", 2)]
    assert [each[:2] for each in problems] == [(1, 24), (1, 31), (1, 41), (1, 47), (1, 74), (2, 22)]
    (batch, *_) = [each for each in read(Source((tmp_path / "x.json",), AB)) if each.lines]
    assert batch.locate(0, "output") == (1, 19)


@pytest.mark.slow
def test_a_row_that_is_too_large_is_not_kept_in_memory(tmp_path, monkeypatch):
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


def test_a_truncated_gzip_file_is_reported(tmp_path):
    path = tmp_path / "x.json.gz"
    content = f"[{','.join([X] * 1000)}]".encode()
    path.write_bytes(gzip.compress(content)[:-12])

    *_, problem = read_rows(Source((path,), AB))

    assert problem.rule == "unreadable"
    assert "gzip data are damaged" in problem.what


@pytest.mark.slow
def test_many_undecodable_bytes_are_placed_in_linear_time(tmp_path, monkeypatch):
    row = b'{"a": "\xc3\xa9\xff", "b": "1"}'
    counted = []
    size = json_module._Text.size
    monkeypatch.setattr(
        json_module._Text, "size", lambda self, text: counted.append(len(text)) or size(self, text)
    )
    content = b"[" + b",\n".join([row] * 20_000) + b"]"
    _, problems = read_all(tmp_path, content)

    offsets = [what.split("offset ")[1].split(" ")[0] for *_, what in problems]
    step = len(row) + 2
    assert offsets == [f"{at:,}" for at in range(10, 10 + 20_000 * step, step)]
    assert sum(counted) <= 2 * len(content)


def test_json_lines_may_have_blank_lines_a_byte_order_mark_and_other_keys(tmp_path):
    content = '\ufeff{"a": "x", "b": "y", "c": [1]}\r\n\r\n  {"b": "2", "a": "1"}'

    assert read_all(tmp_path, content, "x.jsonl") == ([("x", 1), ("1", 3)], [])


@pytest.mark.parametrize(
    ("line", "where", "what"),
    [
        ('{"a": "x", "b": 7}', "2:17", "b is a number (7) where a text is needed"),
        ('{"a": "x", "b": NaN}', "2:17", "b is a number (NaN) where a text is needed"),
        ('{"a": "x", "b":  true}', "2:18", "b is true or false (true) where a text is needed"),
        ('{"a": "x", "b": null}', "2:17", "b is null where a text is needed"),
        ('{"a": ["x"], "b": "y"}', "2:7", "a is a list where a text is needed"),
        ('{"c": [{"a": "]"}, 7], "a": {"x": 1}, "b": "y"}', "2:29",
         "a is an object where a text is needed"),
        ('  {"a": "x"}', "2:3", "there is no key 'b'; there is 'a'"),
        ('{"a": "x", "b": "y", "\\u0061" : "z"}', "2:22", "the key 'a' appears twice"),
        ('{"a": "x", "b": "\\":", "a" : "z"}', "2:24", "the key 'a' appears twice"),
        ('{"a": "x", "b": "y", "c": {"d": 1, "d": 2}}', "2:36", "the key 'd' appears twice"),
        ('["x", "y"]', "2:1", "is a list where an object is needed"),
        ('{"a": "x", "b": "y"', "2:20", "is not JSON: expecting ',' delimiter"),
        ('{"a": "x", "b": "a\tb"}', "2:19", "is not JSON: invalid control character at"),
        ('{"a": "[", "b": ' + "[" * 100_000, "2:515", "is nested too deep to be read"),
        ('{"a": "9", "b": -1' + "0" * 5000 + "}", "2:17", "a number has more than 4,300 digits"),
        (b'{"a": "\xe9", "b": "y"}', "2:8", "byte 0xe9 at offset 28 of the file is not UTF-8"),
    ],
)  # fmt: skip
def test_a_problem_in_json_lines_has_its_place_and_costs_no_other_line(tmp_path, line, where, what):
    line = line if isinstance(line, bytes) else line.encode()
    good = b'{"a": "x", "b": "y"}\n'

    rows, [(*place, _, message)] = read_all(tmp_path, good + line + b"\n" + good, "x.jsonl")

    assert rows == [("x", 1), ("x", 3)]
    assert "{}:{}".format(*place) == where
    assert message == what
