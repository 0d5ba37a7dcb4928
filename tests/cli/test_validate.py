"""validate and schema, as a user calls them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import tuner
from tests.engine.places import tiny
from tuner import tokens
from tuner.__main__ import run
from tuner.cli.init import schema
from tuner.cli.plan import validate
from tuner.engine import KNOWN_BASE_MODELS
from tuner.errors import InvalidInput
from tuner.tokens import ALWAYS_SHORT_CHARS, open_counter

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "configs/quickstart.yaml")


def test_what_is_right_is_summed_up():
    result = CliRunner().invoke(validate, [QUICKSTART, "--json"])

    row = json.loads(result.stdout)
    assert result.exit_code == 0
    assert row["job"] == "product-reviews"
    assert row["examples"] + row["held_out"] == 600
    assert row["tuned_model"].startswith("tunedModels/product-reviews-")


def test_several_specs_are_rows():
    result = CliRunner().invoke(
        validate, [QUICKSTART, str(ROOT / "configs/full.yaml"), "-o", "jsonl"]
    )

    assert [json.loads(line)["job"] for line in result.stdout.splitlines()] == [
        "product-reviews", "full-example",
    ]  # fmt: skip


def test_what_is_wrong_in_any_spec_goes_to_stderr_with_exit_code_2(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("job: a\n")
    (tmp_path / "b.yaml").write_text("a: [")

    code = run(["validate", str(tmp_path / "a.yaml"), QUICKSTART, str(tmp_path / "b.yaml")])

    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert f"error: {tmp_path}/a.yaml:1:1: training_data is missing\n  fix: " in err
    assert f"error: {tmp_path}/b.yaml:" in err


@pytest.fixture
def tiny_here(monkeypatch):
    """Every model is the tiny one, which takes 2,048 tokens, a byte each; gives those asked for."""
    asked = []

    def opened(name, instruction=""):
        asked.append(name)
        return open_counter(str(tiny()), instruction)

    monkeypatch.setattr(tokens, "open_counter", opened)
    return asked


def with_rows(tmp_path, *lengths, more=""):
    rows = "".join(f"{'x' * length},y\n" for length in lengths)
    (tmp_path / "d.csv").write_text(f"text_input,output\n{rows}")
    spec = tmp_path / "a.yaml"
    spec.write_text(f"job: a\nbase_model: models/m\ntraining_data: {{path: d.csv{more}}}\n")
    return str(spec)


def test_a_row_with_more_tokens_than_the_model_takes_is_told_before_anything_is_sent(
    tmp_path, tiny_here, capsys
):
    assert run(["validate", with_rows(tmp_path, 20, 3000)]) == 2

    err = capsys.readouterr().err
    assert f"error: {tmp_path}/d.csv:3:1: the example has 3,0" in err
    assert "tokens, the model takes 2,048" in err
    assert tiny_here == ["models/m"]


@pytest.mark.usefixtures("tiny_here")
def test_python_finds_it_too(tmp_path):
    with pytest.raises(InvalidInput, match="the model takes 2,048"):
        tuner.validate(with_rows(tmp_path, 3000))


@pytest.mark.parametrize(
    ("rows", "more"), [((20, 1800), ""), ((3000,), ", ignore: [long-example]")]
)
def test_no_tokenizer_is_opened_for_short_rows_or_what_is_ignored(tmp_path, tiny_here, rows, more):
    assert run(["validate", with_rows(tmp_path, *rows, more=more)]) == 0
    assert tiny_here == []


def test_what_is_not_counted_fits_every_model_known():
    limits = [
        model.input_token_limit
        for model in KNOWN_BASE_MODELS.values()
        if tokens.TUNABLE in model.methods
    ]

    assert min(limits) > 4 * ALWAYS_SHORT_CHARS + 200


def test_warnings_are_told_and_change_nothing(tmp_path):
    (tmp_path / "d.csv").write_text("text_input,output\nx,y\nx,z\n")
    (tmp_path / "a.yaml").write_text("job: a\nbase_model: models/m\ntraining_data: {path: d.csv}\n")
    result = CliRunner().invoke(validate, [str(tmp_path / "a.yaml")])

    assert result.exit_code == 0
    assert f"warning: {tmp_path}/d.csv:3:3: the same text_input as line 2" in result.stderr


def test_the_schema_is_json_and_the_reference_markdown():
    assert json.loads(CliRunner().invoke(schema).stdout)["additionalProperties"] is False
    assert CliRunner().invoke(schema, ["--markdown"]).stdout.startswith("# The job spec")


@pytest.mark.slow
def test_validate_loads_nothing_heavy():
    program = (
        "import sys; from tuner.__main__ import run; "
        f"assert run(['validate', {QUICKSTART!r}]) == 0; "
        "heavy = {'asyncio', 'logging', 'pandas', 'grpc', 'google', "
        "'torch', 'sqlalchemy', 'rich', 'difflib'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
