from __future__ import annotations

import pytest
import torch

from tests.engine.places import EXAMPLES, tiny
from tuner.engine import batches, time_estimate
from tuner.engine.attention import pack
from tuner.engine.chat import open_chat
from tuner.engine.time_estimate import Sample, packed_tokens, timed_steps

ROWS = [(each.text_input, each.output) for each in EXAMPLES]


def steps(*pairs):
    return [{"computed": work, "tokens": 2 * work, "seconds": seconds} for work, seconds in pairs]


def test_an_estimate_is_a_line_through_all_steps_but_the_first():
    start = {"start_s": 3.0, "threads": 2}
    found = time_estimate.fit(start, steps((200, 9.0), (100, 1.5), (200, 2.5), (400, 4.5)))

    assert found[:4] == pytest.approx((3.0 + 9.0 - 2.5, 0.5, 0.01, 0.5))
    assert found.seconds(10, 4000) == pytest.approx(9.5 + 5 + 20)


@pytest.mark.parametrize(
    "measured",
    [
        steps((100, 2.0)),
        steps((100, 3.0), (100, 2.0)),
        steps((100, 3.0), (100, 2.0), (101, 9.0)),
        steps((100, 3.0), (100, 2.0), (300, 1.0)),
        steps((100, 3.0), (100, 1.0), (300, 9.0)),
    ],
    ids=["one", "two", "flat", "falling", "steep"],
)
def test_an_estimate_of_few_or_irregular_steps_equals_their_mean_and_is_never_negative(measured):
    found = time_estimate.fit({"start_s": 0.0, "threads": 1}, measured)
    later = measured[1:] or measured

    assert min(found) >= 0
    mean = sum(each["seconds"] for each in later) / len(later)
    tokens = sum(each["tokens"] for each in later)
    assert found.seconds(len(later), tokens) - found.start_s == pytest.approx(mean * len(later))


@pytest.mark.slow
def test_a_child_process_measures_and_reports_each_step():
    reported = []

    found = time_estimate.measure_estimate(Sample(tiny(), 2048, ROWS, 4, 30.0), reported.append)

    assert reported == [1, 2, 3]
    assert found.steps == 3
    assert found.start_s > 0
    assert 0 < found.seconds(3, 300) - found.start_s < 60


@pytest.mark.slow
def test_without_a_model_there_is_no_estimate(tmp_path):
    assert time_estimate.measure_estimate(Sample(tmp_path, 2048, ROWS, 4, 30.0)) is None


@pytest.fixture
def deterministic_mode_restored():
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.mark.slow
@pytest.mark.usefixtures("deterministic_mode_restored")
def test_every_step_has_its_duration_and_its_tokens():
    rows = batches.rows(EXAMPLES, open_chat(tiny()), 2048)

    timed = list(timed_steps(Sample(tiny(), 2048, ROWS, 4, 30.0), 60.0))

    assert len(timed) == 3
    assert sum(each.tokens for each in timed) == sum(map(len, rows))
    assert all(each.seconds > 0 and 0 < each.computed <= each.tokens for each in timed)


@pytest.mark.slow
@pytest.mark.usefixtures("deterministic_mode_restored")
def test_no_step_starts_after_the_budget():
    assert len(list(timed_steps(Sample(tiny(), 2048, ROWS, 4, 30.0), 0.0))) == 1


@pytest.mark.slow
def test_the_computed_tokens_are_those_that_the_model_packs():
    part = batches.rows(EXAMPLES, open_chat(tiny()), 2048)
    most = min(len(row.prompt) for row in part) - 1
    packed = pack([row.prompt + row.answer[:-1] for row in part], most)

    # The last token of an answer is only predicted; packed_tokens counts it with the others.
    assert packed_tokens(part) == len(packed.ids) + len(part)
