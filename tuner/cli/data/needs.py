"""What a tuning takes: its tokens, its steps and its time, found out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from tuner.cli.data.given import rows_of
from tuner.cli.data.watching import is_quiet, progress
from tuner.jobspec.prepared_job import BATCH_SIZES, DEFAULT_EPOCHS, MANY_EXAMPLES, total_steps
from tuner.types import Hyperparameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.cli.data.asked import Estimate
    from tuner.cli.data.given import Given
    from tuner.cli.data.prices import Price
    from tuner.engine.time_estimate import TimeEstimate
    from tuner.targets import Target
    from tuner.tokens.counting import Counter, Tokens
    from tuner.types import Example, TargetConfig


class Job(NamedTuple):
    """What is asked about.

    Attributes:
        model: To be tuned: a base model, or a tuned one.
        counter: None when the service has to count.
        examples: To tune on, the instruction in front.
        held_out: Rows beside them.
    """

    config: TargetConfig
    model: str
    counter: Counter | None
    examples: Sequence[Example]
    held_out: int
    epochs: int
    batch_size: int

    @property
    def steps(self) -> int:
        """Optimizer steps in all; the last batch of an epoch may be smaller."""
        asked = Hyperparameters(self.epochs, self.batch_size)
        return total_steps(len(self.examples), asked)


class Needs(NamedTuple):
    """What was found out; what is None is not known.

    Attributes:
        tokens: Of one epoch.
        too_long: Examples that have more tokens than the model takes.
        is_remembered: Whether the pace was measured at another time.
    """

    job: Job
    tokens: Estimate
    too_long: int | None = None
    price: Price | None = None
    pace: TimeEstimate | None = None
    is_remembered: bool = False

    @property
    def total(self) -> int:
        """Tokens of all epochs."""
        return (self.tokens.prompt + self.tokens.output) * self.job.epochs

    @property
    def error(self) -> int:
        """By how many that may be off."""
        both = (self.tokens.prompt_error**2 + self.tokens.output_error**2) ** 0.5
        return round(float(both) * self.job.epochs)

    @property
    def seconds(self) -> float | None:
        """On this machine, from the start of the tuning's process."""
        return self.pace.seconds(self.job.steps, self.total) if self.pace else None


def job_of(
    given: Given, config: TargetConfig, model: str, epochs: int | None, batch_size: int | None
) -> Job:
    """Read the rows to tune on, and settle what options and spec leave open.

    Raises:
        DatasetError: There is no row to tune on.
        UsageError: Nothing says which model the service shall count for.
    """
    examples, held_out = _examples(given)
    spec = given.draft.spec if given.draft else None
    asked = spec.hyperparameters if spec else None
    counter = _counter(given, config, model)
    named = counter.model if counter else model or given.base_model
    named = named or (spec.tuned_model_source if spec else "")
    if not named:
        raise click.UsageError(
            "name the model that is to be tuned, as `tuner models list` does: --model models/ID"
        )
    return Job(
        config,
        named if "/" in named else f"models/{named}",
        counter,
        examples,
        held_out,
        epochs or (asked and asked.epoch_count) or DEFAULT_EPOCHS,
        batch_size or (asked and asked.batch_size) or BATCH_SIZES[len(examples) >= MANY_EXAMPLES],
    )


def _examples(given: Given) -> tuple[Sequence[Example], int]:
    """Those to tune on, as they will be sent, and how many are held out."""
    from tuner.data.holdout import split
    from tuner.jobspec.load import with_instruction

    rows, problems = rows_of(given)
    if problems:
        more = "`tuner data check` says what is wrong with them"
        click.echo(f"rows that cannot be read are not counted: {more}", err=True)
    evaluation = given.draft.evaluation if given.draft else None
    held: Sequence[Example] = ()
    if evaluation and evaluation.holdout is not None:
        tuned, held = split(rows, evaluation.holdout, stratify=evaluation.stratify)
        rows = list(tuned)
    return list(with_instruction(rows, given.instruction)), len(held)


def _counter(given: Given, config: TargetConfig, model: str) -> Counter | None:
    """For the target on this machine, whose model is fetched first where it is not here."""
    from tuner.cli.data.counting import counter_or_usual, find_counter

    if config.kind != "local" or config.endpoint:
        return None
    bare = given._replace(instruction="")  # it is in front of the examples already
    name = model or given.base_model
    if not name:
        return counter_or_usual(bare)
    found = find_counter(bare._replace(draft=None), name)
    if found is None:
        from tuner.cli.pull import pull_missing

        pull_missing([name if "/" in name else f"models/{name}"], quiet=is_quiet())
        found = find_counter(bare._replace(draft=None), name)
    return found


def counted(job: Job, *, every: bool) -> Needs:
    """Count, here or by asking the service.

    Args:
        job: What for.
        every: Whether the service is asked for every row, not for a sample.

    Raises:
        TunerError: The service cannot be asked, or does not count.
    """
    from tuner.cli.data.asked import estimate, sample

    if job.counter:
        return _counted_here(job, job.counter)
    found = list(job.examples) if every else sample(job.examples)
    inputs = sum(len(each.text_input) for each in job.examples)
    outputs = sum(len(each.output) for each in job.examples)
    pairs = list(zip(found, _asked(job, found), strict=True))
    return Needs(job, estimate(pairs, len(job.examples), inputs, outputs))


def _counted_here(job: Job, counter: Counter) -> Needs:
    from tuner.cli.data.asked import Estimate

    prompt = output = longest = too_long = number = 0
    inputs = (each.text_input for each in job.examples)
    outputs = (each.output for each in job.examples)
    with progress("counting tokens") as show:
        for number, each in enumerate(counter.count(inputs, outputs), 1):
            prompt, output = prompt + each.prompt, output + each.output
            longest = max(longest, sum(each))
            too_long += sum(each) > counter.limit
            show(f"{number:,} of {len(job.examples):,} rows")
    return Needs(job, Estimate(prompt, output, 0, 0, number, longest), too_long)


def _asked(job: Job, examples: Sequence[Example]) -> list[Tokens]:
    from tuner.cli.asking import ask
    from tuner.cli.data.asked import count

    with progress(f"asking {job.config.endpoint or job.config.kind}") as show:

        def told(done: int) -> None:
            show(f"{done:,} of {len(examples):,} rows")

        async def question(target: Target) -> list[Tokens]:
            return await count(target, job.model, examples, told)

        return ask(job.config, question)


def timed(found: Needs, *, again: bool) -> Needs:
    """The same, and how fast this machine tunes such rows: remembered, or measured now."""
    from tuner.engine import time_estimate
    from tuner.home import calibration_file

    job, counter = found.job, found.job.counter
    if counter is None:
        return found
    rows = job.examples[
        :: max(1, len(job.examples) // (time_estimate.MAX_BATCHES * job.batch_size))
    ]
    examples = [(each.text_input, each.output) for each in rows]
    mean = (found.tokens.prompt + found.tokens.output) / len(job.examples)
    sample = time_estimate.Sample(counter.folder, counter.limit, examples, job.batch_size, mean)
    known = None if again else time_estimate.load_estimate(sample, calibration_file())
    if known:
        return found._replace(pace=known, is_remembered=True)
    with progress("measuring how fast this machine tunes") as show:
        show("loading the model")
        measured = time_estimate.measure_estimate(sample, lambda steps: show(f"{steps} steps"))
    if measured:
        time_estimate.save_estimate(sample, measured, calibration_file())
    else:
        click.echo("how fast this machine tunes could not be measured", err=True)
    return found._replace(pace=measured)
