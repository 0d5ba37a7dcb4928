"""Count or estimate the tokens of a tuning, and the time it takes on this machine."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, NamedTuple

import click

from tuner.cli.data_options import counter_or_default, find_counter, rows_of
from tuner.cli.output import is_quiet, progress
from tuner.jobspec.prepared_job import (
    BATCH_SIZES,
    DEFAULT_EPOCHS,
    LARGE_DATASET_EXAMPLES,
    total_steps,
)
from tuner.tokens import TokenCounts
from tuner.types import Hyperparameters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.cli.data_options import DataInput
    from tuner.cli.data_tokens import Price
    from tuner.engine.time_estimate import TimeEstimate
    from tuner.targets import Target
    from tuner.tokens import TokenCounter
    from tuner.types import Example, TargetConfig


class TokenJob(NamedTuple):
    """The tuning to estimate; ``counter`` is None if the service has to count."""

    config: TargetConfig
    model: str
    counter: TokenCounter | None
    examples: Sequence[Example]
    held_out: int
    epochs: int
    batch_size: int

    @property
    def steps(self) -> int:
        """Number of training steps; the last batch of an epoch may be smaller."""
        parameters = Hyperparameters(self.epochs, self.batch_size)
        return total_steps(len(self.examples), parameters)


class TuningEstimate(NamedTuple):
    """The estimate; None means unknown. ``tokens`` are those of one epoch."""

    job: TokenJob
    tokens: TokenEstimate
    too_long: int | None = None
    price: Price | None = None
    pace: TimeEstimate | None = None
    is_cached: bool = False

    @property
    def total(self) -> int:
        """Tokens of all epochs."""
        return (self.tokens.prompt + self.tokens.output) * self.job.epochs

    @property
    def error(self) -> int:
        """Half the width of the 95 % interval of ``total``."""
        both = (self.tokens.prompt_error**2 + self.tokens.output_error**2) ** 0.5
        return round(float(both) * self.job.epochs)

    @property
    def seconds(self) -> float | None:
        """Duration on this machine, including the start of the process."""
        return self.pace.seconds(self.job.steps, self.total) if self.pace else None


def job_of(
    given: DataInput, config: TargetConfig, model: str, epochs: int | None, batch_size: int | None
) -> TokenJob:
    """Read the training rows; combine options, spec and defaults. Raises UsageError."""
    examples, held_out = _examples(given)
    spec = given.partial.spec if given.partial else None
    parameters = spec.hyperparameters if spec else None
    counter = _counter(given, config, model)
    named = counter.model if counter else model or given.base_model
    named = named or (spec.tuned_model_source if spec else "")
    if not named:
        raise click.UsageError(
            "the model to tune is missing: add --model models/ID (`tuner models list` lists them)"
        )
    return TokenJob(
        config,
        named if "/" in named else f"models/{named}",
        counter,
        examples,
        held_out,
        epochs or (parameters and parameters.epoch_count) or DEFAULT_EPOCHS,
        batch_size
        or (parameters and parameters.batch_size)
        or BATCH_SIZES[len(examples) >= LARGE_DATASET_EXAMPLES],
    )


def _examples(given: DataInput) -> tuple[Sequence[Example], int]:
    from tuner.data.holdout import split
    from tuner.jobspec.load import with_instruction

    rows, problems, _ = rows_of(given)
    if problems:
        click.echo("unreadable rows are not counted; `tuner data check` lists them", err=True)
    evaluation = given.partial.evaluation if given.partial else None
    held: Sequence[Example] = ()
    if evaluation and evaluation.holdout is not None:
        train, held = split(rows, evaluation.holdout, stratify=evaluation.stratify)
        rows = list(train)
    return list(with_instruction(rows, given.instruction)), len(held)


def _counter(given: DataInput, config: TargetConfig, model: str) -> TokenCounter | None:
    if config.kind != "local" or config.endpoint:
        return None
    bare = given._replace(instruction="")  # already part of the examples
    name = model or given.base_model
    if not name:
        return counter_or_default(bare)
    found = find_counter(bare._replace(partial=None), name)
    if found is None:
        from tuner.cli.models import pull_missing

        pull_missing([name if "/" in name else f"models/{name}"], quiet=is_quiet())
        found = find_counter(bare._replace(partial=None), name)
    return found


def counted(job: TokenJob, *, every: bool) -> TuningEstimate:
    """Count tokens on this machine, or with the service: a sample, or ``every`` row."""
    if job.counter:
        return _counted_here(job, job.counter)
    found = list(job.examples) if every else sample(job.examples)
    inputs = sum(len(each.text_input) for each in job.examples)
    outputs = sum(len(each.output) for each in job.examples)
    from tuner.cli.target_calls import call

    with progress(f"counting with {job.config.endpoint or job.config.kind}") as show:

        def show_count(done: int) -> None:
            show(f"{done:,} of {len(found):,} rows")

        counts = call(job.config, lambda target: count(target, job.model, found, show_count))
    pairs = list(zip(found, counts, strict=True))
    return TuningEstimate(job, estimate(pairs, len(job.examples), inputs, outputs))


def _counted_here(job: TokenJob, counter: TokenCounter) -> TuningEstimate:

    prompt = output = longest = too_long = number = 0
    inputs = (each.text_input for each in job.examples)
    outputs = (each.output for each in job.examples)
    with progress("counting tokens") as show:
        for number, each in enumerate(counter.count(inputs, outputs), 1):
            prompt, output = prompt + each.prompt, output + each.output
            longest = max(longest, sum(each))
            too_long += sum(each) > counter.limit
            show(f"{number:,} of {len(job.examples):,} rows")
    return TuningEstimate(job, TokenEstimate(prompt, output, 0, 0, number, longest), too_long)


def timed(found: TuningEstimate, *, again: bool) -> TuningEstimate:
    """Add the time on this machine: cached, or measured now."""
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
        return found._replace(pace=known, is_cached=True)
    with progress("measuring the speed of this machine") as show:
        show("loading the model")
        measured = time_estimate.measure_estimate(sample, lambda steps: show(f"{steps} steps"))
    if measured:
        time_estimate.save_estimate(sample, measured, calibration_file())
    else:
        click.echo("the speed of this machine could not be measured", err=True)
    return found._replace(pace=measured)


SAMPLE_ROWS = 300
MAX_CALLS_IN_FLIGHT = 16  # hides network latency, and is far below services' limits
_Z_95 = 1.96  # standard errors on both sides of a 95 % interval


class TokenEstimate(NamedTuple):
    """Tokens of all rows; ``error`` values are half the 95 % interval, or 0 if exact."""

    prompt: int
    output: int
    prompt_error: int
    output_error: int
    counted: int
    longest: int


async def count(
    target: Target, model: str, examples: Sequence[Example], show: Callable[[int], None]
) -> list[TokenCounts]:
    """Count each example with the service, in parallel. Raises the service's first error.

    An output counts what it adds to its prompt, so tokens around a turn are not counted twice.
    """
    semaphore, done = asyncio.Semaphore(MAX_CALLS_IN_FLIGHT), 0

    async def one(example: Example) -> TokenCounts:
        nonlocal done
        async with semaphore:
            prompt = await target.count_tokens(model, example.text_input)
            both = await target.count_tokens(model, example.text_input + example.output)
        done += 1
        show(done)
        return TokenCounts(prompt, max(0, both - prompt))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each)) for each in examples]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def sample(examples: Sequence[Example], most: int = SAMPLE_ROWS) -> list[Example]:
    """Draw a random sample, the same one every time."""
    if len(examples) <= most:
        return list(examples)
    chosen = random.Random(0).sample(range(len(examples)), most)  # noqa: S311 -- not a secret
    return [examples[at] for at in sorted(chosen)]


def estimate(
    counted: Sequence[tuple[Example, TokenCounts]], rows: int, input_chars: int, output_chars: int
) -> TokenEstimate:
    """Estimate the tokens of all rows from a sample, by their characters.

    A regression estimate with finite population correction (Cochran, Sampling Techniques, ch. 7).
    """
    prompts = [(len(example.text_input), tokens.prompt) for example, tokens in counted]
    outputs = [(len(example.output), tokens.output) for example, tokens in counted]
    prompt, prompt_error = _extended(prompts, rows, input_chars)
    output, output_error = _extended(outputs, rows, output_chars)
    longest = max(sum(tokens) for _, tokens in counted)
    return TokenEstimate(prompt, output, prompt_error, output_error, len(counted), longest)


def _extended(pairs: Sequence[tuple[int, int]], rows: int, all_chars: int) -> tuple[int, int]:
    n = len(pairs)
    chars, tokens = (sum(column) / n for column in zip(*pairs, strict=True))
    spread = sum((x - chars) ** 2 for x, _ in pairs)
    slope = sum((x - chars) * (y - tokens) for x, y in pairs) / spread if spread else 0.0
    off = sum((y - tokens - slope * (x - chars)) ** 2 for x, y in pairs) / max(1, n - 2)
    error = rows * (off * (1 - n / rows) / n) ** 0.5
    return round(rows * tokens + slope * (all_chars - rows * chars)), round(_Z_95 * error)
