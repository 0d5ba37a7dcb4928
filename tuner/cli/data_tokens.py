"""data tokens: how many tokens a tuning takes, how many steps, and how long or what price."""

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
    from tuner.cli.data_token_estimate import Needs
    from tuner.errors import Problem
    from tuner.types import TargetConfig
    from tuner.yaml_source import Document


@click.command()
@data_options
@click.option("--model", default="", metavar="MODEL", help="To be tuned: models/ID, or the ID.")
@click.option(
    "--epochs", type=click.IntRange(1), help="Passes over the rows; else the spec's, or 5."
)
@click.option(
    "--batch-size", type=click.IntRange(1), help="Rows a step; else the spec's, or 4 or 16."
)
@click.option(
    "--prices",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What a million training tokens cost, by model; docs/prices.yaml is an example.",
)
@click.option(
    "--all", "every", is_flag=True, help="Ask the service for every row, not for a sample."
)
@click.option("--no-time", is_flag=True, help="Do not measure how fast this machine tunes.")
@click.option("--again", is_flag=True, help="Measure it again, in place of what is remembered.")
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
    """Say how many tokens and steps a tuning takes, and how long or what price.

    Rows that are held out are not counted. The tokenizer on this machine counts, or else the
    service: then a sample of rows, and what it tells of all with the error that 95 of 100 such
    samples keep to. The time on this machine is measured with some real steps, at most some 15
    seconds, and remembered in TUNER_HOME.
    """
    from tuner.cli import data_token_estimate
    from tuner.cli.output import show

    job = data_token_estimate.job_of(given, _config(given, config), model, epochs, batch_size)
    price = read_price(prices, job.model) if prices else None
    found = data_token_estimate.counted(job, every=every)._replace(price=price)
    if job.counter and not no_time:
        found = data_token_estimate.timed(found, again=again)
    if output == "table":
        show_needs(found)
    else:
        show(needs_record(found), output)


def _config(given: DataInput, config: TargetConfig) -> TargetConfig:
    """The options', or the spec's where nothing was said."""
    source = click.get_current_context().get_parameter_source("kind")
    is_said = source is click.core.ParameterSource.COMMANDLINE or config.endpoint
    spec = given.draft.spec if given.draft else None
    return config if is_said or not spec else spec.target


_MINUTE_S, _HOUR_S = 60, 3600
_EXACT_MINUTES_S = 600
"""Below ten minutes a forecast is told in tens of seconds, above in minutes."""


def needs_record(found: Needs) -> dict[str, Any]:
    """For programs; what is null is not known."""
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


def show_needs(found: Needs) -> None:
    """A table of tokens, and a line for each other thing that is known."""
    from tuner.cli.output import show

    job, tokens = found.job, found.tokens
    parts = (
        ("prompts", tokens.prompt, tokens.prompt_error),
        ("outputs", tokens.output, tokens.output_error),
        ("together", tokens.prompt + tokens.output, round(found.error / job.epochs)),
    )
    times = f"{job.epochs}_epochs"
    show(
        [
            {
                "tokens": name,
                "a_row": f"{number / len(job.examples):,.1f}",
                "all_rows": _give_or_take(number, error),
                **(
                    {times: _give_or_take(number * job.epochs, error * job.epochs)}
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


def _facts(found: Needs) -> dict[str, str]:
    job = found.job
    held = f", and {job.held_out:,} held out" if job.held_out else ""
    facts = {
        "rows": f"{len(job.examples):,}{held}",
        "steps": f"{job.steps:,}: {_many(job.epochs, 'epoch')} in batches of {job.batch_size}",
        "counted": _counted(found),
        "longest example": _longest(found),
    }
    if found.seconds is not None:
        facts["time on this machine"] = _time(found)
    if found.price:
        facts["price"] = _price(found)
    return facts


def _counted(found: Needs) -> str:
    job, tokens = found.job, found.tokens
    if job.counter:
        return f"every row, by the tokenizer of {job.model}"
    rows = len(job.examples)
    which = "every row" if tokens.counted == rows else f"{tokens.counted:,} of {rows:,} rows"
    more = "" if tokens.counted == rows else "; --all asks for every row"
    return f"{which}, by {job.config.endpoint or job.config.kind} for {job.model}{more}"


def _longest(found: Needs) -> str:
    tokens, counter = found.tokens, found.job.counter
    if counter is None:
        return f"{tokens.longest:,} tokens among those counted"
    said = f"{tokens.longest:,} tokens, the model takes {counter.limit:,}"
    if found.too_long:
        said += f": {found.too_long:,} rows are too long, and the tuning is refused"
    return said


def _time(found: Needs) -> str:
    pace, seconds = found.pace, found.seconds
    if pace is None or seconds is None:
        return ""
    a_step = (seconds - pace.start_s) / found.job.steps
    how = f"{_many(pace.steps, 'step')} measured, {_many(pace.threads, 'thread')}"
    said = f"about {length(seconds)}, without evaluation; {a_step:.2g} s a step, {how}"
    return f"{said} (earlier; --again measures anew)" if found.is_remembered else said


def length(seconds: float) -> str:
    """A forecast, no more exact than it can be: 40 s, 3 min 20 s, 25 min, 2 h 10 min."""
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


def _price(found: Needs) -> str:
    if found.price is None:
        return ""
    price, off = found.price, ""
    if found.error:
        off = f", give or take {price.of(found.error):,.2f}"
    return (
        f"{price.of(found.total):,.2f} {price.currency}{off}"
        f" ({found.total:,} tokens at {price.per_million:,.2f} a million)"
    )


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _give_or_take(number: int, error: int) -> str:
    return f"{number:,} ± {error:,}" if error else f"{number:,}"


MILLION = 1_000_000
_FORM = "write `currency: USD` and `models: {models/NAME: 8.00}`, per million training tokens"


class Price(NamedTuple):
    """What a million training tokens cost."""

    per_million: float
    currency: str

    def of(self, tokens: int) -> float:
        """What so many cost, all epochs counted."""
        return tokens * self.per_million / MILLION


def read_price(path: Path, model: str) -> Price:
    """The price of a model, named with or without ``models/``.

    Raises:
        SpecError: The file is no such table, or does not have the model.
    """
    from tuner.yaml_source import read_document

    document = read_document(path)
    problems = [*document.problems, *_problems(document)]
    if problems:
        raise SpecError(problems)
    value: Any = document.value  # looked at, just now
    short = model.rpartition("/")[2]
    for name, price in value["models"].items():
        if name.rpartition("/")[2] == short:
            return Price(float(price), value["currency"])
    known = ", ".join(value["models"]) or "none"
    what = f"there is no price of {model}; there is {known}"
    raise SpecError([document.problem(("models",), what, _FORM, "no-price")])


def _problems(document: Document) -> Iterator[Problem]:
    value: Any = document.value
    if not isinstance(value, dict) or not isinstance(value.get("models"), dict):
        yield document.problem((), "is no table of prices", _FORM, "bad-prices")
        return
    if not isinstance(value.get("currency"), str):
        yield document.problem(("currency",), "names no currency", _FORM, "bad-prices")
    for name, price in value["models"].items():
        if isinstance(price, bool) or not isinstance(price, int | float) or price < 0:
            what = f"the price of {name} is no number of 0 or more"
            yield document.problem(("models", name), what, _FORM, "bad-prices")
