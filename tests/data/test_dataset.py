"""Files, patterns and saved folders as sources, and the problems of those that cannot be read."""

import json
import os

import pytest

from tuner.data.dataset import Source, explain_missing, files, matching, read
from tuner.data.export import write
from tuner.data.repair import repair
from tuner.errors import DatasetError
from tuner.jobspec.load import read_data, read_partial_spec
from tuner.types import Example

SPEC = "job: j\nbase_model: models/smollm2-135m-instruct\ntraining_data:\n  path: "


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b.csv").write_text("text_input,output\nb,1\n")
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "completion": "2"}\n')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/c[1].json").write_text('[{"text_input": "c", "output": "3"}]')
    return tmp_path


def inputs(folder, *paths):
    batches = read(Source(tuple(folder / path for path in paths)))
    return [text for batch in batches for text in batch.text_inputs]


def test_files_of_different_formats_are_read_in_the_given_order(folder):
    assert inputs(folder, "b.csv", "sub/c[1].json", "a.jsonl") == ["b", "c", "a"]


def test_a_pattern_matches_files_in_sorted_order_and_each_once(folder):
    assert inputs(folder, "b.csv", "*") == ["b", "a"]
    assert inputs(folder, "**/*.js*") == ["a", "c"]
    assert list(files([folder / "?.csv", folder / "sub/../b.csv"])) == [folder / "b.csv"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    assert matching(folder / "sub/c[1].json") == [folder / "sub/c[1].json"]


def test_a_missing_path_is_reported_with_the_nearest_file(folder):
    assert explain_missing(folder / "bb.csv") == (
        f"{folder}/bb.csv does not exist",
        f"did you mean {folder}/b.csv?",
    )
    assert explain_missing(folder / "*.tsv")[0] == f"{folder}/*.tsv matches no file"
    assert "is a folder" in explain_missing(folder / "sub")[0]


def test_a_spec_may_list_paths_relative_to_itself(folder):
    spec = folder / "sub/spec.yaml"
    spec.write_text(SPEC + "[../b.csv, ../*.jsonl]\nevaluation:\n  path: [c*.json]\n")

    material = read_data(read_partial_spec(spec))

    assert [each.text_input for each in material.examples] == ["b", "a"]


def test_a_missing_path_of_a_list_has_its_place_in_the_spec(folder):
    spec = folder / "spec.yaml"
    spec.write_text(SPEC + "\n    - b.csv\n    - bb.csv\n    - '*.tsv'\n")

    problems = read_data(read_partial_spec(spec)).problems

    assert [(each.line, each.column, each.rule) for each in problems] == [
        (6, 7, "no-file"), (7, 7, "no-file"),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_folder_saved_by_datasets_is_read_and_of_several_splits_train(tmp_path):
    pa = pytest.importorskip("pyarrow")
    for split in ("train", "test"):
        (tmp_path / "saved" / split).mkdir(parents=True)
        names = [f"data-0000{n}-of-00002.arrow" for n in range(2)]
        state = {"_data_files": [{"filename": name} for name in names], "_split": split}
        (tmp_path / "saved" / split / "state.json").write_text(json.dumps(state))
        for name in names:
            turns = [[{"role": "user", "content": name}, {"role": "assistant", "content": split}]]
            table = pa.table({"messages": turns})
            with pa.ipc.new_stream(tmp_path / "saved" / split / name, table.schema) as stream:
                stream.write_table(table)
    (tmp_path / "saved/dataset_dict.json").write_text('{"splits": ["train", "test"]}')

    def outputs(path):
        return [text for batch in read(Source((path,))) for text in batch.outputs]

    assert outputs(tmp_path / "saved") == ["train"] * 2
    assert outputs(tmp_path / "saved/test") == ["test"] * 2
    assert outputs(tmp_path / "*") == ["train"] * 2


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "none that save_to_disk"),
        ({"dataset_dict.json": '{"splits": ["test"]}'}, "has the splits test, and no train"),
        ({"state.json": "{"}, "is not what `datasets` writes"),
        ({"state.json": "[]"}, "is not what `datasets` writes"),
        ({"state.json": '{"_indices_data_files": [1]}'}, "only `datasets` can read"),
    ],
)
def test_a_folder_that_cannot_be_read_is_reported_with_the_reason(tmp_path, files, what):
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    (problem,) = [each for batch in read(Source((tmp_path,))) for each in batch.problems]

    assert what in problem.what
    assert problem.fix


def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")

    (problem,) = [
        each for batch in read(Source((tmp_path / "pipe.csv",))) for each in batch.problems
    ]

    assert "is not an ordinary file" in problem.what


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.json"])
def test_a_file_written_to_while_it_is_read_is_reported(tmp_path, name):
    path = tmp_path / name
    write(path, [Example(f"question {n}", "answer") for n in range(30_000)])
    batches = read(Source((path,)))
    first = next(batch for batch in batches if batch.lines)
    write(path, [Example("question", "answer")], force=True)

    *_, last = batches
    assert first.lines
    assert [(each.rule, each.what) for each in last.problems] == [
        ("unreadable", "was written to while it was read")
    ]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_file_written_to_while_it_is_read_is_not_repaired(tmp_path, name):
    path = tmp_path / name
    write(path, [Example(f"question {n}", "answer") for n in range(100)])
    rows = repair(Source((path,)), path.suffix[1:])
    next(rows)
    os.utime(path, ns=(0, 0))

    with pytest.raises(DatasetError, match="while it was read"):
        list(rows)
