"""JSON Lines, right and wrong."""

import pytest

from tuner.data.dataset import Columns, Source, read_rows
from tuner.errors import Problem

AB = Columns("a", "b")


def read(tmp_path, content, columns=AB, name="x.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(Source((path,), columns)))


def test_blank_lines_a_mark_and_other_keys_do_not_matter(tmp_path):
    rows = read(tmp_path, '\ufeff{"a": "x", "b": "y", "c": [1]}\r\n\r\n  {"b": "2", "a": "1"}')

    assert [(row.text_input, row.output, row.line) for row in rows] == [
        ("x", "y", 1),
        ("1", "2", 3),
    ]


@pytest.mark.parametrize(
    ("line", "where", "what"),
    [
        ('{"a": "x", "b": 7}', "2:17", "b is a number (7) where a text is needed"),
        ('{"a": "x", "b": 1.0}', "2:17", "b is a number (1.0) where a text is needed"),
        ('{"a": "x", "b": NaN}', "2:17", "b is a number (NaN) where a text is needed"),
        ('{"a": "x", "b": -Infinity}', "2:17", "b is a number (-Infinity) where a text is needed"),
        ('{"a": "x", "b":  true}', "2:18", "b is true or false (true) where a text is needed"),
        ('{"a": "x", "b": null}', "2:17", "b is null where a text is needed"),
        ('{"a": ["x"], "b": "y"}', "2:7", "a is a list where a text is needed"),
        ('{"c": [{"a": "]"}, 7], "a": {"x": 1}, "b": "y"}', "2:29",
         "a is an object where a text is needed"),
        ('  {"a": "x"}', "2:3", "there is no key 'b'; there is 'a'"),
        ('{"a": "x", "b": "y", "\\u0061" : "z"}', "2:22", "the key 'a' is there twice"),
        ('{"a": "x", "b": "\\":", "a" : "z"}', "2:24", "the key 'a' is there twice"),
        ('{"a": "x", "b": "y", "c": {"d": 1, "d": 2}}', "2:36", "the key 'd' is there twice"),
        ('["x", "y"]', "2:1", "is a list where an object is needed"),
        ('"x"', "2:1", "is a text where an object is needed"),
        ('{"a": "x", "b": "y"', "2:20", "is not JSON: expecting ',' delimiter"),
        ("{'a': 'x'}", "2:2", "is not JSON: expecting property name enclosed in double quotes"),
        ('{"a": "x", "b": "y"} {}', "2:22", "is not JSON: extra data"),
        ('{"a": "x", "b": "a\tb"}', "2:19", "is not JSON: invalid control character at"),
        ('{"a": "[", "b": ' + "[" * 100_000, "2:515", "is nested too deep to be read"),
        ('{"a": "9", "b": -1' + "0" * 5000 + "}", "2:17", "a number has more than 4,300 digits"),
        (b'{"a": "\xe9", "b": "y"}', "2:8", "byte 0xe9 at offset 28 of the file is not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_costs_no_other_line(tmp_path, line, where, what):
    line = line if isinstance(line, bytes) else line.encode()
    good = b'{"a": "x", "b": "y"}\n'
    first, problem, last = read(tmp_path, good + line + b"\n" + good)

    assert isinstance(problem, Problem)
    assert problem.where == f"{tmp_path}/x.jsonl:{where}"
    assert problem.what == what
    assert problem.fix
    assert (first.line, last.line) == (1, 3)
