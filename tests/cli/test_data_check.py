"""data check, as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tuner.__main__ import run
from tuner.cli.data_check import check
from tuner.data.checks.rules import RULES

ROOT = Path(__file__).parents[2]
ROWS = "".join(f"question {n},answer {n}\n" for n in range(40))


@pytest.fixture
def file(tmp_path):
    def write(rows, name="d.csv"):
        path = tmp_path / name
        path.write_text(f"text_input,output\n{rows}")
        return str(path)

    return write


def called(*arguments):
    result = CliRunner().invoke(check, arguments, standalone_mode=False)
    assert result.exception is None, result.output
    return result.stdout, result.return_value


def test_a_good_file_is_told_to_be_good(file):
    assert called(file(ROWS)) == ("no findings in 40 rows\n", 0)


def test_the_screen_shows_each_place_with_its_fix_then_a_summary(file):
    path = file(f"{ROWS}x,\n\x01,y\nquestion 1,answer 1\n")
    out, code = called(path)

    assert code == 2
    assert out.splitlines() == [
        f"error: {path}:42:3: output is empty [empty-output]",
        "  fix: fill it in, or delete the row",
        f"warning: {path}:43:1: text_input contains the control character U+0001 [control-character]",
        "  fix: delete it, or run `tuner data fix`",
        f"warning: {path}:44: is the same as line 3 [duplicate]",
        "  fix: delete one of the two",
        "",
        "rule               severity  found",
        "empty-output       error     1",
        "control-character  warning   1",
        "duplicate          warning   1",
        "",
        "43 rows, 1 with errors",
    ]


def test_the_screen_is_capped_and_the_other_forms_are_not(file):
    path = file("".join(f"{n},\n" for n in range(332)))

    out, _ = called(path, "--only", "empty-output")
    assert out.count("fix:") == 20
    assert "empty-output  error     332    and 312 more" in out
    document = json.loads(called(path, "--only", "empty-output", "--json")[0])
    assert [each["line"] for each in document["problems"]] == list(range(2, 334))
    assert (document["rows"], document["rows_with_errors"]) == (332, 332)
    assert document["counts"] == {"empty-output": 332}


@pytest.mark.parametrize("rows", [ROWS, f"{ROWS}x,\n,y\n"])
def test_every_form_says_the_same(file, rows):
    import yaml

    path = file(rows)
    document = json.loads(called(path, "-o", "json")[0])
    lines = called(path, "-o", "jsonl")[0].splitlines()
    results = json.loads(called(path, "-o", "sarif")[0])["runs"][0]["results"]

    assert yaml.safe_load(called(path, "-o", "yaml")[0]) == document
    assert [json.loads(line) for line in lines] == document["problems"]
    regions = [each["locations"][0]["physicalLocation"]["region"] for each in results]
    assert [(each["startLine"], each["startColumn"]) for each in regions] == [
        (each["line"], each["column"]) for each in document["problems"]
    ]


def test_sarif_names_every_rule_and_file_as_its_readers_expect(file, monkeypatch, tmp_path):
    file("".join(f"question {n},yes\n" for n in range(60)) + "x,\n", "a b.csv")
    monkeypatch.chdir(tmp_path)
    log = json.loads(called("a b.csv", "-o", "sarif")[0])

    assert (log["version"], set(log)) == ("2.1.0", {"version", "$schema", "runs"})
    (one,) = log["runs"]
    rules = one["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(RULES)
    for result in one["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning")
        assert result["message"]["text"].endswith(".")
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"] == {"uri": "a%20b.csv"}
    regions = [each["locations"][0]["physicalLocation"].get("region") for each in one["results"]]
    assert regions == [{"startLine": 62, "startColumn": 3}, None]


def test_warnings_count_when_they_are_told_to(file):
    path = file(f"{ROWS}question 1,answer 1\n")

    assert called(path)[1] == 0
    assert called(path, "--strict")[1] == 2
    assert called(path, "--strict", "--ignore", "duplicate")[1] == 0


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--ignore=duplicat", "there is no rule 'duplicat'; did you mean duplicate?"),
        ("--only=zzz", "there is no rule 'zzz'; `tuner data rules` lists them"),
        ("--ignore=bad-csv", "bad-csv cannot be ignored: rows with this error are unreadable"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(file, capsys, option, said):
    assert run(["data", "check", file(ROWS), option]) == 2
    assert said in capsys.readouterr().err


SPEC = "job: a\nbase_model: models/m\ntraining_data: {path: d.csv, ignore: [duplicate]}\n"


def test_a_spec_says_what_is_ignored_and_held_out_and_validate_says_the_same(file, tmp_path):
    from tuner.cli.plan import validate

    file(f"{ROWS}question 1,answer 1\n")
    file("question 2,x\n", "h.csv")
    spec = tmp_path / "a.yaml"
    spec.write_text(f"{SPEC}evaluation: {{path: h.csv}}\n")
    out, _ = called(str(spec), "-o", "jsonl")
    validated = CliRunner().invoke(validate, [str(spec)], standalone_mode=False)
    strict = CliRunner().invoke(validate, [str(spec), "--strict"], standalone_mode=False)

    assert [json.loads(line)["rule"] for line in out.splitlines()] == ["leak"]
    assert validated.stderr.startswith(f"warning: {tmp_path}/h.csv:2: this text_input is also")
    assert f"in the training set, {tmp_path}/d.csv:4\n" in validated.stderr
    assert validated.stderr.count("warning:") == 1
    assert (validated.return_value, strict.return_value) == (0, 2)


def test_rows_held_out_by_share_are_no_leaks(file, tmp_path):
    file(ROWS * 2)
    spec = tmp_path / "a.yaml"
    spec.write_text(f"{SPEC}evaluation: {{holdout: 0.3}}\n")

    assert called(str(spec))[0] == "no findings in 80 rows\n"


def test_an_unknown_rule_in_a_spec_is_located(file, tmp_path, capsys):
    file(ROWS)
    spec = tmp_path / "a.yaml"
    spec.write_text(SPEC.replace("[duplicate]", "[duplicates]"))

    assert run(["data", "check", str(spec)]) == 2
    assert run(["validate", str(spec)]) == 2
    assert capsys.readouterr().err.count(f"error: {spec}:3:39: ") == 2


@pytest.mark.slow
def test_checking_some_rows_loads_nothing_heavy(file):
    program = (
        "import sys; from tuner.__main__ import run; "
        f"assert run(['data', 'check', {file(ROWS * 10)!r}]) == 0; "
        "heavy = {'numpy', 'pandas', 'pyarrow', 'grpc', 'google', 'torch', 'pydantic', 'rich'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_an_option_says_how_to_read_whatever_the_spec_says(file, tmp_path):
    path = Path(file(ROWS))
    path.write_bytes(("Frage;Straße\n" + ROWS.replace(",", ";ü")).encode("cp1252"))
    spec = tmp_path / "a.yaml"
    spec.write_text(f"training_data: {{path: {path.name}, text_input: Frage, output: nothing}}")

    told = called(str(spec), "--encoding", "cp1252", "--output-column", "Straße")

    assert told == ("no findings in 40 rows\n", 0)


@pytest.mark.parametrize("name", ["cp12", "base64"])
def test_an_encoding_that_there_is_not_is_refused(file, capsys, name):
    assert run(["data", "check", file(ROWS), "--encoding", name]) == 2
    assert f"{name!r} is not a text encoding" in capsys.readouterr().err
