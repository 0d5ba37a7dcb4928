from __future__ import annotations

import asyncio
import json
import random

import pytest
from click.testing import CliRunner

from tests.engine.places import tiny
from tests.fakes.target import FakeTarget
from tuner.cli import cli, data_token_estimate
from tuner.cli.data_tokens import Price, read_price
from tuner.engine import time_estimate
from tuner.errors import DatasetError, NotFound, SpecError
from tuner.jobspec import prepared_job
from tuner.tokens import TokenCounts, open_counter
from tuner.types import Example

PACE = time_estimate.TimeEstimate(
    start_s=2.0, step_s=0.5, token_s=0.01, computed=0.5, steps=4, threads=2
)
SPEC = """
job: a
base_model: models/far
target: {kind: gemini, endpoint: "localhost:1"}
training_data: {path: rows.csv, instruction: Say it}
hyperparameters: {epoch_count: 3, batch_size: 7}
evaluation: {holdout: 0.25}
"""


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "home"))
    path = tmp_path / "rows.csv"
    lines = [f"question {n},answer {n}\n" for n in range(40)]
    path.write_text("text_input,output\n" + "".join(lines))
    return path


def ask(*arguments):
    done = CliRunner().invoke(cli, ["data", "tokens", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def found(*arguments):
    return json.loads(ask(*arguments, "--json").stdout)


def test_tokens_and_steps_are_those_of_the_tuning(rows):
    counter = open_counter(str(tiny()))
    texts = [(f"question {n}", f"answer {n}") for n in range(40)]
    counts = list(counter.count(*zip(*texts, strict=True)))

    said = found(rows, "--model", tiny(), "--no-time", "--epochs", 3, "--batch-size", 16)

    assert said["prompt_tokens"] == sum(each.prompt for each in counts)
    assert said["output_tokens"] == sum(each.output for each in counts)
    assert said["total_tokens"] == 3 * sum(map(sum, counts))
    assert said["longest_example"] == max(map(sum, counts))
    assert (said["steps"], said["error"], said["seconds"]) == (9, 0, None)


@pytest.mark.slow  # the service's packages take a second to load
def test_what_is_left_open_is_what_the_service_would_choose(rows):
    from tuner.server.handlers import tuned_models

    said = found(rows, "--model", tiny(), "--no-time")

    assert said["epochs"] == prepared_job.DEFAULT_EPOCHS == tuned_models.DEFAULT_EPOCHS
    assert prepared_job.LARGE_DATASET_EXAMPLES == tuned_models.LARGE_DATASET_EXAMPLES
    assert said["batch_size"] == prepared_job.BATCH_SIZES[0] == 4


def test_rows_that_are_held_out_are_not_counted_and_the_spec_says_the_rest(rows):
    spec = rows.with_name("a.yaml")
    spec.write_text(SPEC.replace('{kind: gemini, endpoint: "localhost:1"}', "local"))
    said = found(spec, "--model", tiny(), "--no-time")

    assert said["rows"] + said["rows_held_out"] == 40
    assert said["rows_held_out"] > 0
    assert (said["epochs"], said["batch_size"]) == (3, 7)
    bare = open_counter(str(tiny()))
    ((one, _),) = bare.count(["Say it\n\nquestion 1"], [""])
    assert said["prompt_tokens"] >= said["rows"] * one


def test_rows_that_are_too_long_are_counted_as_such(rows):
    rows.write_text(f"text_input,output\n{'x' * 3000},y\nx,y\n")

    assert found(rows, "--model", tiny(), "--no-time")["too_long"] == 1
    assert "1 rows are too long" in ask(rows, "--model", tiny(), "--no-time").stdout


def test_the_pace_is_measured_once_and_remembered(rows, monkeypatch):
    asked_for = []

    def measure(sample, show):
        asked_for.append(sample.batch_size)
        show(1)
        return PACE

    monkeypatch.setattr(time_estimate, "measure_estimate", measure)
    first = found(rows, "--model", tiny())
    assert first["seconds"] == pytest.approx(
        PACE.seconds(first["steps"], first["total_tokens"]), 0.1
    )
    assert found(rows, "--model", tiny())["seconds"] == first["seconds"]
    assert asked_for == [4]
    found(rows, "--model", tiny(), "--batch-size", 8)
    found(rows, "--model", tiny(), "--again")

    assert asked_for == [4, 8, 4]
    assert "about" in ask(rows, "--model", tiny()).stdout


def test_a_machine_that_cannot_be_measured_is_said_to_be_that(rows, monkeypatch):
    monkeypatch.setattr(time_estimate, "measure_estimate", lambda *_: None)
    done = ask(rows, "--model", tiny())

    assert "could not be measured" in done.stderr
    assert "time on this machine" not in done.stdout


def test_a_damaged_memory_is_measured_anew(rows, monkeypatch):
    monkeypatch.setattr(time_estimate, "measure_estimate", lambda *_: PACE)
    home = rows.with_name("home")
    home.mkdir()
    (home / "calibration.json").write_text("{")

    assert found(rows, "--model", tiny())["seconds"] > 0


@pytest.fixture
def gemini(target, monkeypatch):
    """A service that takes a token for every four characters, and remembers what it was asked."""
    texts = []

    async def count_tokens(model, text):
        texts.append((model, text))
        await asyncio.sleep(0)
        return 3 + len(text) // 4

    monkeypatch.setattr(target, "count_tokens", count_tokens)
    return texts


def test_a_service_is_asked_about_a_sample_and_the_error_is_said(rows, gemini):
    dice = random.Random(1)
    lines = [
        f"{'word ' * dice.randrange(1, 40)},{'yes ' * dice.randrange(1, 9)}\n" for _ in range(900)
    ]
    rows.write_text("text_input,output\n" + "".join(lines))
    options = ("--model", "models/far", "--endpoint", "localhost:1")

    sampled, exact = found(rows, *options), found(rows, *options, "--all")

    assert sampled["rows_counted"] == 300
    assert exact["rows_counted"] == 900
    assert len(gemini) == 2 * 300 + 2 * 900
    assert sampled["error"] > 0
    assert exact["error"] == 0
    assert abs(sampled["total_tokens"] - exact["total_tokens"]) <= sampled["error"]
    assert sampled["error"] < 0.02 * exact["total_tokens"]
    assert sampled["seconds"] is None
    assert "±" in ask(rows, *options).stdout


def test_a_service_sees_the_instruction_as_the_request_has_it(rows, gemini):
    spec = rows.with_name("a.yaml")
    spec.write_text(SPEC.replace("kind: gemini", "kind: local"))
    ask(spec)

    assert {model for model, _ in gemini} == {"models/far"}
    assert all(text.startswith("Say it\n\nquestion ") for _, text in gemini)


def test_at_most_so_many_calls_are_in_flight():
    now, most = 0, 0

    class Slow(FakeTarget):
        async def count_tokens(self, _model, text):
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1
            return len(text)

    examples = [Example("a" * n, "b") for n in range(100)]
    counts = asyncio.run(data_token_estimate.count(Slow(), "models/far", examples, lambda _: None))

    assert counts == [TokenCounts(n, 1) for n in range(100)]
    assert most == data_token_estimate.MAX_CALLS_IN_FLIGHT


def test_a_refusal_of_the_service_is_raised_as_it_is():
    class Refusing(FakeTarget):
        async def count_tokens(self, model, _text):
            raise NotFound(model)

    with pytest.raises(NotFound, match="models/none"):
        asyncio.run(
            data_token_estimate.count(Refusing(), "models/none", [Example("q", "a")] * 3, print)
        )


@pytest.mark.usefixtures("target")
def test_without_a_model_a_service_cannot_be_asked(rows):
    assert "the model to tune is missing" in ask(rows, "--endpoint", "localhost:1").stderr


def test_nineteen_of_twenty_samples_keep_to_the_error_they_state():
    dice = random.Random(3)
    made = [Example("x" * dice.randrange(1, 900), "y" * dice.randrange(1, 90)) for _ in range(1500)]
    pairs = [
        (each, TokenCounts(9 + int(len(each[0]) * dice.uniform(0.2, 0.3)), 1 + len(each[1]) // 4))
        for each in made
    ]
    truth = sum(tokens.prompt for _, tokens in pairs)
    chars = sum(len(each[0]) for each in made), sum(len(each[1]) for each in made)
    kept = 0
    for _ in range(60):
        told = data_token_estimate.estimate(dice.sample(pairs, 300), len(made), *chars)
        kept += abs(told.prompt - truth) <= told.prompt_error

    assert 54 <= kept <= 60
    assert data_token_estimate.estimate(pairs, len(made), *chars)[:4] == (
        truth,
        sum(tokens.output for _, tokens in pairs),
        0,
        0,
    )


def test_a_file_without_rows_says_why(rows):
    rows.write_text("text_input,output\na,b,c\n")
    with pytest.raises(DatasetError):
        ask(rows, "--model", tiny())


PRICES = "currency: USD\nmodels:\n  models/tiny: 8.00\n  other: 0.5\n"


def test_a_price_is_tokens_of_all_epochs_by_the_million(rows):
    table = rows.with_name("prices.yaml")
    name = str(tiny()).rpartition("/")[2]
    table.write_text(PRICES.replace("tiny", name))
    said = found(rows, "--model", tiny(), "--no-time", "--prices", table, "--epochs", 2)

    assert said["price"] == pytest.approx(said["total_tokens"] * 8 / 1e6)
    assert said["currency"] == "USD"
    assert "USD" in ask(rows, "--model", tiny(), "--no-time", "--prices", table).stdout


def test_a_price_is_found_with_and_without_the_kind_of_the_name(tmp_path):
    table = tmp_path / "prices.yaml"
    table.write_text(PRICES)

    assert read_price(table, "models/other") == Price(0.5, "USD")
    assert read_price(table, "tiny") == Price(8.0, "USD")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("- 1\n", 1, "is not a table of prices"),
        ("currency: USD\nmodels: 3\n", 1, "is not a table of prices"),
        ("models: {a: 1}\n", 1, "has no currency"),
        ("currency: USD\nmodels:\n  tiny: cheap\n", 3, "not a number"),
        ("currency: USD\nmodels:\n  tiny: -1\n", 3, "not a number"),
        ("currency: USD\nmodels:\n  a: 1\n", 3, "there is no price of models/tiny, only of a"),
        ("currency: [\n", 1, ""),
    ],
)
def test_a_table_that_does_not_tell_the_price_is_told_with_its_place(tmp_path, text, line, what):
    table = tmp_path / "prices.yaml"
    table.write_text(text)

    with pytest.raises(SpecError) as refused:
        read_price(table, "models/tiny")

    problem = refused.value.problems[0]
    assert what in problem.what
    assert problem.path == str(table)
    assert problem.line >= line or not what
