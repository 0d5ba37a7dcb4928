from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.engine.places import EXAMPLES, tiny
from tests.fakes.work import with_spec
from tuner import tokens
from tuner.cli.data_options import DataInput, find_counter
from tuner.data.dataset import Source
from tuner.engine import EngineError, batches
from tuner.engine.chat import open_chat
from tuner.jobspec.load import read_partial_spec
from tuner.tokens import TokenCounter, open_counter
from tuner.types import Example, Limits, TargetConfig

NO_LIMITS = Limits(None, None, None)


def texts(examples):
    return [each.text_input for each in examples], [each.output for each in examples]


def test_an_example_has_the_tokens_that_the_engine_tunes_on():
    counter = open_counter(str(tiny()), "Name the colour.")

    counts = list(counter.count(*texts(EXAMPLES)))

    asked = [each._replace(text_input=f"Name the colour.\n\n{each[0]}") for each in EXAMPLES]
    rows = batches.rows(asked, open_chat(tiny()), counter.limit)
    assert counts == [(len(row.prompt), len(row.answer)) for row in rows]


@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_is_the_engines(more):
    counter = open_counter(str(tiny()))
    ((prompt, output),) = counter.count(["x"], ["y"])
    example = Example("x" * (counter.limit - prompt - output + 1 + more), "y")
    ((prompt, output),) = counter.count([example.text_input], [example.output])

    assert prompt + output == counter.limit + more
    if more:
        with pytest.raises(EngineError, match="takes 2048"):
            batches.rows([example], counter.chat, counter.limit)
    else:
        batches.rows([example], counter.chat, counter.limit)


def test_only_rows_that_may_be_too_long_are_counted():
    counter = open_counter(str(tiny()), "Name it.")
    inputs = ["x" * n for n in range(0, 2300, 50)] + ["東" * 700, "é" * 1100, "<|end|>" * 300]
    outputs = ["y" * (n % 60) for n in range(len(inputs))]
    exact = [sum(each) for each in counter.count(inputs, outputs)]

    told = counter.totals(inputs, outputs)

    assert all(one in (0, other) for one, other in zip(told, exact, strict=True))
    assert [each > counter.limit for each in told] == [each > counter.limit for each in exact]
    assert told.count(0) >= 9
    assert counter.totals([], []) == []


def test_a_text_of_any_length_is_counted_in_pieces(monkeypatch):
    counter = open_counter(str(tiny()))
    whole = list(counter.count(["x" * 95, "é", "z"], ["y" * 31, "", "y" * 40]))
    monkeypatch.setattr(tokens, "_BATCH_CHARS", 30)

    assert list(counter.count(["x" * 95, "é", "z"], ["y" * 31, "", "y" * 40])) == whole


def test_half_a_surrogate_pair_is_counted_and_does_no_harm():
    counter = open_counter(str(tiny()))

    assert list(counter.count(["\ud800"], ["\udc00"])) == list(counter.count(["?"], ["?"]))


def test_a_model_that_is_nowhere_has_no_counter(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))

    assert open_counter("models/smollm2-135m-instruct") is None
    assert open_counter("models/no-such") is None
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_model_has_no_counter(tmp_path):
    folder = shutil.copytree(tiny(), tmp_path / "model")
    (folder / "tokenizer.json").write_text("{")

    assert open_counter(str(folder)) is None


@pytest.mark.parametrize(
    ("target", "found"),
    [("local", True), ({"kind": "local", "endpoint": "localhost:1"}, False), ("gemini", False)],
    ids=str,
)
def test_only_the_service_on_this_machine_counts_with_the_files_here(
    tmp_path, monkeypatch, target, found
):
    monkeypatch.setattr(tokens, "open_counter", lambda *_: "a counter")
    (tmp_path / "rows.csv").write_text("text_input,output\na,b\n")
    spec = {
        "job": "a",
        "target": target,
        "base_model": "models/x",
        "training_data": {"path": "rows.csv"},
    }
    path = tmp_path / "a.yaml"
    path.write_text(json.dumps(spec))
    given = DataInput(Source((Path("x"),)), None, NO_LIMITS, "", base_model="models/x")

    assert bool(find_counter(given._replace(partial=read_partial_spec(path)))) == found
    assert find_counter(given) == "a counter"


@pytest.fixture
def opened(monkeypatch):
    """The names of models in the order they were opened."""
    names = []

    def recorded(name):
        names.append(name)
        return open_counter(name)

    monkeypatch.setattr(tokens, "open_counter", recorded)
    return names


def test_the_tokens_of_a_job_are_those_of_its_examples_once_over():
    work = with_spec(base_model=str(tiny()))
    texts = [each.text_input for each in work.examples], [each.output for each in work.examples]

    counted = tokens.token_counter()(work)

    assert counted == sum(map(sum, open_counter(str(tiny())).count(*texts)))


def test_what_cannot_be_counted_here_has_no_tokens():
    count = tokens.token_counter()

    assert count(with_spec(base_model="models/nowhere")) is None
    assert count(with_spec(base_model="", tuned_model_source="tunedModels/a")) is None
    for target in (TargetConfig("gemini"), TargetConfig("local", "there:1")):
        assert count(with_spec(base_model=str(tiny()), target=target)) is None


def test_a_model_is_opened_once_and_what_jobs_share_is_counted_once(opened, monkeypatch):
    counted = []
    whole = TokenCounter.count
    monkeypatch.setattr(TokenCounter, "count", lambda *each: counted.append(1) or whole(*each))
    count = tokens.token_counter()

    first = count(with_spec(base_model=str(tiny())))
    again = count(with_spec(base_model=str(tiny()), job="another"))

    assert first == again
    assert opened == [str(tiny())]
    assert len(counted) == 1
