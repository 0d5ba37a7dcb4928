"""What a spec says, and where its keys are described."""

import json
import re
from pathlib import Path

import pytest

from tests.jobspec.reading import LEAST, load, load_spec
from tuner.jobspec.files import is_pipeline
from tuner.jobspec.reference import json_schema, keys_of, spec_page
from tuner.jobspec.schema import EarlyStopping, JobSpec, MetricSpec, Notify
from tuner.pipelines.load import load_pipeline
from tuner.types import Grant, GranteeType, Hyperparameters, Role, TargetConfig

CONFIGS = Path(__file__).parents[2] / "configs"


def test_a_complete_spec_is_read(tmp_path):
    spec = load(
        tmp_path,
        """\
job: Capital cities
target: {kind: gemini, endpoint: "localhost:50051", credentials_file: keys/k.json}
tuned_model_source: tunedModels/older
training_data: {path: ../data/a.csv, text_input: country, output: capital}
hyperparameters: {epoch_count: 5, learning_rate: 1e-3}
evaluation: {holdout: 0.1, metric: normalized_match, require: {at_least: 1}}
permissions:
  - {role: READER, email_address: ana@example.com}
  - {role: WRITER, grantee_type: EVERYONE}
timeout: 2h30m
""",
    )

    assert spec.path == tmp_path / "spec.yaml"
    assert spec.target == TargetConfig("gemini", "localhost:50051", f"{tmp_path}/keys/k.json")
    assert spec.training_data.path == tmp_path.parent / "data/a.csv"
    assert spec.hyperparameters == Hyperparameters(epoch_count=5, learning_rate=0.001)
    assert spec.evaluation.require.at_least == 1.0
    assert spec.evaluation.metric == MetricSpec("normalized_match")
    assert spec.grants == (
        Grant(Role.READER, GranteeType.USER, "ana@example.com"),
        Grant(Role.WRITER, GranteeType.EVERYONE, ""),
    )
    assert spec.timeout_s == 9000.0


def test_a_target_can_be_one_word(tmp_path):
    assert load(tmp_path, LEAST + "target: gemini\n").target == TargetConfig("gemini")
    assert load(tmp_path, LEAST).target == TargetConfig("local")


def test_an_endpoint_may_begin_with_https(tmp_path):
    spec = load(tmp_path, LEAST + "target: {kind: local, endpoint: https://127.0.0.1:50051}\n")
    assert spec.target.endpoint == "https://127.0.0.1:50051"


def test_a_key_left_empty_counts_as_not_written(tmp_path):
    spec = load(tmp_path, LEAST + "display_name:\npermissions:\nhyperparameters: {epoch_count: }\n")

    assert spec.display_name == ""
    assert spec.grants == ()
    assert spec.hyperparameters == Hyperparameters()


def test_metric_and_gate_may_be_mappings(tmp_path):
    spec = load(
        tmp_path,
        LEAST
        + """\
evaluation:
  holdout: 0.1
  base_instruction: Answer positive or negative.
  metric: {kind: judge, model: models/m, rubric: 5 is right, target: gemini}
  require: {better_than_base: true, better_by: 0.05, significant: true}
""",
    )

    metric = MetricSpec(
        "judge", model="models/m", rubric="5 is right", target=TargetConfig("gemini")
    )
    assert spec.evaluation.metric == metric
    assert spec.evaluation.base_instruction == "Answer positive or negative."
    assert spec.evaluation.require.better_by == 0.05
    assert spec.evaluation.require.significant


def test_the_credentials_of_a_judge_are_relative_to_the_spec(tmp_path):
    judge = "{kind: judge, model: models/m, rubric: r, target: {credentials_file: k.json}}"
    spec = load(tmp_path, f"{LEAST}evaluation: {{holdout: 0.1, metric: {judge}}}\n")

    assert spec.evaluation.metric.target.credentials_file == f"{tmp_path}/k.json"


@pytest.mark.parametrize("kind", ["contains", "json", "my.scores:polite", "scores:polite"])
def test_a_metric_is_a_word_or_a_function(tmp_path, kind):
    spec = load(tmp_path, f"{LEAST}evaluation: {{holdout: 0.1, metric: '{kind}'}}\n")

    assert spec.evaluation.metric == MetricSpec(kind)


def test_limits_early_stopping_and_notify_are_read(tmp_path):
    spec = load(
        tmp_path,
        LEAST
        + """\
target: {max_jobs: 4, requests_per_second: 2.5}
early_stopping: {patience_steps: 40}
notify:
  - {url: "http://localhost:9000/hook", secret_env: HOOK_KEY}
  - {command: mail ana, on: [failed, rejected]}
""",
    )

    assert spec.target == TargetConfig(max_jobs=4, requests_per_second=2.5)
    assert spec.early_stopping == EarlyStopping(40, 0.0, 8)
    assert spec.notify == (
        Notify("http://localhost:9000/hook", "", "HOOK_KEY"),
        Notify("", "mail ana", "", ("failed", "rejected")),
    )


def key_paths(schema, prefix=""):
    for name, node in schema["properties"].items():
        yield prefix + name, node
        if section := keys_of(node):
            yield from key_paths(section, f"{prefix}{name}.")


def test_the_full_example_shows_every_key_and_loads():
    text = (CONFIGS / "full.yaml").read_text()
    load_spec(CONFIGS / "full.yaml")

    for path, _ in key_paths(json_schema(JobSpec)):
        name = path.rpartition(".")[2]
        assert re.search(rf"^[ #-]*{name}:( |$)|[{{,] *{name}: ", text, re.MULTILINE), path


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_loads(config):
    if is_pipeline(config):
        assert load_pipeline(config).stages
    else:
        load_spec(config)


def test_every_key_is_described():
    for path, node in key_paths(json_schema(JobSpec)):
        assert node["description"].endswith("."), path


def test_the_json_schema_has_the_same_limits_as_the_checks():
    schema = json_schema(JobSpec)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["job", "training_data"]
    assert schema["additionalProperties"] is False
    keys = schema["properties"]
    assert "path" not in keys
    assert keys["hyperparameters"]["properties"]["epoch_count"]["minimum"] == 1
    assert keys["permissions"]["items"]["properties"]["role"]["enum"] == ["READER", "WRITER"]
    assert keys["target"]["anyOf"][0]["enum"] == ["local", "gemini"]
    assert keys["display_name"]["description"] == "The name that users see."


def test_the_reference_page_is_up_to_date():
    page = CONFIGS.parent / "docs/spec.md"

    assert page.read_text() == spec_page(), "run: tuner schema --markdown > docs/spec.md"


def test_the_schema_for_editors_is_up_to_date():
    file = CONFIGS.parent / "docs/spec.schema.json"

    assert json.loads(file.read_text()) == json_schema(JobSpec), (
        "run: tuner schema > docs/spec.schema.json"
    )
