"""A spec read from a text, with what is wrong with it."""

from __future__ import annotations

import pytest

from tuner.errors import SpecError
from tuner.jobspec.load import read_partial_spec

LEAST = "job: j\nbase_model: models/m\ntraining_data: {path: a.csv}\n"


def load_spec(path, overrides=()):
    partial = read_partial_spec(path, overrides)
    if partial.spec is None:
        raise SpecError(partial.problems)
    return partial.spec


def problems(tmp_path, text, *overrides):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as error:
        load_spec(path, overrides)
    return error.value.problems


def load(tmp_path, text, *overrides):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    return load_spec(path, overrides)
