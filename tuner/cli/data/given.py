"""What every data command is given: files of examples, or a spec that says where they are."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from tuner.data import FORMATS, USUAL, Columns, Source
from tuner.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.jobs.draft import Draft
    from tuner.types import Limits

    F = TypeVar("F", bound=Callable[..., Any])

SPEC_SUFFIXES = (".yaml", ".yml")


class Given(NamedTuple):
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
    draft: Draft | None = None


def data_options(command: F) -> F:
    """Add FILE... and how to read them; the command gets one ``given``."""

    @wraps(command)
    def configured(*args: Any, **options: Any) -> Any:
        files = [Path(each) for each in options.pop("files")]
        columns = Columns(
            options.pop("text_input") or USUAL.text_input,
            options.pop("output_column") or USUAL.output,
        )
        how = Source(
            tuple(files),
            columns,
            options.pop("data_format"),
            options.pop("encoding"),
            options.pop("multi_turn"),
        )
        return command(*args, given=_given(how, options.pop("for_target")), **options)

    for option in reversed(_OPTIONS):
        configured = option(configured)
    return configured  # type: ignore[return-value] # click's decorators keep the callable


_OPTIONS = (
    click.argument("files", metavar="FILE...", nargs=-1, required=True),
    click.option("--text-input", metavar="COLUMN", help="The column or key of the input."),
    click.option("--output-column", metavar="COLUMN", help="The column or key of the answer."),
    click.option(
        "--format",
        "data_format",
        type=click.Choice(FORMATS),
        default="auto",
        show_default=True,
        help="How the files are written; auto goes by name and content.",
    ),
    click.option("--encoding", default="utf-8", show_default=True, help="Of text files."),
    click.option(
        "--multi-turn",
        type=click.Choice(["refuse", "expand"]),
        default="refuse",
        show_default=True,
        help="Conversations of several turns: refused, or an example for every answer.",
    ),
    click.option(
        "--for",
        "for_target",
        type=click.Choice(list(TARGETS)),
        help="Whose limits count; the spec's target, or else local.",
    ),
)


def _given(how: Source, target: str | None) -> Given:
    specs = [path for path in how.paths if path.suffix.lower() in SPEC_SUFFIXES]
    if not specs:
        return Given(how, None, TARGETS[target or "local"].limits)
    if len(how.paths) > 1:
        raise click.UsageError(f"{specs[0]} is a job spec: name it alone")
    return _of_spec(specs[0], target)


def _of_spec(path: Path, target: str | None) -> Given:
    """What a spec says about its data; other parts of it may be wrong or missing."""
    from tuner.errors import SpecError
    from tuner.jobs.draft import read_draft
    from tuner.jobs.material import limits_of, source_of

    draft = read_draft(path)
    if draft.training_data is None:
        raise SpecError(draft.problems)
    data, evaluation = draft.training_data, draft.evaluation
    source = source_of(data)
    held = (
        source._replace(paths=evaluation.paths, format="auto")
        if evaluation and evaluation.paths
        else None
    )
    return Given(
        source,
        held,
        TARGETS[target].limits if target else limits_of(draft),
        data.instruction,
        frozenset(data.ignore),
        base_model=draft.spec.base_model if draft.spec else "",
        draft=draft,
    )
