"""Tune, evaluate, share and hand over models from a job spec.

    import tuner

    outcome = tuner.run("configs/quickstart.yaml")
    print(outcome.job.phase, outcome.job.evaluation)

Importing this is free; what a function needs is loaded when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tuner.jobs.outcome import Outcome
    from tuner.jobs.work import Work

__all__ = ["__version__", "run", "validate"]
__version__ = "0.1.0"


def run(spec: str | Path, overrides: Sequence[str] = ()) -> Outcome:
    """Do what ``tuner run SPEC`` does, without printing, and return what came of it.

    Args:
        spec: A job spec's file.
        overrides: As ``--set``: ``hyperparameters.epoch_count=3``.

    Returns:
        The job at its end, with the permissions as the service lists them. A job that failed, was
        cancelled or did not pass its gate is returned too: ``outcome.failure`` says why.

    Raises:
        InvalidInput: Everything that is wrong with the spec and its data; nothing was sent.
        NotAllowed, Unavailable, RequestRefused, NotFinished: What stopped us; calling it again goes
            on from there.
    """
    import asyncio

    from tuner.jobs.ledger import open_ledger
    from tuner.jobs.runner import Pace
    from tuner.jobs.start import begin, follow_all

    work = validate(spec, overrides)
    with open_ledger() as ledger:
        pairs = [(begin(work, ledger, overrides), work)]
        [outcome] = asyncio.run(follow_all(pairs, ledger, lambda _: None, Pace()))
    if outcome.error:
        raise outcome.error
    return outcome


def validate(spec: str | Path, overrides: Sequence[str] = ()) -> Work:
    """Read and check a spec with its data; what ``tuner validate`` does.

    Raises:
        InvalidInput: Everything that is wrong with them.
    """
    from pathlib import Path

    from tuner.jobs.work import load_work

    return load_work(Path(spec), overrides)
