"""The input of every data command: files of examples, or a spec that refers to them."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from tuner.data.dataset import FORMATS, Columns, Source
from tuner.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.data.dataset import Turns
    from tuner.errors import Problem
    from tuner.jobspec.load import PartialSpec
    from tuner.tokens import TokenCounter
    from tuner.types import Example, Limits

    F = TypeVar("F", bound=Callable[..., Any])
    RowCounts = dict[str, tuple[int, int]]  # rows and unreadable rows, by file

SPEC_SUFFIXES = (".yaml", ".yml")


class DataInput(NamedTuple):
    """Files of examples, and the settings of the job they are for; ``partial`` is the spec."""

    source: Source
    held: Source | None
    limits: Limits
    instruction: str = ""
    ignore: frozenset[str] = frozenset()
    base_model: str = ""
    partial: PartialSpec | None = None


def rows_of(given: DataInput) -> tuple[list[Example], list[Problem], RowCounts]:
    """Return all readable training rows, the first problems of each rule, and the counts.

    Raises DatasetError if no row is readable.
    """
    from tuner.cli.output import with_progress
    from tuner.data.checks.report import ProblemTally
    from tuner.data.dataset import read
    from tuner.errors import DatasetError, Problem

    examples: list[Example] = []
    problems = ProblemTally()
    counts: RowCounts = {}
    for batch in with_progress(read(given.source)):
        count, unread = counts.get(batch.path, (0, 0))
        counts[batch.path] = count + len(batch.lines), unread + batch.unread()
        examples += batch.examples()
        problems.add_all(batch.problems)
    if not examples:
        paths = ", ".join(map(str, given.source.paths))
        none = Problem(paths, 0, 0, "there are no examples", "add rows", "no-examples")
        raise DatasetError(problems.capped() or [none])
    return examples, problems.capped(), counts


def shortened(text: str, max_chars: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"


def find_counter(given: DataInput, model: str = "") -> TokenCounter | None:
    """Return a token counter of the local target's model, if that is on this machine.

    ``model`` replaces the spec's. Fetches nothing, calls no service and does not load torch.
    """
    from tuner.tokens import open_counter

    target = given.partial.spec.target if given.partial and given.partial.spec else None
    if target and not model and (target.kind != "local" or target.endpoint):
        return None
    name = model or given.base_model
    return open_counter(name, given.instruction) if name else None


def counter_or_default(given: DataInput, model: str = "") -> TokenCounter | None:
    """As ``find_counter``; without a model, the first known one on this machine.

    Raises RequestRefused if ``model`` is not on this machine.
    """
    from tuner.tokens import open_counter

    found = find_counter(given, model)
    if found is None and model:
        from tuner.errors import RequestRefused

        fix = f"fetch it with `tuner models pull {model.removeprefix('models/')}`"
        raise RequestRefused(f"the tokenizer of {model} is not on this machine", fix)
    if found or given.partial:
        return found
    try:
        from tuner.engine import KNOWN_BASE_MODELS
    except ImportError:
        return None
    counters = (open_counter(name, given.instruction) for name in KNOWN_BASE_MODELS)
    return next(filter(None, counters), None)


def data_options(command: F) -> F:
    """Add FILE... and options that override a spec; the command gets a DataInput, ``given``."""

    @wraps(command)
    def configured(*args: Any, **options: Any) -> Any:
        files = [Path(each) for each in options.pop("files")]
        overrides = _Overrides(*(options.pop(name) for name in _Overrides._fields))
        return command(*args, given=_given(files, overrides, options.pop("for_target")), **options)

    for option in reversed(_OPTIONS):
        configured = option(configured)
    return configured  # type: ignore[return-value] # click's decorators keep the callable


def _known_encoding(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    from tuner.data.encoding import is_text_encoding

    if name is not None and not is_text_encoding(name):
        raise click.UsageError(f"{name!r} is not a text encoding; an example is cp1252")
    return name


_OPTIONS = (
    click.argument("files", metavar="FILE...", nargs=-1, required=True),
    click.option("--text-input", metavar="COLUMN", help="Column or key of the input."),
    click.option("--output-column", metavar="COLUMN", help="Column or key of the answer."),
    click.option(
        "--format",
        "data_format",
        type=click.Choice(FORMATS),
        help="Format of the files; default: detected from name and content.",
    ),
    click.option(
        "--encoding", callback=_known_encoding, help="Encoding of text files; default: utf-8."
    ),
    click.option(
        "--multi-turn",
        type=click.Choice(["refuse", "expand"]),
        help="Conversations with several turns: refuse (default), or expand into one example per answer.",
    ),
    click.option(
        "--for",
        "for_target",
        type=click.Choice(list(TARGETS)),
        help="Target whose limits apply; default: the spec's target, or local.",
    ),
)


class _Overrides(NamedTuple):
    """The options that override how files are read."""

    text_input: str | None
    output_column: str | None
    data_format: str | None
    encoding: str | None
    multi_turn: Turns | None

    def apply_to(self, source: Source) -> Source:
        """Apply the options to a source."""
        columns = Columns(
            self.text_input or source.columns.text_input,
            self.output_column or source.columns.output,
        )
        return source._replace(
            columns=columns,
            format=self.data_format or source.format,
            encoding=self.encoding or source.encoding,
            multi_turn=self.multi_turn or source.multi_turn,
        )


def _given(files: Sequence[Path], overrides: _Overrides, target: str | None) -> DataInput:
    """Of a spec, only the data section is read; its other sections may be invalid or missing."""
    specs = [path for path in files if path.suffix.lower() in SPEC_SUFFIXES]
    if not specs:
        limits = TARGETS[target or "local"].limits
        return DataInput(overrides.apply_to(Source(tuple(files))), None, limits)
    if len(files) > 1:
        raise click.UsageError(f"{specs[0]} is a job spec: give no other file with it")
    from tuner.errors import SpecError
    from tuner.jobspec.load import limits_of, read_partial_spec, source_of

    partial = read_partial_spec(specs[0])
    if partial.training_data is None:
        raise SpecError(partial.problems)
    data, evaluation = partial.training_data, partial.evaluation
    source = overrides.apply_to(source_of(data))
    held = (
        source._replace(paths=evaluation.paths, format="auto")
        if evaluation and evaluation.paths
        else None
    )
    return DataInput(
        source,
        held,
        TARGETS[target].limits if target else limits_of(partial),
        data.instruction,
        frozenset(data.ignore),
        base_model=partial.spec.base_model if partial.spec else "",
        partial=partial,
    )
