"""Every kind of mistake in a spec, each with its place and a way out."""

from __future__ import annotations

import pytest

from tests.jobspec.reading import LEAST, load, problems

MISTAKES = [
    ("bse_model: x", "4:1", "there is no key 'bse_model'", "did you mean base_model?"),
    ("Display-Name: x", "4:1", "there is no key 'Display-Name'", "did you mean display_name?"),
    ("epochs: 3", "4:1", "there is no key 'epochs'", None),
    ("epoch_count: 3", "4:1", "there is no key 'epoch_count'", "move it to hyperparameters"),
    ("hyperparameters: {epochs: 3}", "4:19", "there is no key 'epochs' in hyperparameters",
     "did you mean epoch_count?"),
    ("hyperparameters: {lr: 3}", "4:19", "there is no key 'lr' in hyperparameters",
     "did you mean learning_rate?"),
    ("hyperparameters: {job: 3}", "4:19", "there is no key 'job' in hyperparameters",
     "move it to the top level"),
    ("zzz: 3", "4:1", "there is no key 'zzz'", None),
    ("hyperparameters: {epoch_count: 0}", "4:32",
     "hyperparameters.epoch_count must be at least 1, not 0", "write a number of at least 1"),
    ("hyperparameters: {epoch_count: 1.5}", "4:32",
     "hyperparameters.epoch_count must be a whole number, not the number 1.5", None),
    ("hyperparameters: {epoch_count: '3'}", "4:32",
     "hyperparameters.epoch_count must be a whole number, not '3'", None),
    ("hyperparameters: {epoch_count: true}", "4:32",
     "hyperparameters.epoch_count must be a whole number, not true", None),
    ("hyperparameters: {epoch_count: 3000000000}", "4:32",
     "hyperparameters.epoch_count must be at most 2147483647, not 3000000000", None),
    ("hyperparameters: {learning_rate: 0}", "4:34",
     "hyperparameters.learning_rate must be more than 0, not 0", None),
    ("hyperparameters: {learning_rate: 1e999}", "4:34",
     "hyperparameters.learning_rate is too large a number", None),
    (f"temperature: 1{'0' * 400}", "4:14", "temperature is too large a number", None),
    ("hyperparameters: {learning_rate: fast}", "4:34",
     "hyperparameters.learning_rate must be a number, not 'fast'", None),
    ("hyperparameters: {learning_rate: 1e-3, learning_rate_multiplier: 1}", "4:40",
     "learning_rate and learning_rate_multiplier exclude each other", "keep one of them"),
    ("hyperparameters: 4", "4:18", "hyperparameters must be keys with values, not the number 4", None),
    ("temperature: 1.5", "4:14", "temperature must be at most 1, not 1.5", None),
    ("top_p: -1", "4:8", "top_p must be at least 0, not -1", None),
    ("top_k: 0", "4:8", "top_k must be at least 1, not 0", None),
    (f"display_name: {'x' * 41}", "4:15",
     "display_name has 41 characters, at most 40 are allowed", "shorten it to 40 characters"),
    ("display_name: 2024", "4:15", "display_name must be text, not the number 2024",
     "put quotes around it"),
    ("description: [a]", "4:14", "description must be text, not a list", None),
    ("tuned_model_source: tunedModels/x", "4:1",
     "base_model and tuned_model_source exclude each other", "keep one of them"),
    ("tuned_model_id: My Model", "4:17", "'My Model' cannot be a tuned model's id",
     "use a-z, 0-9 and hyphens, 40 at most, a letter first, e.g. my-model"),
    ("target: gemni", "4:9", "target.kind must be local or gemini, not 'gemni'",
     "did you mean gemini?"),
    ("target: vertex", "4:9", "target.kind must be local or gemini, not 'vertex'",
     "write one of local, gemini"),
    ("target: {kind: Local}", "4:16", "target.kind must be local or gemini, not 'Local'",
     "did you mean local?"),
    ("target: {api_key: s3cret}", "4:10", "there is no key 'api_key' in target",
     "did you mean api_key_env?"),
    ("target: {endpoint: https://x.com}", "4:20", "'https://x.com' is not host:port", None),
    ("target: {endpoint: ftp://x.com:1}", "4:20", "'ftp://x.com:1' is not host:port",
     "write it as tuning.example.com:443, or https://localhost:50051"),
    ("target: {impersonate: me}", "4:23", "'me' is not an e-mail address", None),
    ("evaluation: {}", "4:1", "evaluation has no rows", None),
    ("evaluation: {path: b.csv, stratify: true}", "4:27",
     "evaluation.stratify splits training_data, but evaluation.path names held-out rows",
     "drop it, or write holdout:"),
    ("evaluation: {holdout: 0.1, path: b.csv}", "4:28",
     "evaluation.holdout and evaluation.path exclude each other", "keep one of them"),
    ("evaluation: {holdout: 1}", "4:23", "evaluation.holdout must be less than 1, not 1", None),
    ("evaluation: {holdout: 10%}", "4:23", "evaluation.holdout must be a number, not '10%'", None),
    ("evaluation: {holdout: 0.1, metric: exact}", "4:36",
     "there is no metric 'exact'", "did you mean exact_match?"),
    ("evaluation: {holdout: 0.1, metric: {kind: my.scores}}", "4:43",
     "there is no metric 'my.scores'", None),
    ("evaluation: {holdout: 0.1, metric: {tolerance: 0.1}}", "4:37",
     "tolerance is for metric numeric, and this is exact_match",
     "drop it, or write kind: numeric"),
    ("evaluation: {holdout: 0.1, metric: {kind: 'a:b', rubric: x}}", "4:50",
     "rubric is for metric judge, and this is a:b", None),
    ("evaluation: {holdout: 0.1, metric: {kind: numeric, tolerance: -1}}", "4:63",
     "evaluation.metric.tolerance must be at least 0, not -1", None),
    ("evaluation: {holdout: 0.1, metric: regex}", "4:36", "metric regex has no pattern",
     "add pattern:, e.g. '{expected}[.!]?'"),
    ("evaluation: {holdout: 0.1, metric: {kind: regex, pattern: '(a'}}", "4:59",
     "'(a' is not a regular expression: missing ), unterminated subpattern at position 0", None),
    ("evaluation: {holdout: 0.1, metric: {kind: judge, rubric: x}}", "4:36",
     "metric judge has no model", "add model: models/ID; `tuner models list` has them"),
    ("evaluation: {holdout: 0.1, metric: {kind: judge, model: models/m}}", "4:36",
     "metric judge has no rubric", None),
    ("evaluation: {holdout: 0.1, metric: {kind: judge, model: m, rubric: x}}", "4:57",
     "'m' does not name a model", "write models/ID or tunedModels/ID"),
    ("evaluation: {holdout: 0.1, metric: {kind: judge, model: models/m, rubric: x, target: loca}}",
     "4:86", "evaluation.metric.target.kind must be local or gemini, not 'loca'",
     "did you mean local?"),
    ("evaluation: {holdout: 0.1, require: {significant: true}}", "4:38",
     "significant compares with the base model, which needs better_than_base",
     "add better_than_base: true, or drop it"),
    ("evaluation: {holdout: 0.1, require: {better_than_base: false, better_by: 0.1}}", "4:63",
     "better_by compares with the base model, which needs better_than_base", None),
    ("early_stopping: {}", "4:17", "patience_steps is missing in early_stopping",
     "add patience_steps: 40"),
    ("early_stopping: {patience_steps: 0}", "4:34",
     "early_stopping.patience_steps must be at least 1, not 0", None),
    ("notify: [{}]", "4:10", "notify[0] has no receiver", "add url: https://..., or command:"),
    ("notify: [{url: https://x.com/h, command: mail}]", "4:33",
     "url and command exclude each other", "write a list item for each"),
    ("notify: [{url: http://x.com/h}]", "4:16", "http is not encrypted",
     "write https://"),
    ("notify: [{url: 'https://me:s3cret@x.com/h'}]", "4:16",
     "the URL contains a user or password", None),
    ("notify: [{url: x.com/h}]", "4:16", "this is not the URL of a webhook", None),
    ("notify: [{url: 'https://[x'}]", "4:16", "this is not the URL of a webhook", None),
    ("notify: [{url: 'https://x.com:ninety/h'}]", "4:16", "this is not the URL of a webhook", None),
    ("notify: [{command: mail, secret_env: KEY}]", "4:26",
     "secret_env applies to url, not to command", "drop it"),
    ("notify: [{url: https://x.com/h, secret_env: 5ecr3t!}]", "4:45",
     "secret_env does not name an environment variable", None),
    ("notify: [{command: mail, on: [don]}]", "4:31",
     "notify[0].on[0] must be done, failed, rejected or transferred, not 'don'",
     "did you mean done?"),
    ("notify: [{command: mail, on: []}]", "4:30", "on is empty: nothing is sent", None),
    ("target: {kind: local, max_jobs: 0}", "4:33", "target.max_jobs must be at least 1, not 0", None),
    ("target: {requests_per_second: 0}", "4:31",
     "target.requests_per_second must be more than 0, not 0", None),
    ("evaluation: {holdout: 0.1, require: {at_least: 80}}", "4:48",
     "evaluation.require.at_least must be at most 1, not 80", None),
    ("evaluation: {holdout: 0.1, require: {better_than_base: yes}}", "4:56",
     "evaluation.require.better_than_base must be true or false, not 'yes'", None),
    ("permissions: {role: READER}", "4:14", "permissions must be a list, not keys with values", None),
    ("permissions: [ana@example.com]", "4:15",
     "permissions[0] must be keys with values, not 'ana@example.com'", None),
    ("permissions: [{email_address: ana@example.com}]", "4:15",
     "role is missing in permissions[0]", "add role: READER"),
    ("permissions: [{role: reader, email_address: ana@example.com}]", "4:22",
     "permissions[0].role must be READER or WRITER, not 'reader'", "did you mean READER?"),
    ("permissions: [{role: OWNER, email_address: ana@example.com}]", "4:22",
     "ownership cannot be granted, only transferred",
     "write transfer_ownership: and the address, at the top level"),
    ("permissions: [{role: READER}]", "4:15", "the e-mail address is missing", None),
    ("permissions: [{role: READER, grantee_type: EVERYONE, email_address: a@b.c}]", "4:54",
     "EVERYONE has no e-mail address", None),
    ("permissions: [{role: READER, email_address: ana}]", "4:45",
     "'ana' is not an e-mail address", None),
    ("permissions:\n- {role: READER, email_address: a@b.c}\n- {role: WRITER, email_address: A@b.c}",
     "6:3", "A@b.c already has a permission, on line 5", None),
    ("transfer_ownership: lead", "4:21", "'lead' is not an e-mail address", None),
    ("permissions: [{role: READER, email_address: Lead@b.c}]\ntransfer_ownership: lead@b.c", "4:15",
     "lead@b.c becomes the owner, who has every right already", None),
    ("timeout: 2 hours", "4:10", "timeout is '2 hours', which is not a duration", None),
    ("timeout: 90", "4:10", "timeout must be text, not the number 90",
     "add the unit, e.g. 90s, 45m or 2h30m"),
    ("timeout: 0s", "4:10", "timeout is '0s', which is zero or empty", None),
    ("timeout: ''", "4:10", "timeout is '', which is zero or empty", None),
]  # fmt: skip


@pytest.mark.parametrize(("line", "where", "what", "fix"), MISTAKES)
def test_a_mistake_is_reported_with_its_place_and_a_fix(tmp_path, line, where, what, fix):
    (problem,) = problems(tmp_path, f"{LEAST}{line}\n")

    assert problem.where == f"{tmp_path}/spec.yaml:{where}"
    assert problem.what == what
    assert problem.fix
    assert problem.rule
    assert fix is None or problem.fix == fix


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("{}", "path is missing in training_data"),
        ("{path: ''}", "training_data.path is empty"),
        ("{path: a.csv, format: xlsx}", "training_data.format must be auto, csv, jsonl, json, parquet, arrow, dataset, openai, vertex, sharegpt, prompt-completion or alpaca, not 'xlsx'"),
        ("{path: a.csv, prompt: x}", "there is no key 'prompt' in training_data"),
        ("{path: a.csv, output: text_input}", "text_input and output are both read from 'text_input'"),
        ("{path: a.csv, encoding: hex}", "'hex' is not an encoding that can be read"),
        ("{path: a.csv, encoding: klingon}", "'klingon' is not an encoding that can be read"),
        ("{path: a.csv, encoding: idna}", "'idna' is not an encoding that can be read"),
        ("a.csv", "training_data must be keys with values, not 'a.csv'"),
    ],
)  # fmt: skip
def test_a_mistake_about_the_data_is_named(tmp_path, data, what):
    (problem,) = problems(tmp_path, f"job: j\nbase_model: models/m\ntraining_data: {data}\n")

    assert problem.what == what
    assert problem.line == 3


@pytest.mark.parametrize(
    ("model", "fix"),
    [
        ("base_model: smollm", "write models/ID; `tuner models list` has them"),
        ("base_model: tunedModels/x", "write it as tuned_model_source"),
        ("tuned_model_source: x", "write tunedModels/ID"),
        ("description: x", ("add base_model: models/smollm2-135m-instruct, or "
         "tuned_model_source: tunedModels/ID")),
    ],
)  # fmt: skip
def test_a_model_must_be_named_by_its_kind(tmp_path, model, fix):
    (problem,) = problems(tmp_path, f"job: j\ntraining_data: {{path: a.csv}}\n{model}\n")

    assert problem.fix == fix


@pytest.mark.parametrize("name", [r"a\0b", r"a\e[31mb", r"a\nb", r"a\x9bb", r"a\u2028b"])
def test_a_name_with_control_characters_is_refused(tmp_path, name):
    (problem,) = problems(tmp_path, LEAST.replace("job: j", f'job: "{name}"'))

    assert "contains a control character" in problem.what
    assert problem.what.isprintable()


def test_a_name_may_be_of_any_script(tmp_path):
    named = "東京 \U0001f469\u200d\U0001f680"

    assert load(tmp_path, LEAST.replace("job: j", f"job: {named}")).job == named


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "word", "5"])
def test_a_file_without_keys_gets_errors_with_fixes(tmp_path, text):
    found = problems(tmp_path, text)

    assert found[0].line == 1
    assert all(problem.fix for problem in found)


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path):
    found = problems(
        tmp_path,
        "jub: x\nbase_model: models/m\ntraining_data: {path: a.csv, outptu: y}\n"
        "temperature: 7\npermissions: [{role: OWNER}]\ntemperature: 8\n",
        "top_k=none",
    )

    assert [(problem.line, problem.rule) for problem in found] == [
        (0, "wrong-type"),
        (1, "unknown-key"),
        (3, "unknown-key"),
        (4, "out-of-range"),
        (5, "missing-key"),
        (5, "owner-granted"),
        (6, "repeated-key"),
    ]


def test_a_misspelt_key_is_not_also_reported_as_missing(tmp_path):
    found = problems(tmp_path, "base_modle: models/m\ntraining_data: {path: a.csv}\n")

    assert [(problem.what.split()[0], problem.rule) for problem in found] == [
        ("job", "missing-key"),
        ("there", "unknown-key"),
    ]


def test_a_wrong_override_is_located_at_its_option(tmp_path):
    (problem,) = problems(tmp_path, LEAST, "hyperparameters.epoch_count=many")

    assert problem.where == "--set hyperparameters.epoch_count=many"
    assert problem.what == "hyperparameters.epoch_count must be a whole number, not 'many'"


def test_an_override_replaces_an_invalid_value(tmp_path):
    text = f"{LEAST}target: {{kind: nowhere}}\n"

    assert load(tmp_path, text, "target=gemini", "display_name='7'").display_name == "7"
