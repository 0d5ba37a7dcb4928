"""A job on disk, and a target in memory that stands in the table for ``local``."""

from __future__ import annotations

from tests.fakes.target import FakeTarget
from tuner.jobspec.prepared_job import new_tuned_model, prepare_job

SPEC = """\
job: capitals
base_model: models/tiny
training_data: {path: rows.csv}
evaluation: {holdout: 0.3, base_instruction: Answer., require: {better_than_base: true}}
permissions: [{role: READER, email_address: ana@example.com}]
transfer_ownership: lead@example.com
"""


class OneTarget:
    """What ``local`` opens: every command of a test gets the same fake."""

    target = FakeTarget()
    bug: Exception | None = None


async def open_fake(_config):
    if OneTarget.bug:
        raise OneTarget.bug
    return OneTarget.target


def answers(path):
    """The right ones to the held-out rows of a spec."""
    return _right(prepare_job(path))


def knowing(path):
    work = prepare_job(path)
    return FakeTarget(answers={new_tuned_model(work).name: _right(work)})


def _right(work):
    return {row.text_input: row.output for row in work.holdout}
