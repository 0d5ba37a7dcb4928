"""CSV as people and Excel write it: its rows, and what is wrong with others."""

import csv
import gzip
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tuner.data import csv as reader
from tuner.data.dataset import Columns, Source, read_rows
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
def test_the_header_determines_the_delimiter(tmp_path, name, content):
    (row,) = read(tmp_path, content, name=name)

    assert isinstance(row, Example)


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("a,b\nx\n", 2, "1 cell where the first row has 2"),
        ('a,b\nx, "y,z"\n', 2, "3 cells where the first row has 2"),
        ('a,b\n"x"y,z\n', 2, "text follows a closing quote"),
        ('a,b\nw,1\n"x,y\nz,2\n', 3, "a quote opened here is never closed"),
        ("a,b\nx\ry,z\n", 2, "a bare carriage return outside quotes"),
        (b"a,b\nx\xe9,y\n", 2, "byte 0xe9 at offset 5 of the file is not UTF-8"),
        (b'a,b\n"x\n\xff",y\n', 3, "byte 0xff at offset 7 of the file is not UTF-8"),
        ("\ufeffa,b\nx\n".encode("utf-16"), 1, "the file is UTF-16, not UTF-8"),
        ("", 1, "there is no header row"),
        ("a, b\nx,y\n", 1, "there is no column 'b'; there is 'a', ' b'"),
        ("a,b,a\nx,y,z\n", 1, "2 columns are named 'a'"),
    ],
)  # fmt: skip
def test_a_problem_has_its_line_and_a_fix(tmp_path, content, line, what):
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
        ("text_input ,output", ("remove the spaces from the name 'text_input ', or write "
         "text_input: 'text_input ' in the spec")),
        ("text_imput,output", ("did you mean 'text_imput'? Then write "
         "training_data.text_input: text_imput (--text-input text_imput)")),
        ("question,output", ("name the one to read: training_data.text_input "
         "(--text-input COLUMN)")),
    ],
)  # fmt: skip
def test_the_fix_for_a_wrong_column_names_the_nearest(tmp_path, header, fix):
    (problem,) = read(tmp_path, f"{header}\nx,y\n", Columns())

    assert problem.fix == fix


def test_a_cell_may_be_long(tmp_path):
    (row,) = read(tmp_path, f"a,b\n{'x' * 200_000},y\n")

    assert len(row.text_input) == 200_000


@pytest.mark.parametrize(
    ("rows", "places"),
    [
        ('"x,1\ny,2\nz,3\n', ["2:1"]),
        ('"x,1\n"y",2\nz,3\n', ["2:1"]),
        ('"x,1\ny,"2"\nz,3\n', ["2:1"]),
        ('"x,1\n"y,2\nz,3\n', ["2:1", "3:1"]),
        ('"x\ny"z,1\nz,3\n', ["3:3"]),
        ('"say ""x"" ",1,2\nz,3\n', ["2:16"]),
        ('"x"\nz,3\n', ["2:4"]),
        ('"x\ny",1,2\nz,3\n', ["3:6"]),
        ("x,1\ry,2\nz,3\n", ["2:4"]),
    ],
)  # fmt: skip
def test_a_malformed_row_has_its_place_and_the_next_is_read(tmp_path, rows, places):
    found = read(tmp_path, "a,b\n" + rows)

    assert [f"{each.line}:{each.column}" for each in found if isinstance(each, Problem)] == places
    assert found[-1] == Example("z", "3")


NASTY = st.text(st.sampled_from('",\r\n;ab é😀'), max_size=40)


def written(rows):
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    return file.getvalue()


@pytest.mark.slow
@hypothesis_settings(max_examples=60, deadline=None)
@given(body=NASTY | st.lists(st.tuples(NASTY, NASTY)).map(written))
def test_good_rows_are_those_of_the_csv_module_and_every_character_has_its_place(
    tmp_path_factory, body
):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    text = "a,b\n" + body
    path.write_text(text, newline="")
    lines = text.split("\n")

    found = list(reader.read(path, Source((path,), AB)))

    good, is_good = by_the_csv_module(body)
    rows = [tuple(row) for batch in found for row in batch.examples()]
    assert rows[: len(good)] == good
    assert is_good == (not any(batch.problems for batch in found))
    for batch in found:
        for row, cell in enumerate(batch.outputs):
            for offset, character in enumerate(cell):
                line, column = batch.locate(row, "output", offset)
                assert (lines[line - 1] + "\n")[column - 1] == character


def by_the_csv_module(body):
    """Good rows with their lines up to the first that is bad, and whether there is none."""
    rows, line = [], 2
    of = csv.reader(io.StringIO(body, newline="\n"), strict=True)
    try:
        for row in of:
            if len(row) == 2:
                rows.append((*row, line))
            elif len(row) > 2 or (row and row[0].strip()):
                return rows, False
            line = of.line_num + 2
    except csv.Error:
        return rows, False
    return rows, True


@pytest.mark.parametrize("first", ["x,1\nx,1\n", '"x\nx",1\nx,1\n', "x,1\n\nx,1\n"])
def test_lines_are_counted_correctly_after_a_bad_row(tmp_path, first):
    rows = read(tmp_path, f"a,b\n{first}y\nz,2\ny\nz,")

    line = 2 + first.count("\n")
    assert [row.line for row in rows[2:]] == [line, line + 1, line + 2, line + 3]


def test_a_row_of_blank_cells_is_a_row(tmp_path):
    found = read(tmp_path, 'a\tb\n"x\ny"\t1\n\t \n\nz\t2\n', name="x.tsv")

    assert [(row.text_input, row.output, row.line) for row in found] == [
        ("x\ny", "1", 2),
        ("", " ", 4),
        ("z", "2", 6),
    ]


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n'])
def test_the_sep_line_of_excel_names_the_delimiter(tmp_path, first):
    (row,) = read(tmp_path, f"{first}a;b\nx,1;y\n")

    assert (row.text_input, row.output, row.line) == ("x,1", "y", 3)


def test_a_truncated_gzip_file_is_read_up_to_its_end_and_reported(tmp_path):
    text = "a,b\n" + "".join(f"{number * 7919},{number}\n" for number in range(9999))

    *rows, last = read(tmp_path, gzip.compress(text.encode())[:-9000])

    assert rows[0] == Example("0", "0")
    assert last.rule == "unreadable"
    assert last.line == len(rows) + 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig"])
def test_any_text_encoding_may_be_named(tmp_path, encoding):
    content = "a,b\ncafé,1\n".encode(encoding)

    assert read(tmp_path, content, encoding=encoding) == [Example("café", "1")]


@pytest.mark.slow
def test_an_unclosed_quote_in_a_large_file_costs_one_row_and_little_memory(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('a,b\n"x,1\n' + f"{'some text ' * 20},2\n" * 100_000)
    tracemalloc.start()

    found = [(len(batch.lines), batch.problems) for batch in reader.read(path, Source((path,), AB))]

    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()
    assert sum(count for count, _ in found) == 100_000
    (problem,) = [each for _, problems in found for each in problems]
    assert problem.where == f"{path}:2:1"


@pytest.mark.slow
def test_a_line_of_17_mib_is_skipped_and_the_next_is_read(tmp_path):
    problem, row = read(tmp_path, b"a,b\n" + b"x" * 17 * 2**20 + b"\nz,3\n")

    assert (problem.rule, problem.line, row) == ("row-too-large", 2, Example("z", "3"))
