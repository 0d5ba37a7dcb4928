from __future__ import annotations

import pytest
import torch

from tests.engine.places import EXAMPLES, tiny
from tuner.engine import batches
from tuner.engine.attention import pack
from tuner.engine.chat import open_chat
from tuner.engine.time_estimate import Trial, packed_tokens, timed_steps

pytestmark = pytest.mark.slow

ROWS = [(each.text_input, each.output) for each in EXAMPLES]


@pytest.fixture(autouse=True)
def as_before():
    yield
    torch.set_deterministic_debug_mode("default")


def test_every_step_has_its_time_and_its_tokens():
    rows = batches.rows(EXAMPLES, open_chat(tiny()), 2048)

    timed = list(timed_steps(Trial(str(tiny()), ROWS, 4, 2048, 60.0)))

    assert len(timed) == 3
    assert sum(each.tokens for each in timed) == sum(map(len, rows))
    assert all(each.seconds > 0 and 0 < each.computed <= each.tokens for each in timed)


def test_no_step_begins_after_the_budget():
    assert len(list(timed_steps(Trial(str(tiny()), ROWS, 4, 2048, 0.0)))) == 1


def test_the_tokens_that_are_computed_are_those_that_the_model_packs():
    part = batches.rows(EXAMPLES, open_chat(tiny()), 2048)
    most = min(len(row.prompt) for row in part) - 1
    packed = pack([row.prompt + row.answer[:-1] for row in part], most)

    # The last token of an answer is only predicted; it is counted with the others of its row.
    assert packed_tokens(part) == len(packed.ids) + len(part)
