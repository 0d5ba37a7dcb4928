"""Which files a command line means, and how many steps a tuning takes."""

from __future__ import annotations

import pytest

from tuner.errors import InvalidInput
from tuner.jobspec.files import find_specs, is_pipeline
from tuner.jobspec.prepared_job import total_steps
from tuner.pipelines.load import load_files
from tuner.types import Hyperparameters, TargetConfig


@pytest.fixture
def folder(tmp_path):
    files = {
        "b.yaml": "job: b\n",
        "a.yml": "job: a\n",
        "grid.yaml": "pipeline: grid\njobs: []\n",
        "compose.yaml": "services: {}\n",
        "list.yaml": "- job\n",
        "empty.yaml": "",
        "broken.yaml": "job: [\n",
        ".hidden.yaml": "job: hidden\n",
        "notes.txt": "job: notes\n",
        "below/c.yaml": "job: c\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def names(*given):
    return [path.name for path in find_specs([str(each) for each in given])]


def test_a_folder_gives_its_specs_pipelines_and_invalid_yaml_files(folder):
    assert names(folder) == ["a.yml", "b.yaml", "broken.yaml", "grid.yaml"]


def test_a_file_is_taken_whatever_it_contains(folder):
    assert names(folder / "notes.txt", folder / "gone.yaml") == ["notes.txt", "gone.yaml"]


def test_a_file_is_taken_once_however_it_is_written(folder, monkeypatch):
    monkeypatch.chdir(folder)

    assert find_specs(["b.yaml", str(folder), "below/../b.yaml"])[0].as_posix() == "b.yaml"
    assert len(find_specs(["b.yaml", str(folder), "below/../b.yaml"])) == 4


def test_every_folder_without_a_spec_is_named(folder):
    for name in ("one", "two"):
        (folder / name).mkdir()

    with pytest.raises(InvalidInput, match="`job:` or `jobs:`") as caught:
        find_specs([str(folder / "one"), str(folder), str(folder / "two")])

    assert [problem.path for problem in caught.value.problems] == [
        str(folder / "one"),
        str(folder / "two"),
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [("grid.yaml", True), ("a.yml", False), ("broken.yaml", False), ("list.yaml", False)],
)
def test_a_file_with_jobs_is_a_pipeline(folder, name, told):
    assert is_pipeline(folder / name) is told


@pytest.mark.parametrize(
    ("examples", "asked", "steps"),
    [
        (197, Hyperparameters(), 5 * 50),
        (999, Hyperparameters(), 5 * 250),
        (1_000, Hyperparameters(), 5 * 63),
        (10, Hyperparameters(3, 4), 9),
        (10, Hyperparameters(1), 3),
        (1, Hyperparameters(batch_size=64), 5),
    ],
)
def test_a_batch_that_is_not_full_is_a_step_too(examples, asked, steps):
    assert total_steps(examples, asked) == steps


def test_a_credentials_file_of_the_command_line_is_relative_to_the_current_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "below"
    folder.mkdir()
    (folder / "a.yaml").write_text(
        "job: a\nbase_model: models/m\ntraining_data: {path: rows.csv}\n"
    )
    (folder / "rows.csv").write_text("text_input,output\n" + "".join(f"{n},a\n" for n in range(30)))

    given = TargetConfig("gemini", credentials_file="key.json")
    [work] = load_files(["below"], target=given).works

    assert work.spec.target.credentials_file == str(tmp_path / "key.json")
