"""Tokens of whole jobs, for plans."""

from __future__ import annotations

import pytest

from tests.engine.places import tiny
from tests.fakes.work import with_spec
from tuner.tokens import works
from tuner.tokens.counting import Counter, open_counter
from tuner.types import TargetConfig


@pytest.fixture
def opened(monkeypatch):
    """The names of models in the order they were opened."""
    names = []

    def noted(name):
        names.append(name)
        return open_counter(name)

    monkeypatch.setattr(works, "open_counter", noted)
    return names


def test_the_tokens_of_a_job_are_those_of_its_examples_once_over():
    work = with_spec(base_model=str(tiny()))
    texts = [each.text_input for each in work.examples], [each.output for each in work.examples]

    counted = works.token_counter()(work)

    assert counted == sum(map(sum, open_counter(str(tiny())).count(*texts)))


def test_what_cannot_be_counted_here_has_no_tokens():
    count = works.token_counter()

    assert count(with_spec(base_model="models/nowhere")) is None
    assert count(with_spec(base_model="", tuned_model_source="tunedModels/a")) is None
    for target in (TargetConfig("gemini"), TargetConfig("local", "there:1")):
        assert count(with_spec(base_model=str(tiny()), target=target)) is None


def test_a_model_is_opened_once_and_what_jobs_share_is_counted_once(opened, monkeypatch):
    counted = []
    whole = Counter.count
    monkeypatch.setattr(Counter, "count", lambda *each: counted.append(1) or whole(*each))
    count = works.token_counter()

    first = count(with_spec(base_model=str(tiny())))
    again = count(with_spec(base_model=str(tiny()), job="another"))

    assert first == again
    assert opened == [str(tiny())]
    assert len(counted) == 1
