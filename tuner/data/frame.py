"""Examples in memory, and pandas: the functions of ``tuner.data`` for notebooks.

    df = tuner.data.dedupe(df, near=0.8)
    train, held_out = tuner.data.split(df, holdout=0.1, stratify=True)

``split``, ``dedupe`` and ``balance`` take a DataFrame and return DataFrames with all its columns and
its index, or take a sequence of Examples and return tuples. Which rows they select depends on the
texts only, not on the order or on chance. pandas is imported when a DataFrame is made.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tuner.data.dataset import BATCH_ROWS, USUAL, Batch, Columns, Source, read
from tuner.data.holdout import rank
from tuner.data.holdout import split as split_examples
from tuner.data.record_formats import missing_columns
from tuner.errors import DatasetError, InvalidInput, Problem
from tuner.types import Example, Limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from typing import TypeAlias

    import pandas as pd

    from tuner.data.dataset import Field
    from tuner.data.summary import Stats

    InMemoryExamples: TypeAlias = pd.DataFrame | Sequence[Example] | Sequence[tuple[str, str]]
    Rows = TypeVar("Rows", pd.DataFrame, Sequence[Example])

IN_MEMORY_NAME = "examples"
"""The path in problems of examples in memory; the line is the row number, from 1."""
_MIN_NEAR = 0.8
_FINDING_COLUMNS = ("path", "line", "column", "rule", "severity", "what", "fix")


def from_frame(
    df: pd.DataFrame, text_input: str = "text_input", output: str = "output"
) -> tuple[Example, ...]:
    """Return the rows of a DataFrame as Examples; ``line`` is the number of the row, from 1.

    Nothing is converted to text: ``astype(str)`` would turn a gap into the answer ``nan``.

    Args:
        df: The columns may have any type for texts: object, string, arrow, category.
        text_input: The column of the inputs.
        output: The column of the outputs.

    Raises:
        DatasetError: Every row with something else than texts, by number and index; or a column
            is missing.
    """
    return tuple(_examples(df, Columns(text_input, output)))


def to_frame(
    examples: Iterable[Example] | str | Path,
    text_input: str = "text_input",
    output: str = "output",
) -> pd.DataFrame:
    """Return a DataFrame with the columns ``text_input`` and ``output``, indexed by line if known.

    Args:
        examples: Examples, or the path of a file of any format.
        text_input: The column or key of the inputs in that file.
        output: The column or key of the outputs.

    Raises:
        DatasetError: The file has rows that cannot be read.
    """
    import pandas as pd

    if isinstance(examples, str | Path):
        examples = _collect(_read(examples, Columns(text_input, output)))
    rows = list(examples)
    lines = [each.line for each in rows]
    index = pd.Index(lines, name="line") if rows and all(lines) else None
    texts = [each[:2] for each in rows]
    return pd.DataFrame(texts, columns=["text_input", "output"], index=index, dtype=object)


def check(
    rows: InMemoryExamples | str | Path,
    *,
    ignore: Collection[str] = (),
    limits: Limits | None = None,
    text_input: str = "text_input",
    output: str = "output",
) -> pd.DataFrame:
    """Return the findings of all checks: path, line, column, rule, severity, what and fix.

    Of a DataFrame, ``line`` is the number of the row, from 1, and ``index`` its label.

    Args:
        rows: Examples in memory, or the path of a file of any format.
        ignore: Codes of rules to skip; ``tuner data rules`` lists them.
        limits: What the target accepts; by default there are no limits.
        text_input: The column or key of the inputs.
        output: The column or key of the outputs.

    Raises:
        InvalidInput: ``ignore`` names an unknown rule, or one that cannot be ignored.
    """
    import pandas as pd

    from tuner.data.checks import Checks
    from tuner.data.checks.rules import IGNORABLE

    for code in ignore:
        if code not in IGNORABLE:
            raise _refuse(
                f"{code!r} is not a rule to ignore", f"write one of {', '.join(IGNORABLE)}"
            )
    columns = Columns(text_input, output)
    found_in = _read(rows, columns) if isinstance(rows, str | Path) else batches(rows, columns)
    checks = Checks(limits or Limits(None, None, None), ignore=ignore)
    problems = [each for batch in found_in for each in checks.check_training(batch)]
    path = str(rows) if isinstance(rows, str | Path) else IN_MEMORY_NAME
    problems += checks.finish(path)
    fields = ([getattr(each, name) for name in _FINDING_COLUMNS] for each in problems)
    findings = pd.DataFrame(fields, columns=[*_FINDING_COLUMNS])
    if is_frame(rows):
        index = getattr(rows, "index")  # noqa: B009 -- mypy does not know that it is a DataFrame
        labels = [index[line - 1] if line else None for line in findings["line"]]
        findings.insert(1, "index", pd.Series(labels, dtype=object))
    return findings


def split(
    rows: Rows,
    holdout: float = 0.1,
    *,
    stratify: bool = False,
    text_input: str = "text_input",
    output: str = "output",
) -> tuple[Rows, Rows]:
    """Return the training rows and the held-out rows, as ``evaluation.holdout`` of a spec does.

    See ``tuner.data.holdout.split``: added rows move no other row, or with ``stratify``, which gives
    every output the same share in both sets, at most one each.

    Raises:
        InvalidInput: As ``from_frame``; or the share is not between 0 and 1.
    """
    if not 0 < holdout < 1:
        raise _refuse(f"holdout is {holdout}, not a share", "write a number between 0 and 1")
    examples = _examples(rows, Columns(text_input, output))
    train, held_out = split_examples(examples, holdout, stratify=stratify)
    return _select(rows, train), _select(rows, held_out)


def dedupe(
    rows: Rows,
    near: float | None = None,
    *,
    ignore_case: bool = False,
    text_input: str = "text_input",
    output: str = "output",
) -> Rows:
    """Return the rows without repetitions; see ``tuner.data.checks.duplicates.find_repetitions``.

    Raises:
        InvalidInput: As ``from_frame``; or ``near`` is less than 0.8 or more than 1.
    """
    from tuner.data.checks.duplicates import find_repetitions

    if near is not None and not _MIN_NEAR <= near <= 1:
        raise _refuse(f"near is {near}", f"write a similarity between {_MIN_NEAR} and 1")
    examples = _examples(rows, Columns(text_input, output))
    found = find_repetitions(examples, near=near, ignore_case=ignore_case)
    repeated = {each.row for each in found}
    return _select(rows, [each for row, each in enumerate(examples) if row not in repeated])


def balance(
    rows: Rows,
    to: int | Literal["smallest"] = "smallest",
    *,
    text_input: str = "text_input",
    output: str = "output",
) -> Rows:
    """Return at most ``to`` rows of every output, in their order; no row is added or repeated.

    The selection is independent of ``split``: either may come first.

    Args:
        rows: Rows with few different outputs.
        to: The number of rows; ``smallest`` is the number of rows of the rarest output.
        text_input: The column of the inputs of a DataFrame.
        output: The column of the outputs.

    Raises:
        InvalidInput: As ``from_frame``; or ``to`` is less than 1.
    """
    if to != "smallest" and (not isinstance(to, int) or to < 1):
        raise _refuse(f"to is {to!r}", 'write a number of rows from 1 on, or "smallest"')
    by_output: dict[str, list[Example]] = {}
    for each in _examples(rows, Columns(text_input, output)):
        by_output.setdefault(each.output, []).append(each)
    most = min(map(len, by_output.values()), default=0) if to == "smallest" else to
    kept = [each for group in by_output.values() for each in sorted(group, key=rank)[:most]]
    return _select(rows, sorted(kept, key=lambda each: each.line))


def stats(
    rows: InMemoryExamples, *, text_input: str = "text_input", output: str = "output"
) -> Stats:
    """Return what ``tuner data stats`` shows, without tokens.

    Rows that are not examples are left out and counted as ``unreadable``.

    Raises:
        DatasetError: No row is an example, or a column is missing.
    """
    from tuner.data.summary import summarize

    found = list(batches(rows, Columns(text_input, output)))
    problems = [each for batch in found for each in batch.problems]
    summary = summarize(found)
    if problems and not summary.rows:
        raise DatasetError(problems)
    return summary


def is_frame(rows: object) -> bool:
    """Return whether an object is a pandas DataFrame, without importing pandas."""
    return hasattr(rows, "iloc") and hasattr(rows, "columns")


def batches(rows: Any, columns: Columns = USUAL) -> Iterator[Batch]:
    """Yield the rows of a DataFrame, or of a sequence of Examples or pairs, in their order.

    Nothing is converted to text: a number, None or NaN is a Problem of its row.

    Args:
        rows: All in memory; not changed.
        columns: The columns of a DataFrame.
    """
    labels: Any = None
    if is_frame(rows):
        if problems := list(_column_problems(rows, columns)):
            yield _batch((), problems)
            return
        values = [rows[name].tolist() for name in columns]
        pairs: Sequence[Any] = list(zip(*values, strict=True))
        labels = rows.index
    elif isinstance(rows, str | bytes | dict) or not hasattr(rows, "__iter__"):
        pairs = [rows]  # it is reported as a bad row
    else:
        pairs = list(rows)
    for start in range(0, len(pairs), BATCH_ROWS):
        good: list[Example] = []
        bad: list[Problem] = []
        for line, pair in enumerate(pairs[start : start + BATCH_ROWS], start + 1):
            if problems := _row_problems(pair, line, columns, labels):
                bad += problems
            else:
                good.append(Example(str.__str__(pair[0]), str.__str__(pair[1]), line))
        yield _batch(good, bad)


def _batch(examples: Sequence[Example], problems: Sequence[Problem]) -> Batch:
    inputs, outputs, lines = zip(*examples, strict=True) if examples else ((), (), ())

    def locate(row: int, field: Field, offset: int = 0) -> tuple[int, int]:  # noqa: ARG001 -- rows have no columns to count
        return lines[row], 0

    return Batch(IN_MEMORY_NAME, inputs, outputs, lines, problems, locate)


def _row_problems(pair: Any, line: int, columns: Columns, labels: Any) -> list[Problem]:
    if not isinstance(pair, Example) and not (isinstance(pair, tuple | list) and len(pair) == 2):  # noqa: PLR2004 -- a pair
        what = f"is {_describe(pair)} where an input and an output are needed"
        fix = "give Examples or (input, output) pairs; of dicts make a pandas.DataFrame(rows)"
        return [Problem(IN_MEMORY_NAME, line, 0, what, fix, "not-text")]
    where = "" if labels is None else f" (index {labels[line - 1]!r})"
    return [
        Problem(
            IN_MEMORY_NAME,
            line,
            0,
            f"{name} is {_describe(value)} where a text is needed{where}",
            _suggest_fix(value, name, in_frame=labels is not None),
            "not-text",
        )
        for name, value in zip(columns, pair, strict=False)
        if not isinstance(value, str)
    ]


def _suggest_fix(value: object, name: str, *, in_frame: bool) -> str:
    if in_frame and _is_missing(value):
        return f'fill it in, or drop such rows: df.dropna(subset=["{name}"])'
    if in_frame and isinstance(value, bool | int | float):
        return f'convert it to text yourself and look at the result: df["{name}"].map(str)'
    return "convert it to text: texts are sent as they are"


def _is_missing(value: object) -> bool:
    """None, NaN, NaT and pandas.NA, which is neither equal nor unequal to itself."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124 -- NaN


def _describe(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return "NaN" if value != value else f"the number {value!r}"  # noqa: PLR0124 -- NaN
    if _is_missing(value):
        return "missing"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _column_problems(frame: Any, columns: Columns) -> Iterator[Problem]:
    present = [each for each in frame.columns if isinstance(each, str)]
    for problem in missing_columns(IN_MEMORY_NAME, 0, columns, present, "column"):
        fix = "name the columns: text_input=, output=; in a spec training_data has the same keys"
        yield replace(problem, fix=fix)
    for name in columns:
        count = present.count(name)
        if count > 1:
            what = f"{count} columns are named {name!r}"
            yield Problem(IN_MEMORY_NAME, 0, 0, what, "rename all but one", "repeated-column")


def _read(path: str | Path, columns: Columns) -> Iterator[Batch]:
    return read(Source((Path(path),), columns))


def _examples(rows: Any, columns: Columns) -> list[Example]:
    """Rows in memory as Examples whose line is their number, from 1."""
    return _collect(batches(rows, columns))


def _collect(found: Iterable[Batch]) -> list[Example]:
    examples: list[Example] = []
    problems: list[Problem] = []
    for batch in found:
        examples += batch.examples()
        problems += batch.problems
    if problems:
        raise DatasetError(problems)
    return examples


def _select(rows: Rows, chosen: Iterable[Example]) -> Rows:
    """Return the rows that the selected examples come from."""
    places = [each.line - 1 for each in chosen]
    every: Any = rows
    selected: Any = every.iloc[places] if is_frame(rows) else tuple(every[each] for each in places)
    return selected  # type: ignore[no-any-return] # of the same type as rows


def _refuse(what: str, fix: str) -> InvalidInput:
    return InvalidInput([Problem("", 0, 0, what, fix, "bad-argument")])
