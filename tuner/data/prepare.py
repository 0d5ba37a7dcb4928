"""Examples and pandas: from a frame and back, parted, rid of repetitions, balanced, counted.

    train, held = prepare.split(prepare.dedupe(df), holdout=0.1, stratify=True)

Every function takes a DataFrame, and gives one with all its columns and its own index, or a sequence
of Examples, and gives a tuple. What stays and what goes is decided by the texts of a row, never by
its order or by chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tuner.data import Columns
from tuner.data import holdout as by_content
from tuner.data.memory import batches, is_frame
from tuner.data.repeats import find_repeats
from tuner.data.stats import measure
from tuner.errors import DatasetError, InvalidInput, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd

    from tuner.data import Batch
    from tuner.data.stats import Stats
    from tuner.types import Example

    Examples = pd.DataFrame | Sequence[Example] | Sequence[tuple[str, str]]
    Rows = TypeVar("Rows", pd.DataFrame, Sequence[Example])

LEAST_NEAR = 0.8


def from_frame(
    df: pd.DataFrame, text_input: str = "text_input", output: str = "output"
) -> tuple[Example, ...]:
    """The rows of a frame as Examples; ``line`` is the row's number, from 1.

    Texts stay as they are. Nothing else is made a text: ``astype(str)`` would make ``nan`` an
    answer to learn, and 7.0 of a 7 beside a gap.

    Args:
        df: Its columns may be of any type that holds texts: object, string, arrow, category.
        text_input: The column of the inputs.
        output: The column of the outputs.

    Raises:
        DatasetError: Every row that holds something else, by number and by index; or a column that
            is not there.
    """
    return tuple(_numbered(df, Columns(text_input, output)))


def to_frame(examples: Iterable[Example]) -> pd.DataFrame:
    """A frame with the columns ``text_input`` and ``output``, which ``from_frame`` takes back.

    The index is the line where there is one in each, else it counts from 0.
    """
    import pandas as pd

    rows = list(examples)
    lines = [each.line for each in rows]
    index = pd.Index(lines, name="line") if rows and all(lines) else None
    texts = [each[:2] for each in rows]
    return pd.DataFrame(texts, columns=["text_input", "output"], index=index, dtype=object)


def split(
    rows: Rows,
    holdout: float = 0.1,
    *,
    stratify: bool = False,
    text_input: str = "text_input",
    output: str = "output",
) -> tuple[Rows, Rows]:
    """The rows to tune on and those to evaluate with, just as ``evaluation.holdout`` parts them.

    See ``tuner.data.holdout.split`` for what moves when rows are added: nothing, or with
    ``stratify``, which gives every output the same share on both sides, one row for each.

    Raises:
        InvalidInput: As ``from_frame``; or the share is not between 0 and 1.
    """
    if not 0 < holdout < 1:
        raise _refused(f"holdout is {holdout}, not a share", "write a number between 0 and 1")
    examples = _numbered(rows, Columns(text_input, output))
    train, held = by_content.split(examples, holdout, stratify=stratify)
    return _picked(rows, train), _picked(rows, held)


def dedupe(
    rows: Rows,
    near: float | None = None,
    *,
    ignore_case: bool = False,
    text_input: str = "text_input",
    output: str = "output",
) -> Rows:
    """The rows without those that repeat another; see ``tuner.data.repeats.find_repeats``.

    Raises:
        InvalidInput: As ``from_frame``; or ``near`` is less than 0.8 or more than 1.
    """
    if near is not None and not LEAST_NEAR <= near <= 1:
        raise _refused(f"near is {near}", f"write a similarity between {LEAST_NEAR} and 1")
    examples = _numbered(rows, Columns(text_input, output))
    gone = {each.row for each in find_repeats(examples, near=near, ignore_case=ignore_case)}
    return _picked(rows, [each for row, each in enumerate(examples) if row not in gone])


def balance(
    rows: Rows,
    to: int | Literal["smallest"] = "smallest",
    *,
    text_input: str = "text_input",
    output: str = "output",
) -> Rows:
    """At most so many rows of every output, in their order; none is made up or repeated.

    Which rows stay does not depend on which will be held out, so that either may come first.

    Args:
        rows: With few different outputs: where each row has its own there is nothing to balance.
        to: How many; ``smallest`` as many as the rarest output has.
        text_input: The column of the inputs, of a frame.
        output: The column of the outputs.

    Raises:
        InvalidInput: As ``from_frame``; or ``to`` is less than 1.
    """
    if to != "smallest" and (not isinstance(to, int) or to < 1):
        raise _refused(f"to is {to!r}", "write a number of rows, at least 1, or 'smallest'")
    alike: dict[str, list[Example]] = {}
    for each in _numbered(rows, Columns(text_input, output)):
        alike.setdefault(each.output, []).append(each)
    most = min(map(len, alike.values()), default=0) if to == "smallest" else to
    kept = [each for group in alike.values() for each in sorted(group, key=by_content.rank)[:most]]
    return _picked(rows, sorted(kept, key=lambda each: each.line))


def stats(rows: Examples, *, text_input: str = "text_input", output: str = "output") -> Stats:
    """The figures that ``tuner data stats`` shows, but tokens; ``tuner.data.picture`` draws them.

    Rows that are no examples are left out and counted as ``unreadable``.

    Raises:
        DatasetError: All are, or a column is not there.
    """
    problems: list[Problem] = []

    def watched() -> Iterator[Batch]:
        for batch in batches(rows, Columns(text_input, output)):
            problems.extend(batch.problems)
            yield batch

    found = measure(watched())
    if problems and not found.rows:
        raise DatasetError(problems)
    return found


def _numbered(rows: Any, columns: Columns) -> list[Example]:
    """The rows as Examples whose line is their number, from 1.

    Raises:
        DatasetError: Every row that is none.
    """
    examples: list[Example] = []
    problems: list[Problem] = []
    for batch in batches(rows, columns):
        examples += batch.examples()
        problems += batch.problems
    if problems:
        raise DatasetError(problems)
    return examples


def _picked(rows: Rows, chosen: Iterable[Example]) -> Rows:
    """Those of the rows that the chosen examples were made of."""
    places = [each.line - 1 for each in chosen]
    every: Any = rows
    picked: Any = every.iloc[places] if is_frame(rows) else tuple(every[each] for each in places)
    return picked  # type: ignore[no-any-return] # of the kind that it was picked from


def _refused(what: str, fix: str) -> InvalidInput:
    return InvalidInput([Problem("", 0, 0, what, fix, "bad-argument")])
