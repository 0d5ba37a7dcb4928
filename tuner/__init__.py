"""Tune, evaluate, share and hand over models from a job spec.

    import tuner

    outcome = tuner.run("configs/quickstart.yaml")
    print(outcome.job.phase, outcome.job.evaluation)

Importing this is free; what a function needs is loaded when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from tuner import data as data
    from tuner.data.prepare import Examples
    from tuner.jobs.outcome import Outcome
    from tuner.jobs.work import Work

    Spec = str | Path | Mapping[str, Any]

__all__ = ["__version__", "data", "run", "validate"]
__version__ = "0.1.0"


def run(spec: Spec, overrides: Sequence[str] = (), examples: Examples | None = None) -> Outcome:
    """Do what ``tuner run SPEC`` does, without printing, and return what came of it.

    Calling it again with the same goes on from where it stopped: nothing is tuned twice. It may
    be called in a notebook; to stop it there stops watching, the tuning goes on.

    Args:
        spec: A job spec's file, or a dict with the same keys.
        overrides: As ``--set``: ``hyperparameters.epoch_count=3``.
        examples: In place of ``training_data.path``: a DataFrame, with the columns that
            ``training_data`` names, or a sequence of Examples or (input, output) pairs. Checked
            and held out as a file's rows are.

    Returns:
        The job at its end, with the permissions as the service lists them. A job that failed, was
        cancelled or did not pass its gate is returned too: ``outcome.failure`` says why.

    Raises:
        InvalidInput: Everything that is wrong with the spec and its data; nothing was sent.
        NotAllowed, Unavailable, RequestRefused, NotFinished: What stopped us; calling it again goes
            on from there.
    """
    from tuner.jobs.blocking import run_to_end
    from tuner.jobs.ledger import open_ledger
    from tuner.jobs.runner import Pace
    from tuner.jobs.start import begin, follow_all

    work = validate(spec, overrides, examples)

    async def followed() -> Outcome:
        with open_ledger() as ledger:
            pairs = [(begin(work, ledger, overrides), work)]
            [outcome] = await follow_all(pairs, ledger, lambda _: None, Pace())
        return outcome

    outcome = run_to_end(followed)
    if outcome.error:
        raise outcome.error
    return outcome


def validate(spec: Spec, overrides: Sequence[str] = (), examples: Examples | None = None) -> Work:
    """Read and check a spec with its data; what ``tuner validate`` does.

    Args are those of ``run``.

    Raises:
        InvalidInput: Everything that is wrong with them.
    """
    from pathlib import Path

    from tuner.jobs.work import load_work
    from tuner.tokens.long import long_examples

    given = Path(spec) if isinstance(spec, str | Path) else spec
    return load_work(given, overrides, examples, long_examples)


def __getattr__(name: str) -> Any:
    """``tuner.data``, once it is asked for."""
    if name != "data":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module("tuner.data")
