"""What every data command is given: files of examples, or a spec that says where they are."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from tuner.data import FORMATS, Columns, Source
from tuner.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner.data import Turns
    from tuner.errors import Problem
    from tuner.jobspec.load import PartialSpec
    from tuner.types import Example, Limits

    F = TypeVar("F", bound=Callable[..., Any])

SPEC_SUFFIXES = (".yaml", ".yml")


class DataInput(NamedTuple):
    """Examples, and what is known about the job they are for.

    Attributes:
        source: To tune on.
        held: To evaluate with; None unless a spec names a file for that.
        limits: What the target takes.
        instruction: Put in front of every text_input.
        ignore: Rules that are switched off.
        base_model: ``models/ID`` of the spec, or empty.
        draft: The spec, or None.
    """

    source: Source
    held: Source | None
    limits: Limits
    instruction: str = ""
    ignore: frozenset[str] = frozenset()
    base_model: str = ""
    draft: PartialSpec | None = None


def rows_of(given: DataInput) -> tuple[list[Example], list[Problem]]:
    """Every row to tune on, and what is wrong with those that cannot be read, the first of each kind.

    Raises:
        DatasetError: No row can be read.
    """
    from tuner.cli.output import with_progress
    from tuner.data import read
    from tuner.data.checks.report import ProblemTally
    from tuner.errors import DatasetError, Problem

    examples: list[Example] = []
    problems = ProblemTally()
    for batch in with_progress(read(given.source)):
        examples += batch.examples()
        problems.add_all(batch.problems)
    if not examples:
        paths = ", ".join(map(str, given.source.paths))
        none = Problem(paths, 0, 0, "there are no examples", "add rows", "no-examples")
        raise DatasetError(problems.capped() or [none])
    return examples, problems.capped()


def data_options(command: F) -> F:
    """Add FILE... and how to read them, whatever a spec says; the command gets one ``given``."""

    @wraps(command)
    def configured(*args: Any, **options: Any) -> Any:
        files = [Path(each) for each in options.pop("files")]
        said = _Said(*(options.pop(name) for name in _Said._fields))
        return command(*args, given=_given(files, said, options.pop("for_target")), **options)

    for option in reversed(_OPTIONS):
        configured = option(configured)
    return configured  # type: ignore[return-value] # click's decorators keep the callable


def _known_encoding(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    from tuner.data.formats.encodings import is_of_text

    if name is not None and not is_of_text(name):
        raise click.UsageError(f"{name!r} is no encoding of text; cp1252, say, is one")
    return name


_OPTIONS = (
    click.argument("files", metavar="FILE...", nargs=-1, required=True),
    click.option("--text-input", metavar="COLUMN", help="The column or key of the input."),
    click.option("--output-column", metavar="COLUMN", help="The column or key of the answer."),
    click.option(
        "--format",
        "data_format",
        type=click.Choice(FORMATS),
        help="What the files hold; by name and content unless said.",
    ),
    click.option("--encoding", callback=_known_encoding, help="Of text files; utf-8 unless said."),
    click.option(
        "--multi-turn",
        type=click.Choice(["refuse", "expand"]),
        help="Conversations of several turns: refused unless said, or an example for every answer.",
    ),
    click.option(
        "--for",
        "for_target",
        type=click.Choice(list(TARGETS)),
        help="Whose limits count; the spec's target, or else local.",
    ),
)


class _Said(NamedTuple):
    """How to read the files, as far as options say it."""

    text_input: str | None
    output_column: str | None
    data_format: str | None
    encoding: str | None
    multi_turn: Turns | None

    def over(self, source: Source) -> Source:
        """The same files, read as the options say."""
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


def _given(files: Sequence[Path], said: _Said, target: str | None) -> DataInput:
    specs = [path for path in files if path.suffix.lower() in SPEC_SUFFIXES]
    if not specs:
        return DataInput(said.over(Source(tuple(files))), None, TARGETS[target or "local"].limits)
    if len(files) > 1:
        raise click.UsageError(f"{specs[0]} is a job spec: name it alone")
    return _of_spec(specs[0], said, target)


def _of_spec(path: Path, said: _Said, target: str | None) -> DataInput:
    """What a spec says about its data; other parts of it may be wrong or missing."""
    from tuner.errors import SpecError
    from tuner.jobspec.load import limits_of, read_partial_spec, source_of

    draft = read_partial_spec(path)
    if draft.training_data is None:
        raise SpecError(draft.problems)
    data, evaluation = draft.training_data, draft.evaluation
    source = said.over(source_of(data))
    held = (
        source._replace(paths=evaluation.paths, format="auto")
        if evaluation and evaluation.paths
        else None
    )
    return DataInput(
        source,
        held,
        TARGETS[target].limits if target else limits_of(draft),
        data.instruction,
        frozenset(data.ignore),
        base_model=draft.spec.base_model if draft.spec else "",
        draft=draft,
    )
