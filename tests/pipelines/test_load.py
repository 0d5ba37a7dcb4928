"""A pipeline file becomes stages in order, or is told every mistake at its line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.errors import InvalidInput
from tuner.jobspec.load import read_partial_spec
from tuner.jobspec.prepared_job import new_tuned_model, prepare_job
from tuner.jobspec.reference import json_schema
from tuner.pipelines.entries import ENTRY_KEYS, FREE, PipelineKeys, pipeline_schema
from tuner.pipelines.load import load_pipeline

CONFIGS = Path(__file__).parents[2] / "configs"
ROWS = "text_input,output\n" + "".join(f"question {n},answer {n}\n" for n in range(40))
FIRST = """\
job: first
base_model: models/m
training_data: {path: rows.csv}
evaluation: {holdout: 0.2}
"""
NEXT = """\
job: next
training_data: {path: rows.csv}
hyperparameters: {epoch_count: 2}
"""
GRID = "{hyperparameters.batch_size: [4, 8]}"


def load(folder, jobs, *overrides, top="pipeline: p"):
    files = {"rows.csv": ROWS, "first.yaml": FIRST, "next.yaml": NEXT}
    for name, text in files.items():
        (folder / name).write_text(text)
    path = folder / "pipeline.yaml"
    path.write_text(f"{top}\njobs:\n{jobs}\n")
    return load_pipeline(path, overrides)


def problems(folder, jobs, *overrides, top="pipeline: p"):
    with pytest.raises(InvalidInput) as error:
        load(folder, jobs, *overrides, top=top)
    return error.value.problems


def models(pipeline):
    return {stage.name: new_tuned_model(stage.work).name for stage in pipeline.stages}


def test_a_list_of_paths_is_a_pipeline_of_these_jobs(tmp_path):
    pipeline = load(tmp_path, "- first.yaml\n- {name: again, spec: ./first.yaml, set: {top_k: 4,"
                    " hyperparameters.epoch_count: 3}}")  # fmt: skip

    alone = prepare_job(tmp_path / "first.yaml")
    assert [stage.name for stage in pipeline.stages] == ["first", "again"]
    assert pipeline.stages[0].work.spec == alone.spec
    assert pipeline.stages[0].work.digest == alone.digest
    assert pipeline.stages[1].work.spec.top_k == 4
    assert pipeline.groupings[1] == ("again", ("again",), "all", "keep")


def test_max_parallel_and_fail_fast_are_read(tmp_path):
    top = "pipeline: Over night\nmax_parallel: 3\nfail_fast: true"
    pipeline = load(tmp_path, "- first.yaml", top=top)

    assert (pipeline.name, pipeline.max_parallel, pipeline.fail_fast) == ("Over night", 3, True)
    assert pipeline.id.startswith("over-night-")
    assert load(tmp_path, "- first.yaml", "max_parallel=5").max_parallel == 5


def test_a_spec_may_be_written_in_the_pipeline_file(tmp_path):
    pipeline = load(
        tmp_path,
        "- {job: inside, base_model: models/m, training_data: {path: rows.csv}, top_k: 5}",
    )

    (stage,) = pipeline.stages
    assert (stage.name, stage.work.spec.top_k) == ("inside", 5)
    assert stage.work.spec.path == tmp_path / "pipeline.yaml"
    assert not stage.work.is_on_disk


def test_each_variant_of_a_matrix_is_a_stage(tmp_path):
    jobs = f"- {{spec: first.yaml, name: grid, matrix: {GRID}, keep: best, losers: delete}}"
    pipeline = load(tmp_path, jobs)

    names = ("grid[batch_size=4]", "grid[batch_size=8]")
    assert pipeline.groupings == (("grid", names, "best", "delete"),)
    assert [stage.name for stage in pipeline.stages] == list(names)
    assert [stage.label for stage in pipeline.stages] == ["batch_size=4", "batch_size=8"]
    assert [stage.work.spec.hyperparameters.batch_size for stage in pipeline.stages] == [4, 8]
    assert {stage.work.spec.job for stage in pipeline.stages} == {"first"}


@pytest.mark.parametrize(
    "change",
    [
        "set: {hyperparameters.batch_size: null}",
        "set: {hyperparameters.batch_size: }",
        "matrix: {list: [{hyperparameters.batch_size: null}]}",
    ],
)
def test_null_removes_a_key_from_the_spec(tmp_path, change):
    (tmp_path / "four.yaml").write_text(f"{FIRST}hyperparameters: {{batch_size: 4}}\n")

    [stage] = load(tmp_path, f"- {{spec: four.yaml, {change}}}").stages

    assert stage.work.spec.hyperparameters.batch_size is None


def test_an_extended_matrix_keeps_its_models(tmp_path):
    jobs = "- {spec: first.yaml, name: grid, matrix: {hyperparameters.batch_size: [4, 8%s]}}"
    before, after = models(load(tmp_path, jobs % "")), models(load(tmp_path, jobs % ", 16"))

    assert before.items() < after.items()
    assert len(after) == 3


def test_a_variant_has_the_same_model_id_as_the_job_alone(tmp_path):
    jobs = f"- {{spec: first.yaml, matrix: {GRID}}}"
    pipeline = load(tmp_path, jobs)
    alone = prepare_job(tmp_path / "first.yaml", ["hyperparameters.batch_size=8"])

    assert models(pipeline)["first[batch_size=8]"] == new_tuned_model(alone).name


def test_stages_with_the_same_data_share_their_rows(tmp_path):
    (tmp_path / "other.yaml").write_text(FIRST.replace("job: first", "job: other"))
    pipeline = load(tmp_path, f"- {{spec: first.yaml, matrix: {GRID}}}\n- other.yaml")

    assert len({id(stage.work.examples) for stage in pipeline.stages}) == 1
    assert len({id(stage.work.holdout) for stage in pipeline.stages}) == 1


def test_a_job_after_one_other_tunes_its_model_further(tmp_path):
    pipeline = load(tmp_path, "- {spec: next.yaml, after: first}\n- first.yaml")

    after, first = pipeline.stages
    assert after.after == ("first",)
    assert after.source == ""
    assert after.work.spec.tuned_model_source == new_tuned_model(first.work).name


def test_a_job_with_its_own_base_model_only_waits(tmp_path):
    pipeline = load(tmp_path, "- first.yaml\n- {spec: next.yaml, after: [first],"
                    " set: {base_model: models/m}}")  # fmt: skip

    assert pipeline.stages[1].after == ("first",)
    assert pipeline.stages[1].work.spec.tuned_model_source == ""


def test_a_stage_tuned_from_the_best_variant_has_a_placeholder_source(tmp_path):
    pipeline = load(
        tmp_path,
        f"- {{spec: first.yaml, name: grid, matrix: {GRID}, keep: best}}\n"
        "- {spec: next.yaml, after: grid}\n"
        "- {spec: next.yaml, name: last, after: next}",
    )

    *_, following, last = pipeline.stages
    assert (following.source, last.source) == ("grid", "next")
    assert following.work.spec.tuned_model_source == "tunedModels/of-grid"


def test_tuned_model_source_names_one_of_several_jobs_in_after(tmp_path):
    pipeline = load(
        tmp_path,
        "- first.yaml\n- {spec: first.yaml, name: b, set: {hyperparameters.epoch_count: 9}}\n"
        "- {spec: next.yaml, after: [first, b], set: {tuned_model_source: jobs/b}}",
    )

    named = models(pipeline)
    assert pipeline.stages[2].work.spec.tuned_model_source == named["b"]


def test_the_overrides_of_a_stage_give_the_same_spec(tmp_path):
    awkward = 'a "quoted" $${HOME}, ünïcode: {x} #'
    jobs = f"""\
- first.yaml
- spec: next.yaml
  after: first
  set: {{description: '{awkward}'}}
  matrix: {{hyperparameters.learning_rate: [1e-5, 0.3], hyperparameters.batch_size: [null, 4]}}
"""
    pipeline = load(tmp_path, jobs)

    for stage in pipeline.stages:
        again = read_partial_spec(stage.work.spec.path, stage.overrides).spec
        assert again == stage.work.spec


def test_the_id_depends_on_the_content_and_not_on_its_spelling(tmp_path):
    grid = f"{{spec: first.yaml, name: grid, matrix: {GRID}, keep: %s}}"
    one = load(tmp_path, f"- {grid % 'best'}")
    same = load(tmp_path, f"# a note\n- {grid % 'best'}", top="pipeline: p\nmax_parallel: 2")
    other = load(tmp_path, f"- {grid % 'all'}")

    assert one.id == same.id
    assert one.id != other.id


@pytest.mark.slow
def test_the_same_file_is_the_same_pipeline_in_another_process(tmp_path):
    jobs = "- {spec: first.yaml, matrix: {random: {count: 4, from: {hyperparameters.learning_rate: {log: [1e-4, 1e-2]}}}}}"  # fmt: skip
    here = load(tmp_path, jobs)
    code = "import sys, pathlib; from tuner.pipelines.load import load_pipeline as l; print(l(pathlib.Path(sys.argv[1])).id)"  # fmt: skip
    there = subprocess.run(
        [sys.executable, "-c", code, here.path],
        env=os.environ | {"PYTHONHASHSEED": "99"},
        capture_output=True,
        check=True,
        text=True,
    )

    assert there.stdout.strip() == here.id


BEST = f"spec: first.yaml, matrix: {GRID}, keep: best"
BROKEN = [
    ("- 5", "3:3", "wrong-type", "the number 5"),
    ("- none.yaml", "3:3", "no-file", "none.yaml"),
    ("- {spec: none.yaml}", "3:10", "no-file", "none.yaml"),
    ("- {spec: first.yaml, top_k: 4}", "3:22", "unknown-key", "set: {top_k: ...}"),
    ("- {spec: first.yaml, kep: all}", "3:22", "unknown-key", "did you mean keep?"),
    ("- {spec: first.yaml, keep: bst}", "3:28", "unknown-value", "did you mean best?"),
    ("- {spec: first.yaml, keep: best}", "3:28", "idle-key", "add matrix:"),
    (f"- {{spec: first.yaml, matrix: {GRID}, losers: delete}}", "3:68", "idle-key", "keep: best"),
    ("- {spec: first.yaml, name: 'a[b]'}", "3:28", "bad-name", "brackets and commas"),
    ("- first.yaml\n- {spec: first.yaml, set: {top_k: 4}}", "4:3", "repeated-name", "name: first-2"),
    ("- {spec: next.yaml, after: frist}\n- first.yaml", "3:28", "unknown-job", "did you mean first?"),
    ("- first.yaml\n- {spec: next.yaml, after: [zzz]}", "4:29", "unknown-job", "first, next"),
    (f"- {{name: grid, {BEST}}}\n- {{spec: next.yaml, after: 'grid[batch_size=4]'}}", "4:28",
     "unknown-job", "did you mean grid?"),
    ("""- {spec: next.yaml, name: a, after: c}
- {spec: next.yaml, name: b, after: a}
- {spec: next.yaml, name: c, after: b}""", "3:37", "cycle", "a after c after b after a"),
    ("- {spec: next.yaml, name: a, after: a}", "3:37", "cycle", "a after a"),
    ("""- first.yaml
- {spec: first.yaml, name: b, set: {hyperparameters.epoch_count: 9}}
- {spec: next.yaml, after: [first, b]}""", "5:21", "no-source",
     "add set: {tuned_model_source: jobs/first}"),
    ("- first.yaml\n- {spec: next.yaml, set: {tuned_model_source: jobs/first}}", "4:47",
     "no-source", "add after: [first]"),
    (f"- {{name: grid, spec: first.yaml, matrix: {GRID}}}\n- {{spec: next.yaml, after: grid}}",
     "4:21", "no-source", "keep: best"),
    ("- first.yaml\n- {spec: next.yaml, after: first, set: {target: gemini}}", "4:21",
     "no-source", "target"),
    ("- {spec: first.yaml, matrix: {lr: [1]}}", "3:31", "unknown-key", "'lr'"),
    ("- {spec: first.yaml, matrix: {hyperparameters.lr: [1]}}", "3:31", "unknown-key",
     "did you mean learning_rate?"),
    ("- {spec: first.yaml, matrix: {hyperparameters.batch_size: [4, x]}}", "3:63", "wrong-type",
     "a whole number, not 'x'"),
    ("- {spec: first.yaml, matrix: {hyperparameters: [{batch_size: 4}, {batch: 4}]}}", "3:67",
     "unknown-key", "did you mean batch_size?"),
    ("- {spec: first.yaml, matrix: {base_model.x: [4]}}", "3:31", "bad-set", "'x'"),
    ("- {spec: first.yaml, matrix: [4]}", "3:30", "bad-matrix", "not a list"),
    ("- {spec: first.yaml, set: [4]}", "3:27", "wrong-type", "not a list"),
    ("- {spec: first.yaml, set: {tpo_k: 4}}", "3:28", "unknown-key", "did you mean top_k?"),
    ("- {spec: first.yaml, set: {top_k: 0}}", "3:35", "out-of-range", "at least 1, not 0"),
    ("- {job: j, base_model: models/m, training_data: {path: none.csv}}", "3:56", "no-file", "csv"),
    ("- {job: j, base_model: models/m, training_data: {path: rows.csv}, tpo_k: 4}", "3:67",
     "unknown-key", "did you mean top_k?"),
    ("- {spec: first.yaml, matrix: {display_name: [a, b]}}", "3:49", "same-twice",
     "the matrix changes nothing"),
    ("- first.yaml\n- {spec: first.yaml, name: b}", "4:3", "same-twice", "b tunes the same as first"),
    (f"- {{spec: first.yaml, set: {{tuned_model_id: x}}, matrix: {GRID}}}", "3:89", "same-twice",
     "leave tuned_model_id out"),
    ("- {spec: first.yaml, matrix: {evaluation.metric: [contains, json]}, keep: best}", "3:75",
     "not-comparable", "metric"),
    ("- {spec: first.yaml, matrix: {evaluation.holdout: [0.1, 0.2]}, keep: best}", "3:70",
     "not-comparable", "evaluation.path"),
    (f"- {{spec: next.yaml, set: {{base_model: models/m}}, matrix: {GRID}, keep: best}}", "3:102",
     "not-comparable", "holdout: 0.1"),
]  # fmt: skip


@pytest.mark.parametrize(("jobs", "where", "rule", "words"), BROKEN)
def test_a_mistake_is_reported_with_its_place_and_a_fix(tmp_path, jobs, where, rule, words):
    found = problems(tmp_path, jobs)

    problem = next(each for each in found if each.where == f"{tmp_path}/pipeline.yaml:{where}")
    assert problem.rule == rule
    assert words in f"{problem.what}; {problem.fix}"
    assert problem.fix


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("jobs: [first.yaml]", "1:1", "pipeline is missing"),
        ("pipeline: p", "1:1", "jobs is missing"),
        ("pipeline: p\njobs: []", "2:7", "jobs must be a list of jobs, not nothing"),
        ("pipeline: p\njobs: a.yaml", "2:7", "jobs must be a list of jobs, not 'a.yaml'"),
        ("pipelin: p\njobs: [first.yaml]", "1:1", "there is no key 'pipelin'"),
        ("pipeline: ''\njobs: [first.yaml]", "1:11", "pipeline is empty"),
        ("pipeline: p\nmax_parallel: 0\njobs: [first.yaml]", "2:15",
         "max_parallel must be at least 1, not 0"),
        ("pipeline: p\nfail_fast: yes\njobs: [first.yaml]", "2:12",
         "fail_fast must be true or false, not 'yes'"),
        ("pipeline: p\njobs: [first.yaml]\njobs: []", "3:1", "jobs is already set on line 2"),
        ("pipeline: ${NOBODY_SET_THIS}\njobs: [first.yaml]", "1:11",
         "the environment variable NOBODY_SET_THIS is not set"),
    ],
)  # fmt: skip
def test_a_mistake_at_the_top_level_is_reported(tmp_path, text, where, what):
    (tmp_path / "first.yaml").write_text(FIRST)
    (tmp_path / "rows.csv").write_text(ROWS)
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as error:
        load_pipeline(path)

    found = {problem.where: problem for problem in error.value.problems}
    assert found[f"{path}:{where}"].what == what
    assert found[f"{path}:{where}"].fix


def test_all_mistakes_are_reported_at_once_the_pipelines_before_its_specs(tmp_path):
    (tmp_path / "bad.yaml").write_text("job: bad\nbase_model: m\ntraining_data: {path: rows.csv}\n")
    found = problems(tmp_path, "- bad.yaml\n- {spec: first.yaml, set: {top_k: 0}, keep: best}")

    assert [problem.where.removeprefix(f"{tmp_path}/") for problem in found] == [
        "pipeline.yaml:4:35",
        "pipeline.yaml:4:45",
        "bad.yaml:2:13",
    ]


def test_an_unset_variable_is_not_also_a_wrong_value(tmp_path):
    (problem,) = problems(tmp_path, "- first.yaml", top="pipeline: p\nfail_fast: ${NOBODY_SET_IT}")

    assert problem.what == "the environment variable NOBODY_SET_IT is not set"


def test_a_mistake_in_a_spec_is_reported_once_for_all_variants(tmp_path):
    (tmp_path / "bad.yaml").write_text(FIRST + "top_k: 0\n")
    (problem,) = problems(tmp_path, f"- {{spec: bad.yaml, matrix: {GRID}}}")

    assert problem.where == f"{tmp_path}/bad.yaml:5:8"


def test_an_invalid_override_is_located_on_the_command_line(tmp_path):
    (problem,) = problems(tmp_path, "- {spec: first.yaml}", "jobs.0.set.top_k=0")

    assert problem.where == "--set jobs.0.set.top_k=0"
    assert problem.what == "top_k must be at least 1, not 0"


def test_the_schema_has_the_keys_of_pipelines_and_specs():
    schema = pipeline_schema()
    entry = schema["properties"]["jobs"]["items"]["anyOf"][1]["properties"]

    assert set(schema["properties"]) == set(json_schema(PipelineKeys)["properties"])
    assert {*ENTRY_KEYS, *FREE, "hyperparameters", "permissions"} < set(entry)
    assert schema["required"] == ["pipeline", "jobs"]
    json.dumps(schema)
