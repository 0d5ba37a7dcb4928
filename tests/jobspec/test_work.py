"""A spec and its data together, to the point where something could be sent."""

from dataclasses import replace
from pathlib import Path

import pytest

from tuner.errors import InvalidInput
from tuner.jobspec.prepared_job import PreparedJob, content_id, new_tuned_model, prepare_job
from tuner.jobspec.schema import JobSpec, TrainingData
from tuner.types import Example, Hyperparameters

SPEC = "job: My Job\nbase_model: models/m\ntraining_data: {path: data.csv}\n"
ROWS = "".join(f"input {n},output {n}\n" for n in range(40))


def write(tmp_path, spec=SPEC, rows=ROWS, header="text_input,output\n"):
    (tmp_path / "spec.yaml").write_text(spec)
    (tmp_path / "data.csv").write_text(header + rows)
    return tmp_path / "spec.yaml"


def problems(path, *overrides):
    with pytest.raises(InvalidInput) as error:
        prepare_job(path, overrides)
    return error.value.problems


def test_five_mistakes_and_five_bad_rows_are_ten_problems(tmp_path):
    spec = write(
        tmp_path,
        """\
job: j
bse_model: models/m
base_model: models/m
training_data: {path: data.csv}
temperature: 3
hyperparameters: {learning_rate: 1e-3, learning_rate_multiplier: 2}
permissions: [{role: OWNER, email_address: a@b.c}]
timeout: long
""",
        f'{ROWS}x,\n,y\nx\nx,y,z\n" ",y\n',
    )

    found = problems(spec)

    assert [problem.where.removeprefix(f"{tmp_path}/") for problem in found] == [
        "spec.yaml:2:1",
        "spec.yaml:5:14",
        "spec.yaml:6:40",
        "spec.yaml:7:22",
        "spec.yaml:8:10",
        "data.csv:42:3",
        "data.csv:43:1",
        "data.csv:44:2",
        "data.csv:45:5",
        "data.csv:46:2",
    ]
    assert all(problem.fix and problem.severity == "error" for problem in found)


def test_an_unset_variable_is_one_problem_and_not_two(tmp_path):
    spec = write(tmp_path, SPEC.replace("data.csv", "'${TUNER_TEST_NONE}/data.csv'"))

    assert [problem.rule for problem in problems(spec)] == ["no-value"]
    assert [problem.rule for problem in problems(spec, "top_k=${TUNER_TEST_NONE}")] == [
        "no-value"
    ] * 2


def test_a_home_folder_that_does_not_exist_is_reported(tmp_path):
    spec = write(tmp_path, SPEC.replace("data.csv", "~nobody-at-all/data.csv"))

    assert [problem.rule for problem in problems(spec)] == ["no-file"]


@pytest.mark.parametrize("target", ["gemini", "{kind: gemini}"])
def test_the_targets_limits_are_kept(tmp_path, target):
    spec = write(tmp_path, f"{SPEC}target: {target}\n", f"{ROWS}{'x' * 40_001},y\n")

    assert [problem.rule for problem in problems(spec)] == ["long-text-input"]


@pytest.mark.slow
def test_a_request_that_is_too_large_is_refused(tmp_path):
    rows = "".join(f"{n}{'x' * 30_000},y\n" for n in range(150))
    alone = SPEC.replace("data.csv}", "data.csv, ignore: [near-duplicate, near-leak]}")
    spec = write(tmp_path, f"{alone}target: gemini\n", rows)

    (problem,) = problems(spec)
    assert problem.rule == "request-too-large"
    assert problem.fix == "keep about 139 of the 150 rows"


def test_a_missing_file_is_located_in_the_spec_with_the_nearest(tmp_path):
    spec = write(tmp_path, SPEC.replace("data.csv", "date.csv"))

    (problem,) = problems(spec)
    assert problem.where == f"{spec}:3:23"
    assert problem.fix == f"did you mean {tmp_path}/data.csv?"


def test_the_instruction_precedes_every_input_and_moves_no_row(tmp_path):
    text = f"{SPEC}evaluation: {{holdout: 0.3}}\n"
    plain = prepare_job(write(tmp_path, text))
    instructed = prepare_job(
        write(tmp_path, text.replace("data.csv}", "data.csv, instruction: Say.}"))
    )

    assert instructed.holdout
    for before, after in zip(
        plain.examples + plain.holdout, instructed.examples + instructed.holdout, strict=True
    ):
        assert after.text_input == f"Say.\n\n{before.text_input}"
        assert (after.output, after.line) == (before.output, before.line)


@pytest.mark.parametrize(
    ("share", "what"),
    [("0.0001", "holdout leaves no row to evaluate with"), ("0.9999", "holdout leaves no row to tune on")],
)  # fmt: skip
def test_an_empty_side_is_refused(tmp_path, share, what):
    (problem,) = problems(write(tmp_path, f"{SPEC}evaluation: {{holdout: {share}}}\n"))

    assert problem.what == what


SENTENCE = "Where is the parcel that I ordered in the first week of {}? It has not come."
ALIKE = "".join(f"{SENTENCE.format(name)},a\n" for name in ("March", "march", "Marsh", "marches"))


def near_leaks(tmp_path, evaluation, more=""):
    spec = f"{SPEC.replace('}', more + '}')}evaluation: {{{evaluation}}}\n"
    warnings = prepare_job(write(tmp_path, spec, ALIKE + ROWS)).warnings
    return [each for each in warnings if each.rule == "near-leak"]


def test_near_duplicates_across_the_split_are_a_warning_at_holdout(tmp_path):
    work = prepare_job(write(tmp_path, f"{SPEC}evaluation: {{holdout: 0.5}}\n", ALIKE + ROWS))
    (problem,) = near_leaks(tmp_path, "holdout: 0.5")

    alike = sum(row.text_input.startswith("Where") for row in work.holdout)
    assert 0 < alike < 4
    assert problem.where == f"{tmp_path}/spec.yaml:4:23"
    assert problem.what == (
        f"{alike} of the {len(work.holdout)} rows held out are nearly the same as one tuned on"
    )
    assert problem.severity == "warning"


@pytest.mark.parametrize(("share", "more"), [(0.02, ""), (0.5, ", ignore: [near-leak]")])
def test_near_duplicates_on_one_side_or_ignored_are_no_warning(tmp_path, share, more):
    assert near_leaks(tmp_path, f"holdout: {share}", more) == []


def test_stratify_holds_out_the_same_share_of_every_output(tmp_path):
    rows = "".join(f"input {n},{'rare' if n % 10 else 'often'}\n" for n in range(200))
    spec = write(tmp_path, f"{SPEC}evaluation: {{holdout: 0.1, stratify: true}}\n", rows)

    outputs = [row.output for row in prepare_job(spec).holdout]
    assert (outputs.count("rare"), outputs.count("often")) == (18, 2)


def test_max_examples_limits_the_held_out_rows(tmp_path):
    spec = write(tmp_path, f"{SPEC}evaluation: {{holdout: 0.5, max_examples: 3}}\n")
    work = prepare_job(spec)

    assert len(work.holdout) == 3
    assert len(work.examples) < 37


def test_a_held_out_input_that_is_also_trained_on_is_a_warning(tmp_path):
    (tmp_path / "held.jsonl").write_text(
        '{"text_input": "input 3", "output": "x"}\n{"text_input": "new", "output": "y"}\n'
    )
    work = prepare_job(write(tmp_path, f"{SPEC}evaluation: {{path: held.jsonl}}\n"))

    assert [row.text_input for row in work.holdout] == ["input 3", "new"]
    assert len(work.examples) == 40
    leak = next(problem for problem in work.warnings if problem.rule == "leak")
    assert leak.where == f"{tmp_path}/held.jsonl:1"
    assert leak.what == f"this text_input is also in the training set, {tmp_path}/data.csv:5"


def test_warnings_stop_nothing(tmp_path):
    work = prepare_job(write(tmp_path, rows=f"{ROWS}input 1,output 1\n"))

    assert [problem.rule for problem in work.warnings] == ["duplicate"]


WORK = PreparedJob(
    JobSpec(
        job="My Job",
        training_data=TrainingData(Path("a.csv")),
        base_model="models/m",
        hyperparameters=Hyperparameters(epoch_count=2, learning_rate=0.001),
    ),
    (Example("in", "out", 2), Example("é\n", "NA", 3)),
)


def test_the_digest_is_pinned():
    """Another digest for the same content would tune everybody's models again."""
    assert WORK.digest == "d60bc30f33826e6215c45b4edb9c0e88713053e9f7035bbbe1f02cec6c779a39"
    assert content_id(WORK) == "my-job-d60bc30f33"


def changed(**changes):
    return replace(WORK, spec=replace(WORK.spec, **changes))


@pytest.mark.parametrize(
    "work",
    [
        changed(path=Path("other.yaml"), training_data=TrainingData(Path("b.jsonl"), "q", "a")),
        changed(display_name="x", description="y", temperature=0.5, timeout="5s"),
        changed(job="Another"),
        replace(WORK, examples=tuple(each._replace(line=9) for each in WORK.examples)),
        replace(WORK, holdout=(Example("a", "b"),)),
    ],
)
def test_changes_without_effect_on_the_weights_keep_the_digest(work):
    assert work.digest == WORK.digest


@pytest.mark.parametrize(
    "work",
    [
        changed(base_model="models/n"),
        changed(base_model="", tuned_model_source="models/m"),
        changed(hyperparameters=Hyperparameters(epoch_count=2)),
        changed(hyperparameters=Hyperparameters(epoch_count=2, learning_rate_multiplier=0.001)),
        replace(WORK, examples=WORK.examples[::-1]),
        replace(WORK, examples=WORK.examples[:1]),
        replace(WORK, examples=(Example("in", "out "), WORK.examples[1])),
        replace(WORK, examples=(Example("out", "in"), WORK.examples[1])),
    ],
)
def test_changes_with_an_effect_on_the_weights_change_the_digest(work):
    assert work.digest != WORK.digest


def test_the_format_of_the_file_does_not_count(tmp_path):
    one = prepare_job(write(tmp_path))
    lines = "".join(f'{{"text_input": "input {n}", "output": "output {n}"}}\n' for n in range(40))
    (tmp_path / "data.jsonl").write_text(lines)
    other = prepare_job(write(tmp_path, SPEC.replace("data.csv", "data.jsonl")))

    assert new_tuned_model(one).id == new_tuned_model(other).id


def test_the_id_can_be_chosen():
    assert new_tuned_model(changed(tuned_model_id="mine")).id == "mine"
    assert content_id(changed(tuned_model_id="mine")) == content_id(WORK)


@pytest.mark.parametrize(
    ("model", "key", "is_warned"),
    [
        ("base_model: models/m", "", True),
        ("base_model: models/m", "instruction", False),
        ("base_model: models/m", "base_instruction", False),
        ("tuned_model_source: tunedModels/m", "", False),
    ],
)
def test_a_base_model_without_instruction_is_a_warning(tmp_path, model, key, is_warned):
    spec = f"""\
job: j
{model}
training_data: {{path: data.csv{", instruction: Answer." if key == "instruction" else ""}}}
evaluation:
  holdout: 0.2
  base_instruction: "{"Answer." if key == "base_instruction" else ""}"
  require: {{better_than_base: true}}
"""
    rules = [problem.rule for problem in prepare_job(write(tmp_path, spec)).warnings]

    assert rules == ["untold-base"] * is_warned


@pytest.mark.parametrize(("patience", "is_warned"), [(49, False), (50, True)])
def test_a_patience_longer_than_the_tuning_is_a_warning(tmp_path, patience, is_warned):
    spec = f"{SPEC}early_stopping: {{patience_steps: {patience}}}\n"  # 40 rows in 5 epochs by 4
    warnings = prepare_job(write(tmp_path, spec)).warnings

    assert [problem.where for problem in warnings] == [f"{tmp_path}/spec.yaml:4:34"] * is_warned
