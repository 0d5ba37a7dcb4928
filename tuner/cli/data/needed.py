"""What a tuning takes, shown to people or told to programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tuner.cli.data.needs import Needs

_MINUTE_S, _HOUR_S = 60, 3600
_EXACT_MINUTES_S = 600
"""Below ten minutes a forecast is told in tens of seconds, above in minutes."""


def record(found: Needs) -> dict[str, Any]:
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
    from tuner.cli.show import show

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
