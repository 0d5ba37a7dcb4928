"""The computed size of a request is that of Google's message."""

import pytest

from tuner.data.checks.size import check_request, request_bytes
from tuner.targets.protos import create_request
from tuner.types import Example, Hyperparameters, Limits, NewTunedModel

ROWS = tuple(Example("ä" * n, "🙂" * (n % 7), n) for n in range(0, 20_000, 611))


@pytest.mark.parametrize(
    "new",
    [
        NewTunedModel("i", ROWS[:1], base_model="models/m"),
        NewTunedModel("an-id", ROWS, tuned_model_source="tunedModels/x"),
        NewTunedModel("i", ROWS[:2], "models/m", display_name="é" * 40, description="d" * 300),
        NewTunedModel("i", ROWS, "models/m", temperature=0.0, top_p=1.0, top_k=40),
        NewTunedModel("i", ROWS, "models/m", top_k=0),
        NewTunedModel("i", ROWS, "models/m", hyperparameters=Hyperparameters(5, 16, 1e-3)),
        NewTunedModel("i", ROWS[:2], "models/m", hyperparameters=Hyperparameters(2**31 - 1)),
        NewTunedModel("i", ROWS, "m", hyperparameters=Hyperparameters(learning_rate_multiplier=1)),
        NewTunedModel("i" * 40, (Example("x" * 100, "y"),) * 5_000, "models/m"),
    ],
)
def test_the_size_is_that_of_googles_message(new):
    request = create_request(new)

    assert request_bytes(new) == len(type(request).serialize(request))


@pytest.mark.parametrize("text", ["x", "ü", "€", "🙂"])
@pytest.mark.parametrize("count", [1, 100])
def test_a_request_may_be_as_large_as_the_limit(text, count):
    new = NewTunedModel("i", (Example(text, text),) * count, "models/m")
    size = request_bytes(new)

    assert check_request(new, "x.csv", Limits(None, None, size)) == []
    assert check_request(new, "x.csv", Limits(None, None, None)) == []
    (problem,) = check_request(new, "x.csv", Limits(None, None, size - 1))
    assert problem.rule == "request-too-large"
