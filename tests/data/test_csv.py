"""CSV as people and Excel write it, right and wrong."""

import pytest

from tuner.data import Columns, Source, read_rows
from tuner.errors import Problem
from tuner.types import Example

AB = Columns("a", "b")


def read(tmp_path, content, columns=AB, name="x.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(Source((path,), columns, encoding=encoding)))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_has_the_line_it_starts_on(tmp_path, end):
    text = end.join(["a,b", '"x', "", 'y",1', "", "z,2", ""])

    assert [(row.text_input, row.line) for row in read(tmp_path, text)] == [
        (f"x{end}{end}y", 2),
        ("z", 6),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "a,b\n1;2,3\n"),
        ("x.csv", "a;b\n1,2;3\n"),
        ("x.tsv", "a\tb\n1,2\t3\n"),
        ("x.csv", "a|b\n1|3\n"),
        ("x.csv", "a\tb\n1\t3\n"),
        ("x.txt", "a,b\n1,3\n"),
        ("x.csv", "\ufeffa,b\r\n1,3\r\n"),
        ("x.csv", '\ufeff"a","b"\n1,3\n'),
        ("x.csv", "c,b,a\n9,3,1\n"),
        ("x.csv", "c d;a;b\n9,9,9;1;3\n"),
    ],
)
def test_cells_are_parted_as_the_first_row_is(tmp_path, name, content):
    (row,) = read(tmp_path, content, name=name)

    assert isinstance(row, Example)


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("a,b\nx\n", 2, "1 cell where the first row has 2"),
        ("a,b\nx,y,z\n", 2, "3 cells where the first row has 2"),
        ('a,b\nx, "y,z"\n', 2, "3 cells where the first row has 2"),
        ('a,b\n"x"y,z\n', 2, "text follows a closing quote"),
        ('a,b\nw,1\n"x,y\nz,2\n', 3, "a quote opened here is never closed"),
        ("a,b\nx\ry,z\n", 2, "a bare carriage return outside quotes"),
        (b"a,b\nx\xe9,y\n", 2, "byte 0xe9 at offset 5 of the file is not UTF-8"),
        (b'a,b\n"x\n\xff",y\n', 3, "byte 0xff at offset 7 of the file is not UTF-8"),
        ("\ufeffa,b\nx\n".encode("utf-16"), 1, "the file is UTF-16, not UTF-8"),
        ("", 1, "there is no first row to name the columns"),
        ("\n\n", 1, "there is no first row to name the columns"),
        ("a, b\nx,y\n", 1, "there is no column 'b'; there is 'a', ' b'"),
        ("a,B\nx,y\n", 1, "there is no column 'b'; there is 'a', 'B'"),
        ("a,b,a\nx,y,z\n", 1, "2 columns are named 'a'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(tmp_path, content, line, what):
    problems = [row for row in read(tmp_path, content) if isinstance(row, Problem)]

    assert [(problem.line, problem.what) for problem in problems] == [(line, what)]
    assert problems[0].fix


def test_a_bad_row_costs_no_other(tmp_path):
    rows = read(tmp_path, b'a,b\n1,1\nx\n2,2\n"x"y,z\n3,3\n\xff,4\n5,5\n')

    assert [type(row).__name__ for row in rows] == ["Example", "Problem"] * 3 + ["Example"]
    assert [row.line for row in rows] == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("header", "fix"),
    [
        ("text_input ,output", ("take the spaces out of the name 'text_input ', or write "
         "text_input: 'text_input ' in the spec")),
        ("text_imput,output", ("did you mean 'text_imput'? Then write "
         "training_data.text_input: text_imput")),
        ("question,output", "say which one to read: training_data.text_input"),
    ],
)  # fmt: skip
def test_a_wrong_column_name_comes_with_the_nearest(tmp_path, header, fix):
    (problem,) = read(tmp_path, f"{header}\nx,y\n", Columns())

    assert problem.fix == fix


def test_another_encoding_can_be_named(tmp_path):
    (row,) = read(tmp_path, "a,b\ncafé,€\n".encode("cp1252"), encoding="cp1252")

    assert (row.text_input, row.output) == ("café", "€")


def test_a_cell_may_be_as_long_as_it_likes(tmp_path):
    (row,) = read(tmp_path, f"a,b\n{'x' * 200_000},y\n")

    assert len(row.text_input) == 200_000
