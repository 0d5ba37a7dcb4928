"""Write a repaired copy of a file of examples, row by row, with a list of the changes.

What can be repaired for certain is repaired, what cannot be used is deleted, and everything else
stays as it is written, other columns and keys included. The checks then find none of ``REPAIRED``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from tuner.data.checks.duplicates import normalize
from tuner.data.checks.labels import label_corrections
from tuner.data.checks.text import repair_text
from tuner.data.dataset import read_rows
from tuner.data.encoding import read_lines
from tuner.data.row_editor import CsvForm, JsonForm
from tuner.errors import DatasetError, Problem
from tuner.types import Example

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from tuner.data.dataset import Row, Source
    from tuner.data.record_formats import KeyPath, Parts, Piece
    from tuner.data.row_editor import Form

REPAIRED = (
    *("control-character", "mojibake", "not-unicode"),
    *("empty-text-input", "empty-output", "duplicate"),
)
"""Rules that a repaired copy keeps; of mojibake what is certain."""
_FATAL = {"unreadable", "no-header", "no-column", "repeated-column"}
_UNWRITABLE = {"encoding", "row-too-large"}
"""Rules of rows whose text is lost."""


class RepairOptions(NamedTuple):
    """Repairs that are done only on request.

    Attributes:
        labels: Replace variants of a label in case or spaces, and misspelt ones, by the label.
        drop_conflicts: Delete all rows whose input occurs with several outputs.
        drop_bad: Delete rows that cannot be read.
    """

    labels: bool = False
    drop_conflicts: bool = False
    drop_bad: bool = False


class Change(NamedTuple):
    """A change of a row; ``after`` is None if the row was deleted."""

    line: int
    rule: str
    before: str
    after: str | None


class RepairedRow(NamedTuple):
    """A row as it is written to the copy.

    Attributes:
        raw: Its text with the line end; empty if it is deleted.
        pairs: Its inputs and outputs.
        changes: What was done.
        left: What is still wrong.
    """

    raw: str
    pairs: Sequence[tuple[str, str]] = ()
    changes: tuple[Change, ...] = ()
    left: tuple[Problem, ...] = ()


class _Record(NamedTuple):
    """A row as it is written, and as the reader reads it."""

    line: int
    raw: str
    rows: Sequence[Row]


def repair(
    source: Source, container: str, options: RepairOptions | None = None
) -> Iterator[RepairedRow]:
    """Yield the repaired rows of a file in order, after what is above the first row.

    Memory: one row and 100 bytes of every earlier one. With the options ``labels`` or
    ``drop_conflicts`` the file is read twice.

    Args:
        source: With a single path.
        container: The format of that file, ``csv`` or ``jsonl``.
        options: What else to do.

    Raises:
        DatasetError: The file cannot be read at all.
    """
    options = options or RepairOptions()
    labels, conflicts = _survey(source, container, options)
    known: set[tuple[str, str]] = set()
    for form, record in _records(source, container):
        row = _repair_record(form, record, labels)
        if row.left and (options.drop_bad or row.left[0].rule in _UNWRITABLE):
            change = Change(record.line, row.left[0].rule, _first_line(record.raw), None)
            yield RepairedRow("", (), (*row.changes, change), row.left)
        elif not (rule := _reason_to_delete(row.pairs, known, conflicts)):
            yield row
        elif not form.parts(row.raw):
            yield row._replace(left=_unseparable(record))
        else:
            change = Change(record.line, rule, _first_line(record.raw), None)
            yield row._replace(raw="", changes=(*row.changes, change))


def _survey(
    source: Source, container: str, options: RepairOptions
) -> tuple[Mapping[str, str], AbstractSet[str]]:
    """The corrections of labels, and the normalized inputs that have several outputs."""
    if not (options.labels or options.drop_conflicts):
        return {}, frozenset()
    counts: Counter[str] = Counter()
    outputs: defaultdict[str, set[str]] = defaultdict(set)
    for form, record in _records(source, container):
        for text_input, output in _repair_record(form, record, {}).pairs:
            if text_input.strip() and output.strip():
                counts[output] += 1
                outputs[normalize(text_input)].add(output)
    labels = label_corrections(counts) if options.labels else {}
    conflicts = (
        text_input
        for text_input, found in outputs.items()
        if len({labels.get(each, each) for each in found}) > 1
    )
    return labels, frozenset(conflicts if options.drop_conflicts else ())


def _reason_to_delete(
    pairs: Sequence[tuple[str, str]], known: set[tuple[str, str]], conflicts: AbstractSet[str]
) -> str:
    """Return the rule for which a row is deleted; empty if it is kept."""
    if any(not output.strip() for _, output in pairs):
        return "empty-output"
    if any(not text_input.strip() for text_input, _ in pairs):
        return "empty-text-input"
    if conflicts and any(normalize(text_input) in conflicts for text_input, _ in pairs):
        return "conflict"
    if pairs and known.issuperset(pairs):
        return "duplicate"
    known.update(pairs)
    return ""


def _repair_record(form: Form, record: _Record, labels: Mapping[str, str]) -> RepairedRow:
    raw, changes = record.raw, []
    problems = tuple(each for each in record.rows if isinstance(each, Problem))
    examples = [each for each in record.rows if isinstance(each, Example)]
    if problems:
        repaired = form.repair(raw)
        if repaired is None:
            return RepairedRow(raw, (), (), problems)
        raw = repaired.raw
        changes.append(Change(record.line, problems[0].rule, repaired.before, repaired.after))
    elif not any(_needs_repair(each, labels) for each in examples):
        return RepairedRow(raw, [each[:2] for each in examples])
    parts = form.parts(raw)
    if not parts:
        return RepairedRow(raw, [each[:2] for each in examples], (), _unseparable(record))
    texts: dict[KeyPath, str] = {}
    for piece, is_output in _pieces(parts):
        after, rules = repair_text(piece.text)
        if is_output and after in labels:
            after, rules = labels[after], [*rules, "label-typo"]
        if rules:
            texts[piece.path] = after
            changes.append(Change(record.line, ", ".join(rules), piece.text, after))
    raw = form.put(raw, texts) if texts else raw
    pairs = [(each.text_input, each.output) for each in form.parts(raw)]
    return RepairedRow(raw, pairs, tuple(changes))


def _unseparable(record: _Record) -> tuple[Problem, ...]:
    """Return the problem of a row whose end cannot be found."""
    what = "this row cannot be separated from the broken row below it, and stays as it is"
    return (Problem("", record.line, 0, what, "fix the row below it first", "bad-csv"),)


def _needs_repair(example: Example, labels: Mapping[str, str]) -> bool:
    texts = example.text_input, example.output
    return example.output in labels or any(repair_text(each)[1] for each in texts)


def _pieces(parts: Sequence[Parts]) -> Iterator[tuple[Piece, bool]]:
    """Yield each text of the row once, and whether it is an output."""
    sides = chain.from_iterable(((each.inputs, False), (each.outputs, True)) for each in parts)
    found = {piece.path: (piece, is_output) for side, is_output in sides for piece in side}
    return iter([pair for path, pair in found.items() if path])


def _records(source: Source, container: str) -> Iterator[tuple[Form, _Record]]:
    """The rows of a file with their lines; the first record is what is above them, without ``rows``.

    Raises:
        DatasetError: No row can be read.
    """
    lines = read_lines(source.paths[0], source.encoding)
    groups = groupby(read_rows(source), key=attrgetter("line"))
    line, rows = next(((line, list(rows)) for line, rows in groups), (0, []))
    _refuse_fatal(rows)
    header = "".join(islice(lines, line - 1 if line else None))
    form: Form = CsvForm(header, source) if container == "csv" else JsonForm(source)
    yield form, _Record(0, header, ())
    while rows:
        following, more = next(((line, list(rows)) for line, rows in groups), (0, []))
        if not following:
            _refuse_fatal(more)
        raw = "".join(islice(lines, following - line if following else None))
        yield form, _Record(line, raw, rows)
        line, rows = following, more


def _refuse_fatal(rows: Sequence[Row]) -> None:
    problems = [each for each in rows if isinstance(each, Problem)]
    if any(each.rule in _FATAL or not each.line for each in problems):
        raise DatasetError(problems)


def _first_line(raw: str) -> str:
    return raw.partition("\n")[0].rstrip("\r")
