"""The error of a failed job and its fix."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes.work import WORK, job_of
from tuner.jobs.outcome import failure
from tuner.types import Phase

JOB = job_of(WORK)
GATE = "more epochs, more or better data may help; `evaluation.require` is the gate"


@pytest.mark.parametrize(
    ("changes", "fix"),
    [
        ({"phase": Phase.FAILED}, "`tuner retry capitals` tunes it again from the start"),
        (
            {"phase": Phase.CANCELLED, "stopping": "the loss has not fallen"},
            "change early_stopping or the data; `tuner retry capitals` tunes it again from the start",
        ),
        (
            {"phase": Phase.REJECTED},
            f"{GATE}, and `tuner run --force-share` overrules it",
        ),
        (
            {"phase": Phase.REJECTED, "spec": ""},
            f"{GATE}, and force_share=True overrules it",
        ),
    ],
)
def test_the_fix_depends_on_the_failure(changes, fix):
    found = failure(replace(JOB, **{"spec": "capitals.yaml", **changes}))

    assert found.fix == fix
