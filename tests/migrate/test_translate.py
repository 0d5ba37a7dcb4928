"""Translation of other tools' jobs: every key is in the spec or has a remark."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.migrate.samples import AXOLOTL, DATASET_INFO, OPENAI, SAMPLES, TOGETHER
from tuner.errors import SpecError
from tuner.jobspec.load import read_partial_spec
from tuner.jobspec.scaffold import render
from tuner.migrate import VENDORS, translate
from tuner.migrate.source import UNKNOWN


@pytest.fixture
def sample(tmp_path):
    """Writes a sample with its data_info.json, and gives its path."""

    def save(name):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data/dataset_info.json").write_text(DATASET_INFO)
        path = tmp_path / f"{name}.yaml"
        path.write_text(SAMPLES[name][1] if name in SAMPLES else name)
        return path

    return save


def write_source(text, tmp_path):
    path = tmp_path / "theirs"
    path.write_text(text)
    return path


def translate_text(tmp_path, text):
    return translate(write_source(text, tmp_path), tmp_path)


def lines_of(found):
    return {line.key: line.value for line in found.lines if line.is_active}


def leaves(value, at=""):
    """Every key that has a value, with dots; a list of mappings counts its items."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{at}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, f"{at}.{index}")
    else:
        yield at


@pytest.fixture(scope="module", params=SAMPLES)
def translated(request, tmp_path_factory):
    """A sample's name and what becomes of it."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "data").mkdir()
    (folder / "data/dataset_info.json").write_text(DATASET_INFO)
    path = folder / f"{request.param}.yaml"
    path.write_text(SAMPLES[request.param][1])
    return request.param, translate(path, folder)


def test_every_key_is_in_the_spec_or_has_a_remark(translated):
    name, found = translated

    keys = list(leaves(yaml.safe_load(SAMPLES[name][1])))
    notes = [re.split(r"[,:] ?", line.note) for line in found.lines]
    named = {key for note in notes for key in note}
    named |= {remark.key for remark in (*found.remarks, *found.same)}
    missing = [key for key in keys if not any(f"{key}.".startswith(f"{each}.") for each in named)]
    assert len(keys) > 5
    assert missing == []


def test_the_vendors_own_keys_are_known(translated):
    unknown = {remark.key for remark in translated[1].remarks if remark.why == UNKNOWN}
    assert unknown <= {"frobnicate"}


def test_the_result_is_a_valid_spec(translated, tmp_path):
    spec = tmp_path / "job.yaml"
    spec.write_text(render(["tuner run job.yaml"], translated[1].lines))

    assert [str(problem) for problem in read_partial_spec(spec).problems] == []


def test_the_vendor_is_detected_from_the_keys(translated):
    name, found = translated

    assert found.vendor == VENDORS[SAMPLES[name][0]].name


def test_an_openai_job(sample, tmp_path):
    found = translate(sample("openai"), tmp_path)

    assert lines_of(found) == {
        "job": "ticket-triage",
        "target": "local",
        "base_model": "models/smollm2-135m-instruct",
        "training_data.path": "file-trnA1.jsonl",
        "training_data.format": "openai",
        "hyperparameters.epoch_count": 4,
        "hyperparameters.batch_size": 8,
        "hyperparameters.learning_rate_multiplier": 1.8,
        "evaluation.path": "file-valB2.jsonl",
    }
    assert [step.rsplit("/files/")[1].split("/")[0] for step in found.steps] == [
        "file-trnA1", "file-valB2",
    ]  # fmt: skip
    assert all("before 2027-01-06" in step for step in found.steps)


@pytest.mark.parametrize(
    ("text", "hyperparameters"),
    [
        ("model_name_or_path: q\ndataset: d\nstage: sft\ngradient_accumulation_steps: 4", (3, 32, 5e-5)),
        ("base_model: q\ndatasets: [{path: d.jsonl}]\nmicro_batch_size: 2\nlearning_rate: 2e-4", (1, 2, 2e-4)),
        ('{"training_file": "file-1", "model": "q", "lora": true, "n_evals": 2}', (1, None, 1e-5)),
        ('{"training_file": "file-1", "model": "q", "object": "fine_tuning.job"}', (None, None, None)),
    ],
)  # fmt: skip
def test_defaults_of_the_vendor_are_written_where_ours_differ(text, hyperparameters, tmp_path):
    lines = lines_of(translate_text(tmp_path, text))

    keys = ("epoch_count", "batch_size", "learning_rate")
    assert tuple(lines.get(f"hyperparameters.{key}") for key in keys) == hyperparameters


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"formatting": "sharegpt", "columns": {"system": "system"}}, set()),
        ({"formatting": "sharegpt", "columns": {"system": "sys"}}, {"columns.system"}),
        ({"formatting": "sharegpt", "tags": {"role_tag": "role", "content_tag": "content"}}, set()),
        ({"formatting": "sharegpt", "columns": {"messages": "chat"}}, {"columns.messages"}),
        ({"formatting": "sharegpt", "tags": {"user_tag": "client"}}, {"tags.user_tag"}),
        ({"columns": {"system": "system", "history": "history"}}, set()),
        ({"columns": {"system": "sys", "history": "past"}}, {"columns.system", "columns.history"}),
    ],
)
def test_unsupported_names_in_a_data_set_are_remarked(entry, named, tmp_path):
    info = {"d": {"file_name": "d.json", **entry}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    found = translate(
        write_source("model_name_or_path: q\ndataset: d\nstage: sft", tmp_path), tmp_path
    )

    keys = {remark.key.rpartition(": ")[2] for remark in found.remarks}
    assert {key for key in keys if "." in key} == named


@pytest.mark.parametrize("adapter", ["", "adapter: null"])
def test_full_tuning_is_remarked_if_the_adapter_is_missing(adapter, tmp_path):
    text = f"base_model: q\ndatasets: [{{path: d.jsonl}}]\nmicro_batch_size: 2\n{adapter}"
    found = translate_text(tmp_path, text)

    assert any(remark.key == "adapter" and "only LoRA" in remark.why for remark in found.remarks)


@pytest.mark.parametrize("name", ["openai-dpo", "openai-reinforcement", "llamafactory-chat"])
def test_preferences_and_rewards_are_remarked_with_a_step(name, sample, tmp_path):
    found = translate(sample(name), tmp_path)

    assert any("pairs, rewards and graders" in remark.why for remark in found.remarks)
    assert any("one right answer" in step or "preferred_output" in step for step in found.steps)


def test_a_completion_model_of_openai_gets_the_completion_format(tmp_path):
    job = {"object": "fine_tuning.job", "model": "babbage-002", "training_file": "file-a"}
    found = translate(write_source(json.dumps(job), tmp_path), tmp_path)

    assert lines_of(found)["training_data.format"] == "prompt-completion"


def test_a_together_job(sample, tmp_path):
    (tmp_path / "faq.jsonl").write_text("")
    found = translate(sample("together-job"), tmp_path / "specs")

    lines = lines_of(found)
    assert lines["job"] == "gemma-3-4b-it-faq-9f"
    assert lines["training_data.path"] == "../faq.jsonl"
    assert lines["hyperparameters.learning_rate"] == 2e-5
    assert "evaluation.path" not in lines
    assert found.steps == ()
    reasons = {remark.key: remark.why for remark in found.remarks}
    assert "only LoRA" in reasons["training_type.type"]
    assert "answer alone" in reasons["training_method.train_on_inputs"]


def test_an_axolotl_batch_is_a_product_and_epochs_are_rounded_up(sample, tmp_path):
    found = translate(sample("axolotl"), tmp_path)

    lines = lines_of(found)
    assert lines["hyperparameters.batch_size"] == 8
    assert lines["hyperparameters.epoch_count"] == 3
    assert lines["hyperparameters.learning_rate"] == 2e-4
    assert lines["training_data.format"] == "openai"
    assert lines["evaluation.holdout"] == 0.05
    remarks = {remark.key: remark for remark in found.remarks}
    assert remarks["num_epochs"].why == "only whole numbers are possible: 3"
    assert remarks["frobnicate"].why.startswith("unknown, and without effect")
    assert "datasets.1.path" in remarks


def test_columns_named_by_axolotl_are_used(sample, tmp_path):
    lines = lines_of(translate(sample("axolotl-columns"), tmp_path))

    assert lines["training_data.path"] == "tickets.csv"
    assert lines["training_data.text_input"] == "ticket"
    assert lines["training_data.output"] == "queue"
    assert lines["evaluation.path"] == "held.csv"
    assert "evaluation.holdout" not in lines


def test_a_data_set_of_the_hub_gets_a_download_command(sample, tmp_path):
    found = translate(sample("axolotl-completion"), tmp_path)

    assert lines_of(found)["training_data.path"] == "acme-books.jsonl"
    assert "datasets.load_dataset('acme/books'" in found.steps[0]
    assert (
        "no input and answer" in {each.key: each.why for each in found.remarks}["datasets.0.type"]
    )


def test_a_llamafactory_data_set_is_found_through_dataset_info(sample, tmp_path):
    found = translate(sample("llamafactory"), tmp_path)

    lines = lines_of(found)
    assert lines["training_data.path"] == "data/faq.csv"
    assert lines["training_data.text_input"] == "question"
    assert lines["training_data.output"] == "reply"
    assert lines["hyperparameters.batch_size"] == 8
    assert {each.key: each.shown for each in found.remarks}[
        "dataset_info.json, faq: columns.system"
    ] == "role"


def test_messages_with_roles_have_the_openai_format(sample, tmp_path):
    found = translate(sample("llamafactory-chat"), tmp_path)

    assert lines_of(found)["training_data.format"] == "openai"
    assert lines_of(found)["evaluation.path"] == "acme-identity.jsonl"


def test_a_secret_is_not_shown_or_written(sample, tmp_path):
    found = translate(sample("together"), tmp_path)

    assert "abcdef0123" not in str(found)


def test_nothing_is_taken_from_the_environment(sample, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_USER", "zebra")

    assert "zebra" not in str(translate(sample("axolotl"), tmp_path))


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", ":1:1", "is not a mapping"),
        ("[1, 2]", ":1:1", "is not a mapping"),
        ('{"model": "a",\n "training_file" "b"}', ":2:18", "is not JSON"),
        ("a: b\n  c: d\n", ":2:4", "a key and a colon are not expected here"),
        ("a: 1\nb: 2\n", ":1:1", "is no job or configuration of OpenAI"),
        ('{"model": "m", "training_file": "f"}', ":1:1", "fit several tools"),
        ('{"object": "list",\n "data": [{}, {}]}', ":2:10", "is a list of 2 jobs"),
        (OPENAI.replace('"n_epochs": 4', '"n_epochs": "four"'), ":24:39", "n_epochs is 'four'"),
        (TOGETHER.replace("1e-5", "-1"), ":7:16", "learning_rate is '-1'"),
        (TOGETHER.replace("my_faq", "[a]"), ":12:9", "suffix is not text"),
        (AXOLOTL + "num_epochs: 1\n", ":32:1", "num_epochs is already set on line 21"),
        (AXOLOTL.replace("2.5", "true"), ":21:13", "num_epochs is 'true'"),
        ("dataset: a\nmodel_name_or_path: [\n", "", "missing before this"),
        ("model_name_or_path: m\nstage: sft\n", ":1:1", "names no dataset"),
    ],
)
def test_an_invalid_file_is_reported_with_its_position(text, where, what, tmp_path):
    path = write_source(text, tmp_path)

    with pytest.raises(SpecError) as named:
        translate(path, tmp_path)

    (problem,) = named.value.problems
    assert what in problem.what
    assert problem.where.startswith(f"{path}{where}")
    assert problem.fix


def test_an_invalid_dataset_info_is_reported_with_its_own_position(sample, tmp_path):
    path = sample("llamafactory")
    (tmp_path / "data/dataset_info.json").write_text('{"faq": }')

    with pytest.raises(SpecError, match=r"dataset_info.json:1:9: is not JSON"):
        translate(path, tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"x: \xe9", b'{"a":' * 30000, b"a: [" * 90])
def test_an_unreadable_file_is_an_error_without_a_traceback(content, tmp_path):
    path = tmp_path / "theirs"
    path.write_bytes(content)

    with pytest.raises(SpecError):
        translate(path, tmp_path)


def test_a_job_without_a_file_gets_a_step_to_save_examples(tmp_path):
    found = translate_text(tmp_path, '{"object": "fine_tuning.job", "training_file": ""}')

    assert lines_of(found)["training_data.path"] == "examples.jsonl"
    assert found.steps == (
        f"save the examples as {tmp_path}/examples.jsonl, or change the path in the spec",
    )


def test_the_included_base_model_needs_no_remark(tmp_path):
    text = AXOLOTL.replace("NousResearch/Llama-3.2-1B", "HuggingFaceTB/SmolLM2-135M-Instruct")
    found = translate_text(tmp_path, text)

    assert lines_of(found)["base_model"] == "models/smollm2-135m-instruct"
    assert "base_model" not in {each.key for each in found.remarks}
