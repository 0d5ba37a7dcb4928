"""Behaviour of every reader: texts are unchanged, whatever the format."""

import gzip
import json
from itertools import islice

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tuner.data.dataset import FORMATS, READERS, USUAL, Columns, Source, detect, read, read_rows
from tuner.data.export import WRITERS, write
from tuner.data.record_formats import RECORD_FORMATS
from tuner.errors import DatasetError, Problem
from tuner.types import Example

ARROW = ("parquet", "arrow", "dataset")
CONTAINERS = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ARROW))  # pyarrow takes its time
        for name in sorted({*READERS, *WRITERS})
    ],
)
TEXT = pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "json"])
SUFFIXES = {"dataset": "", "csv": ".csv"} | {
    name: each.suffixes[0] for name, each in WRITERS.items()
}
TEXTS = [
    "NA", "None", "null", "nan", "", " ", "007", "1.0", "1e5", "true", "False", "2026-11-22",
    " padded ", "a\nb", "a\r\nb", "\n", "tab\there", 'a "quoted" word', "a,b;c|d", "'", "=1+1",
    "\\n", "é", "e\u0301", "🙂", "\u200b", "\u2028", "\x0b", "\x00", "\ufeff", "#", "{}", "[]",
]  # fmt: skip
ANY = st.lists(st.builds(Example, st.text(), st.text()), min_size=1, max_size=5)


def make(folder, name, rows, columns=USUAL, shape="auto", **options):
    """A file, or a folder as `datasets` saves it, that holds the rows."""
    examples = [Example(*row) for row in rows]
    if name == "dataset":
        folder = folder / "saved"
        folder.mkdir(exist_ok=True)
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (folder / "state.json").write_text(json.dumps(state))
        as_stream(folder / "data-00000-of-00001.arrow", examples, columns)
        return folder
    path = folder / f"data{SUFFIXES[name]}"
    write(path, examples, name if shape == "auto" else shape, columns, force=True, **options)
    return path


def as_stream(path, examples, columns):
    pa = pytest.importorskip("pyarrow")
    texts = [[row[side] for row in examples] for side in (0, 1)]
    table = pa.table([pa.array(side, pa.string()) for side in texts], names=list(columns))
    with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)


def rows_of(path, columns=USUAL, **options):
    return list(read_rows(Source((path,), columns, **options)))


def test_a_format_is_a_file_format_or_a_record_format():
    assert ("auto", *READERS, *RECORD_FORMATS) == FORMATS
    assert set(READERS) - {"dataset"} == set(WRITERS) - {"tsv"}


@CONTAINERS
def test_texts_that_other_tools_convert_are_unchanged(tmp_path, name):
    rows = [Example(text, "x") for text in TEXTS] + [Example("y", text) for text in TEXTS]

    assert rows_of(make(tmp_path, name, rows)) == rows


@pytest.mark.slow
@CONTAINERS
@settings(max_examples=25, deadline=None)
@given(rows=ANY)
def test_any_text_is_unchanged(tmp_path_factory, name, rows):
    assert rows_of(make(tmp_path_factory.getbasetemp(), name, rows)) == rows


@pytest.mark.slow
@pytest.mark.parametrize("shape", RECORD_FORMATS)
@settings(max_examples=25, deadline=None)
@given(rows=ANY, system=st.text(max_size=3))
def test_any_text_is_unchanged_in_any_record_format_and_the_system_text_precedes_it(
    tmp_path_factory, shape, rows, system
):
    folder = tmp_path_factory.getbasetemp()
    prefix = f"{system}\n\n" if system else ""
    # an empty input leaves nothing for a joined text of two columns to be parted by
    assume(
        all(row.text_input for row in rows)
        or not system
        or shape not in ("alpaca", "prompt-completion")
    )

    path = make(folder, "jsonl", rows, shape=shape, system=system)

    assert rows_of(path) == [Example(prefix + row.text_input, row.output) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(WRITERS))
@pytest.mark.parametrize("shape", RECORD_FORMATS)
def test_every_file_format_holds_every_record_format_or_is_refused(tmp_path, name, shape):
    rows = [Example("a\r\n", "b"), Example('"', "")]
    if WRITERS[name].is_flat and not RECORD_FORMATS[shape].is_flat:
        with pytest.raises(DatasetError, match="has no place for the messages"):
            make(tmp_path, name, rows, shape=shape)
    else:
        assert rows_of(make(tmp_path, name, rows, shape=shape)) == rows


@CONTAINERS
def test_columns_may_have_other_names(tmp_path, name):
    columns = Columns("the question", "Antwort")

    assert rows_of(make(tmp_path, name, [("1", "2")], columns), columns) == [Example("1", "2")]


@CONTAINERS
def test_a_missing_column_is_a_problem_that_names_the_present_ones(tmp_path, name):
    path = make(tmp_path, name, [("1", "2")])

    (problem,) = rows_of(path, Columns("text_input", "outptu"))

    assert "'outptu'" in problem.what
    assert "'text_input', 'output'" in problem.what
    assert "'output'" in problem.fix


@CONTAINERS
def test_lines_are_counted_from_one(tmp_path, name):
    path = make(tmp_path, name, [(f"{n}", "x") for n in range(50)])
    lines = [row.line for row in rows_of(path)]

    assert lines == sorted(set(lines))
    if name in ("csv", "tsv", "jsonl", "json"):
        assert path.read_text().splitlines()[lines[7] - 1].count("7")
    else:
        assert lines == list(range(1, 51))


@pytest.mark.slow
@TEXT
@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.text('a"\\\n\r\t, é🙂\x00', max_size=5), st.text()), min_size=1, max_size=3
    )
)
def test_every_character_of_every_text_has_its_place(tmp_path_factory, name, rows):
    path = make(tmp_path_factory.getbasetemp(), name, rows)
    lines = path.read_bytes().decode().split("\n")
    written = {'"': '"\\', "\\": "\\", "\n": "\n\\", "\r": "\\\r", "\t": "\\\t"}

    for batch in read(Source((path,))):
        for row, (text_input, output) in enumerate(
            zip(batch.text_inputs, batch.outputs, strict=True)
        ):
            for field, text in (("text_input", text_input), ("output", output)):
                places = [batch.locate(row, field, at) for at in range(len(text))]
                assert places == sorted(set(places))
                for character, (line, column) in zip(text, places, strict=True):
                    found = (lines[line - 1] + "\n")[column - 1]
                    assert found in written.get(character, character + "\\")


@CONTAINERS
def test_the_format_is_detected_from_the_content(tmp_path, name):
    path = make(tmp_path, name, [("1", "2"), ("3", "4")])
    kind = "csv" if name == "tsv" else name
    for other in ("data", "data.txt", "data.jsonl", "data.json"):
        if not (
            name in ("csv", "tsv") and "json" in other
        ):  # what is meant to be JSON is told as such
            assert detect(path.rename(tmp_path / other)) == kind
            path = tmp_path / other
    assert rows_of(path) == [Example("1", "2"), Example("3", "4")]


@TEXT
def test_text_may_be_compressed_and_have_a_byte_order_mark(tmp_path, name):
    path = make(tmp_path, name, [("1", "2")])
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + path.read_bytes()))

    assert rows_of(path) == [Example("1", "2")]


@CONTAINERS
def test_a_file_that_cannot_be_read_is_a_problem(tmp_path, name):
    name = "csv" if name == "tsv" else name
    (problem,) = read_rows(Source((tmp_path / "none",), format=name))
    (folder,) = read_rows(Source((tmp_path,), format=name))

    assert isinstance(problem, Problem)
    assert "no such file" in problem.what or name == "dataset"
    assert "is a directory" in folder.what or name == "dataset"


@CONTAINERS
def test_rows_are_read_lazily(tmp_path, name):
    path = make(tmp_path, name, [("1", "2")] * 5_000)
    rows = read_rows(Source((path,)))

    assert len(list(islice(rows, 2))) == 2
    rows.close()
