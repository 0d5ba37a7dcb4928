"""`tuner data tokens`: the tokens, steps, time and price of a tuning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tuner.cli.data_options import data_options
from tuner.cli.options import output_option, target_options
from tuner.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.cli.data_options import DataInput
    from tuner.cli.data_token_estimate import TuningEstimate
    from tuner.errors import Problem
    from tuner.types import TargetConfig
    from tuner.yaml_source import Document


@click.command()
@data_options
@click.option(
    "--model", default="", metavar="MODEL", help="The model to tune: models/ID, or the ID."
)
@click.option(
    "--epochs", type=click.IntRange(1), help="Number of epochs; default: the spec's, or 5."
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Rows per training step; default: the spec's, or 4 or 16.",
)
@click.option(
    "--prices",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Prices per million training tokens, by model; see docs/prices.yaml.",
)
@click.option(
    "--all", "every", is_flag=True, help="Count every row with the service, not a sample."
)
@click.option("--no-time", is_flag=True, help="Do not measure the speed of this machine.")
@click.option("--again", is_flag=True, help="Measure again, instead of using the cached result.")
@target_options
@output_option
def tokens(  # noqa: PLR0913 -- what for, and how
    given: DataInput,
    *,
    config: TargetConfig,
    model: str,
    epochs: int | None,
    batch_size: int | None,
    prices: Path | None,
    every: bool,
    no_time: bool,
    again: bool,
    output: str,
) -> None:
    """Show the tokens, steps, time and price of a tuning.

    Held-out rows are not counted. Tokens are counted with the tokenizer on this machine, or else
    estimated from a sample counted by the service, with a 95 % interval. The time on this machine is
    measured with a few real training steps (about 15 seconds) and cached in TUNER_HOME.
    """
    from tuner.cli import data_token_estimate
    from tuner.cli.output import show

    job = data_token_estimate.job_of(given, _config(given, config), model, epochs, batch_size)
    price = read_price(prices, job.model) if prices else None
    found = data_token_estimate.counted(job, every=every)._replace(price=price)
    if job.counter and not no_time:
        found = data_token_estimate.timed(found, again=again)
    if output == "table":
        show_estimate(found)
    else:
        show(estimate_record(found), output)


def _config(given: DataInput, config: TargetConfig) -> TargetConfig:
    """The target of the options, or of the spec."""
    source = click.get_current_context().get_parameter_source("kind")
    is_given = source is click.core.ParameterSource.COMMANDLINE or config.endpoint
    spec = given.partial.spec if given.partial else None
    return config if is_given or not spec else spec.target


_MINUTE_S, _HOUR_S = 60, 3600
_EXACT_MINUTES_S = 600  # below, estimates are rounded to 10 s, above to minutes


def estimate_record(found: TuningEstimate) -> dict[str, Any]:
    """Return the estimate as a record; null means unknown."""
    job, tokens = found.job, found.tokens
    return {
        "model": job.model,
        "counted_by": "tokenizer" if job.counter else job.config.kind,
        "rows": len(job.examples),
        "rows_counted": tokens.counted,
        "rows_held_out": job.held_out,
        "prompt_tokens": tokens.prompt,
        "output_tokens": tokens.output,
        "longest_example": tokens.longest,
        "limit": job.counter.limit if job.counter else None,
        "too_long": found.too_long,
        "epochs": job.epochs,
        "batch_size": job.batch_size,
        "steps": job.steps,
        "total_tokens": found.total,
        "error": found.error,
        "seconds": round(found.seconds, 1) if found.seconds is not None else None,
        "pace": found.pace._asdict() if found.pace else None,
        "price": round(found.price.of(found.total), 6) if found.price else None,
        "currency": found.price.currency if found.price else None,
    }


def show_estimate(found: TuningEstimate) -> None:
    """Print a table of tokens, and the other figures that are known."""
    from tuner.cli.output import show

    job, tokens = found.job, found.tokens
    parts = (
        ("prompts", tokens.prompt, tokens.prompt_error),
        ("outputs", tokens.output, tokens.output_error),
        ("together", tokens.prompt + tokens.output, round(found.error / job.epochs)),
    )
    column = f"{job.epochs}_epochs"
    show(
        [
            {
                "tokens": name,
                "a_row": f"{number / len(job.examples):,.1f}",
                "all_rows": _with_error(number, error),
                **(
                    {column: _with_error(number * job.epochs, error * job.epochs)}
                    if job.epochs > 1
                    else {}
                ),
            }
            for name, number, error in parts
        ],
        "table",
    )
    click.echo()
    show(_facts(found), "table")


def _facts(found: TuningEstimate) -> dict[str, str]:
    job = found.job
    held = f", and {job.held_out:,} held out" if job.held_out else ""
    facts = {
        "rows": f"{len(job.examples):,}{held}",
        "steps": f"{job.steps:,}: {_plural(job.epochs, 'epoch')} in batches of {job.batch_size}",
        "counted": _counted(found),
        "longest example": _longest(found),
    }
    if found.seconds is not None:
        facts["time on this machine"] = _time(found)
    if found.price:
        facts["price"] = _price(found)
    return facts


def _counted(found: TuningEstimate) -> str:
    job, tokens = found.job, found.tokens
    if job.counter:
        return f"every row, by the tokenizer of {job.model}"
    rows = len(job.examples)
    which = "every row" if tokens.counted == rows else f"{tokens.counted:,} of {rows:,} rows"
    more = "" if tokens.counted == rows else "; --all counts every row"
    return f"{which}, by {job.config.endpoint or job.config.kind} for {job.model}{more}"


def _longest(found: TuningEstimate) -> str:
    tokens, counter = found.tokens, found.job.counter
    if counter is None:
        return f"{tokens.longest:,} tokens in the sample"
    text = f"{tokens.longest:,} tokens, the model takes {counter.limit:,}"
    if found.too_long:
        text += f": {found.too_long:,} rows are too long, and the tuning would be rejected"
    return text


def _time(found: TuningEstimate) -> str:
    pace, seconds = found.pace, found.seconds
    if pace is None or seconds is None:
        return ""
    step_s = (seconds - pace.start_s) / found.job.steps
    how = f"{_plural(pace.steps, 'step')} measured, {_plural(pace.threads, 'thread')}"
    text = f"about {format_duration(seconds)}, without evaluation; {step_s:.2g} s per step, {how}"
    return f"{text} (cached; --again measures again)" if found.is_cached else text


def format_duration(seconds: float) -> str:
    """Format an estimate with sensible precision: 40 s, 3 min 20 s, 25 min, 2 h 10 min."""
    if seconds < _MINUTE_S:
        return f"{max(1, round(seconds))} s"
    if seconds < _EXACT_MINUTES_S:
        minutes, rest = divmod(round(seconds, -1), _MINUTE_S)
        return f"{minutes:.0f} min {rest:.0f} s" if rest else f"{minutes:.0f} min"
    minutes = round(seconds / _MINUTE_S)
    if seconds < _HOUR_S:
        return f"{minutes} min"
    hours, rest = divmod(round(minutes, -1), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def _price(found: TuningEstimate) -> str:
    if found.price is None:
        return ""
    price = found.price
    off = f" ± {price.of(found.error):,.2f}" if found.error else ""
    return (
        f"{price.of(found.total):,.2f} {price.currency}{off}"
        f" ({found.total:,} tokens at {price.per_million:,.2f} per million)"
    )


def _plural(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _with_error(number: int, error: int) -> str:
    return f"{number:,} ± {error:,}" if error else f"{number:,}"


MILLION = 1_000_000
_FORM = "write `currency: USD` and `models: {models/NAME: 8.00}`, per million training tokens"


class Price(NamedTuple):
    """The price of a million training tokens."""

    per_million: float
    currency: str

    def of(self, tokens: int) -> float:
        """Return the price of a number of tokens, summed over epochs."""
        return tokens * self.per_million / MILLION


def read_price(path: Path, model: str) -> Price:
    """Read the price of a model, with or without ``models/``.

    Raises:
        SpecError: The file is invalid, or has no price of the model.
    """
    from tuner.yaml_source import read_document

    document = read_document(path)
    problems = [*document.problems, *_problems(document)]
    if problems:
        raise SpecError(problems)
    value: Any = document.value  # checked above
    short = model.rpartition("/")[2]
    for name, price in value["models"].items():
        if name.rpartition("/")[2] == short:
            return Price(float(price), value["currency"])
    known = ", ".join(value["models"]) or "none"
    what = f"there is no price of {model}, only of {known}"
    raise SpecError([document.problem(("models",), what, _FORM, "no-price")])


def _problems(document: Document) -> Iterator[Problem]:
    value: Any = document.value
    if not isinstance(value, dict) or not isinstance(value.get("models"), dict):
        yield document.problem((), "is not a table of prices", _FORM, "bad-prices")
        return
    if not isinstance(value.get("currency"), str):
        yield document.problem(("currency",), "has no currency", _FORM, "bad-prices")
    for name, price in value["models"].items():
        if isinstance(price, bool) or not isinstance(price, int | float) or price < 0:
            what = f"the price of {name} is not a number of 0 or more"
            yield document.problem(("models", name), what, _FORM, "bad-prices")
