"""What a tuning takes: its tokens, its steps and its time, found out."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, NamedTuple

import click

from tuner.cli.data_options import rows_of
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
    counter: TokenCounter | None
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
    tokens: TokenEstimate
    too_long: int | None = None
    price: Price | None = None
    pace: TimeEstimate | None = None
    is_remembered: bool = False

    @property
    def total(self) -> int:
        """TokenCounts of all epochs."""
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
    given: DataInput, config: TargetConfig, model: str, epochs: int | None, batch_size: int | None
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
        batch_size
        or (asked and asked.batch_size)
        or BATCH_SIZES[len(examples) >= LARGE_DATASET_EXAMPLES],
    )


def _examples(given: DataInput) -> tuple[Sequence[Example], int]:
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


def _counter(given: DataInput, config: TargetConfig, model: str) -> TokenCounter | None:
    """For the target on this machine, whose model is fetched first where it is not here."""
    if config.kind != "local" or config.endpoint:
        return None
    bare = given._replace(instruction="")  # it is in front of the examples already
    name = model or given.base_model
    if not name:
        return counter_or_usual(bare)
    found = find_counter(bare._replace(draft=None), name)
    if found is None:
        from tuner.cli.models import pull_missing

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
    if job.counter:
        return _counted_here(job, job.counter)
    found = list(job.examples) if every else sample(job.examples)
    inputs = sum(len(each.text_input) for each in job.examples)
    outputs = sum(len(each.output) for each in job.examples)
    pairs = list(zip(found, _asked(job, found), strict=True))
    return Needs(job, estimate(pairs, len(job.examples), inputs, outputs))


def _counted_here(job: Job, counter: TokenCounter) -> Needs:

    prompt = output = longest = too_long = number = 0
    inputs = (each.text_input for each in job.examples)
    outputs = (each.output for each in job.examples)
    with progress("counting tokens") as show:
        for number, each in enumerate(counter.count(inputs, outputs), 1):
            prompt, output = prompt + each.prompt, output + each.output
            longest = max(longest, sum(each))
            too_long += sum(each) > counter.limit
            show(f"{number:,} of {len(job.examples):,} rows")
    return Needs(job, TokenEstimate(prompt, output, 0, 0, number, longest), too_long)


def _asked(job: Job, examples: Sequence[Example]) -> list[TokenCounts]:
    from tuner.cli.target_calls import call

    with progress(f"asking {job.config.endpoint or job.config.kind}") as show:

        def told(done: int) -> None:
            show(f"{done:,} of {len(examples):,} rows")

        async def question(target: Target) -> list[TokenCounts]:
            return await count(target, job.model, examples, told)

        return call(job.config, question)


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


SAMPLE_ROWS = 300
MAX_CALLS_IN_FLIGHT = 16
"""Calls in flight: enough to hide their way there and back, far below what a service allows."""
_Z_95 = 1.96
"""Standard errors to both sides that hold 95 of 100 true values."""


class TokenEstimate(NamedTuple):
    """TokenCounts of all rows, and by how much that may be off, in 95 of 100 cases.

    ``prompt_error`` and ``output_error`` are 0 when all rows were counted.
    """

    prompt: int
    output: int
    prompt_error: int
    output_error: int
    counted: int
    longest: int


async def count(
    target: Target, model: str, examples: Sequence[Example], show: Callable[[int], None]
) -> list[TokenCounts]:
    """Ask for every example, some at a time.

    An output is counted as what it adds to its prompt: what the service puts around a turn is not
    counted twice. The first refusal ends it, and is raised as the service gave it.
    """
    gate, done = asyncio.Semaphore(MAX_CALLS_IN_FLIGHT), 0

    async def one(example: Example) -> TokenCounts:
        nonlocal done
        async with gate:
            prompt = await target.count_tokens(model, example.text_input)
            both = await target.count_tokens(model, example.text_input + example.output)
        done += 1
        show(done)
        return TokenCounts(prompt, max(0, both - prompt))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(each)) for each in examples]
    except ExceptionGroup as refusals:
        raise refusals.exceptions[0] from None
    return [task.result() for task in tasks]


def sample(examples: Sequence[Example], most: int = SAMPLE_ROWS) -> list[Example]:
    """So many of the examples, drawn by chance, the same ones every time."""
    if len(examples) <= most:
        return list(examples)
    chosen = random.Random(0).sample(range(len(examples)), most)  # noqa: S311 -- no secret
    return [examples[at] for at in sorted(chosen)]


def estimate(
    counted: Sequence[tuple[Example, TokenCounts]], rows: int, input_chars: int, output_chars: int
) -> TokenEstimate:
    """From at least one row to all: tokens grow with characters, which are known of all rows.

    Regression estimates, with the finite population's correction (Cochran, Sampling Techniques,
    ch. 7).

    Args:
        counted: A sample, or all.
        rows: How many there are.
        input_chars: Of all rows together.
        output_chars: Likewise.
    """
    prompts = [(len(example.text_input), tokens.prompt) for example, tokens in counted]
    outputs = [(len(example.output), tokens.output) for example, tokens in counted]
    prompt, prompt_error = _extended(prompts, rows, input_chars)
    output, output_error = _extended(outputs, rows, output_chars)
    longest = max(sum(tokens) for _, tokens in counted)
    return TokenEstimate(prompt, output, prompt_error, output_error, len(counted), longest)


def _extended(pairs: Sequence[tuple[int, int]], rows: int, all_chars: int) -> tuple[int, int]:
    """The sum of tokens over all rows, and half the width of its interval."""
    n = len(pairs)
    chars, tokens = (sum(column) / n for column in zip(*pairs, strict=True))
    spread = sum((x - chars) ** 2 for x, _ in pairs)
    slope = sum((x - chars) * (y - tokens) for x, y in pairs) / spread if spread else 0.0
    off = sum((y - tokens - slope * (x - chars)) ** 2 for x, y in pairs) / max(1, n - 2)
    error = rows * (off * (1 - n / rows) / n) ** 0.5
    return round(rows * tokens + slope * (all_chars - rows * chars)), round(_Z_95 * error)


def find_counter(given: DataInput, model: str = "") -> TokenCounter | None:
    """A counter for a model of the local target, if its files are here.

    Nothing is fetched, no service is asked, torch is not loaded.

    Args:
        given: Its instruction is counted; a spec that names another service has no counter.
        model: ``models/ID`` or the ID, in place of the one that the spec names.
    """
    from tuner.tokens import open_counter

    target = given.draft.spec.target if given.draft and given.draft.spec else None
    if target and not model and (target.kind != "local" or target.endpoint):
        return None
    name = model or given.base_model
    return open_counter(name, given.instruction) if name else None


def counter_or_usual(given: DataInput, model: str = "") -> TokenCounter | None:
    """The same, and where nothing names a model: the first of those known that is here.

    Raises:
        RequestRefused: ``model`` was named, and is not here.
    """
    from tuner.tokens import open_counter

    found = find_counter(given, model)
    if found is None and model:
        from tuner.errors import RequestRefused

        fix = f"fetch it with `tuner models pull {model.removeprefix('models/')}`"
        raise RequestRefused(f"the tokenizer of {model} is not on this machine", fix)
    if found or given.draft:
        return found
    try:
        from tuner.engine import KNOWN_BASE_MODELS
    except ImportError:
        return None
    counters = (open_counter(name, given.instruction) for name in KNOWN_BASE_MODELS)
    return next(filter(None, counters), None)
