"""`tuner data stats`: lengths and outputs of examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuner.cli.data_options import data_options, shortened
from tuner.cli.options import output_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.cli.data_options import DataInput
    from tuner.data.summary import Label, Stats
    from tuner.tokens import TokenCounter

_COLUMNS = ("min", "p5", "p50", "p95", "p99", "max", "mean")
_STEPS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BAR_CHARS = 24
_LABEL_CHARS = 40


@click.command()
@data_options
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write an HTML page with charts; it contains no inputs.",
)
@click.option("--force", is_flag=True, help="Overwrite an existing FILE.")
@click.option(
    "--model", default="", metavar="MODEL", help="Model whose tokenizer counts (models/ID)."
)
@output_option
def stats(given: DataInput, page: Path | None, model: str, output: str, *, force: bool) -> None:
    """Show the lengths and outputs of examples.

    p95 is the smallest length that 95 % of the rows do not exceed. Tokens are counted if the tokenizer is
    on this machine; prompts include the chat template and the instruction.
    """
    from tuner.cli.data_options import counter_or_default
    from tuner.cli.output import show

    counter = counter_or_default(given, model)
    found = _measured(given, counter)
    if page:
        _write(page, found, given, counter, force=force)
    if output == "table":
        click.echo("\n".join(_lines(found, counter)))
    else:
        show(_record(found, counter), output)


def _measured(given: DataInput, counter: TokenCounter | None) -> Stats:
    from tuner.cli.output import with_progress
    from tuner.data.checks.report import ProblemTally
    from tuner.data.dataset import read
    from tuner.data.summary import StatsCollector
    from tuner.errors import DatasetError

    tally, problems = StatsCollector(counter.count if counter else None), ProblemTally()
    for batch in with_progress(read(given.source)):
        tally.add(batch)
        problems.add_all(batch.problems)
    found = tally.stats()
    if problems.counts and not found.rows:
        raise DatasetError(problems.capped())
    if problems.counts:
        click.echo(f"{found.unreadable:,} unreadable rows; `tuner data check` lists them", err=True)
    return found._replace(held_out=_held_out(given))


def _held_out(given: DataInput) -> int | None:
    """Number of held-out rows of a run; None if there is no spec or no holdout."""
    from tuner.data.dataset import read
    from tuner.data.holdout import split

    evaluation = given.partial.evaluation if given.partial else None
    if given.held:
        return sum(len(batch.lines) for batch in read(given.held))
    if evaluation is None or evaluation.holdout is None:
        return None
    rows = [each for batch in read(given.source) for each in batch.examples()]
    return len(split(rows, evaluation.holdout, stratify=evaluation.stratify)[1])


def _write(
    page: Path, found: Stats, given: DataInput, counter: TokenCounter | None, *, force: bool
) -> None:
    from tuner.data.export import write_page
    from tuner.data.summary import summary_page

    names = ", ".join(path.name for path in given.source.paths)
    about = (
        f"Tokens as {counter.model} counts them." if counter else "No tokenizer is on this machine."
    )
    text = summary_page(found, names, about, counter.limit if counter else 0)
    write_page(page, text, force=force, inputs=given.source.paths)
    click.echo(f"wrote {page}", err=True)


def _record(found: Stats, counter: TokenCounter | None) -> dict[str, Any]:
    record = found._asdict()
    record |= {
        name: each._asdict() | {"bins": [one._asdict() for one in each.bins]}
        for name, each in found.lengths.items()
    }
    record["labels"] = [each._asdict() for each in found.labels]
    limit = {"model": counter.model, "limit": counter.limit} if counter else None
    return record | {"tokenizer": limit}


def _lines(found: Stats, counter: TokenCounter | None) -> Iterator[str]:
    for name, rows, share in found.facts():
        yield f"{name:14}{rows:>10,}" + (f"  {share:6.1%}" if share else "")
    if found.rows:
        yield ""
        yield from _aligned(_table(found))
    if counter:
        yield f"tokens counted by {counter.model}, which takes {counter.limit:,} per example;"
        yield "prompts include template and instruction, outputs the end of the turn"
    if found.labels:
        yield ""
        yield from _aligned(_bars(found.labels))


def _table(found: Stats) -> list[list[str]]:
    rows = [["", *_COLUMNS, ""]]
    for name, each in found.lengths.items():
        unit = "" if name.endswith("tokens") else " characters"
        figures = [f"{getattr(each, key):,}" for key in _COLUMNS[:-1]]
        top = max(one.rows for one in each.bins)
        histogram = "".join(_STEPS[-(-one.rows * 8 // top)] for one in each.bins)
        rows.append([name.replace("_", " ") + unit, *figures, f"{each.mean:,.1f}", histogram])
    return rows


def _bars(labels: Sequence[Label]) -> list[list[str]]:
    from tuner.cli.output import cell

    total, most = sum(each.rows for each in labels), labels[0].rows
    rows = [["output", "rows", "share", ""]]
    for each in labels:
        eighths = max(1, round(each.rows / most * _BAR_CHARS * 8))
        bar = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
        name = shortened(cell(each.output) or "(empty)", _LABEL_CHARS)
        rows.append([name, f"{each.rows:,}", f"{each.rows / total:.1%}", bar])
    return rows


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *numbers, last in rows:
        padded = [each.rjust(width) for each, width in zip(numbers, widths[1:-1], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *padded, last]).rstrip()
