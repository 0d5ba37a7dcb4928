"""Written files: their names, what they can hold, and when none is written."""

import pytest

from tuner.data.dataset import Columns, Source, read_rows
from tuner.data.export import write
from tuner.errors import DatasetError
from tuner.types import Example

ROWS = [Example("a", "b", 7)]


def refused(*args, **options):
    with pytest.raises(DatasetError) as caught:
        write(*args, **options)
    (problem,) = caught.value.problems
    assert problem.fix
    return problem


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b'q,"a;b"\na,b\n'),
        ("x.CSV", b'q,"a;b"\na,b\n'),
        ("x.tsv", b'q\t"a;b"\na\tb\n'),
        ("x.jsonl", b'{"q": "a", "a;b": "b"}\n'),
        ("x.json", b'[\n{"q": "a", "a;b": "b"}\n]\n'),
    ],
)
def test_the_suffix_determines_the_format(tmp_path, name, content):
    assert write(tmp_path / name, ROWS, columns=Columns("q", "a;b")) == 1

    assert (tmp_path / name).read_bytes() == content


def test_equal_examples_give_equal_files_even_compressed(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.csv.gz", ROWS)

    assert (tmp_path / "a/x.csv.gz").read_bytes() == (tmp_path / "b/x.csv.gz").read_bytes()


def test_a_file_without_examples_has_a_header(tmp_path):
    write(tmp_path / "x.csv", [])
    write(tmp_path / "x.json", [])

    assert (tmp_path / "x.csv").read_text() == "text_input,output\n"
    assert (tmp_path / "x.json").read_text() == "[]\n"


def test_a_name_without_a_known_suffix_needs_a_format(tmp_path):
    assert "names no format" in refused(tmp_path / "x.dat", ROWS).what
    assert write(tmp_path / "x.dat", ROWS, "csv") == 1


def test_an_existing_file_is_overwritten_only_with_force(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("mine")

    assert refused(path, ROWS).what == "is already there"
    assert path.read_text() == "mine"
    assert write(path, ROWS, force=True) == 1


def test_an_input_is_never_overwritten_under_any_name(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("mine")
    (tmp_path / "link.csv").symlink_to(path)

    for name in ("x.csv", "link.csv"):
        problem = refused(tmp_path / name, ROWS, force=True, inputs=[tmp_path / "*.csv"])
        assert "never written over" in problem.what
    assert path.read_text() == "mine"


def test_a_folder_and_a_missing_path_are_refused(tmp_path):
    (tmp_path / "x.csv").mkdir()

    assert "is a folder" in refused(tmp_path / "x.csv", ROWS).what
    assert "no such file" in refused(tmp_path / "none/x.csv", ROWS).what


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.csv.gz"])
@pytest.mark.parametrize("text", ["\ud83d", "a\udc00"])
def test_csv_cannot_hold_half_of_a_surrogate_pair(tmp_path, name, text):
    problem = refused(tmp_path / name, [Example("a", "b"), Example("a", text, 9)])

    assert problem.what.startswith("row 2 (read from line 9): output holds half of a surrogate")
    assert list(tmp_path.iterdir()) == []


def test_json_escapes_it_but_not_two_that_would_become_one_character(tmp_path):
    rows = [Example("\ud83d", "é\udc00\ud83d")]
    write(tmp_path / "x.jsonl", rows)

    assert list(read_rows(Source((tmp_path / "x.jsonl",)))) == rows
    assert (
        "half of a surrogate" in refused(tmp_path / "y.jsonl", [Example("\ud83d\ude00", "")]).what
    )


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    def rows():
        yield ROWS[0]
        raise RuntimeError

    (tmp_path / "x.csv").write_text("mine")
    with pytest.raises(RuntimeError):
        write(tmp_path / "x.csv", rows(), force=True)

    assert [each.name for each in tmp_path.iterdir()] == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "mine"
