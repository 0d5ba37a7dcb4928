"""A cleaned copy of a file of examples, row by row, with what was done to each.

What can be mended without a doubt is mended, what cannot be used is dropped, and all else stays as it
was written, other columns and keys included. Afterwards the checks find none of ``MENDED``.
"""

from __future__ import annotations

from itertools import chain, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from tuner.data import read_rows
from tuner.data.formats.lines import read_lines
from tuner.data.formats.records import CsvForm, JsonForm
from tuner.data.mending import mend
from tuner.data.repeats import plain
from tuner.data.survey import Survey, mark
from tuner.errors import DatasetError, Problem
from tuner.types import Example

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from tuner.data import Row, Source
    from tuner.data.formats.records import Form
    from tuner.data.formats.shapes import Parts, Path, Piece

MENDED = (
    *("control-character", "mojibake", "not-unicode"),
    *("empty-text-input", "empty-output", "duplicate"),
)
"""Rules that a copy keeps; of mojibake what can be proved."""
_FATAL = {"unreadable", "no-header", "no-column", "repeated-column"}
_LOST = {"encoding", "row-too-large"}
"""Of such rows nothing is left that could be written."""


class Wishes(NamedTuple):
    """What is only done when it is asked for.

    Attributes:
        labels: Of outputs that are a set of labels a variant in case or space, or a misspelt one,
            becomes the frequent one.
        drop_conflicts: All rows go whose input is there with several outputs.
        drop_bad: Rows that cannot be read go.
    """

    labels: bool = False
    drop_conflicts: bool = False
    drop_bad: bool = False


NONE = Wishes()


class Change(NamedTuple):
    """What was done to a row; ``after`` is None when the row was dropped."""

    line: int
    rule: str
    before: str
    after: str | None


class Fixed(NamedTuple):
    """A row as it should be, empty when it is dropped; what was done, and what is still wrong."""

    raw: str
    pairs: Sequence[tuple[str, str]] = ()
    changes: tuple[Change, ...] = ()
    left: tuple[Problem, ...] = ()


class _Record(NamedTuple):
    """A row as it is written, and what the reader makes of it."""

    line: int
    raw: str
    rows: Sequence[Row]


class _Known(NamedTuple):
    """What all rows together tell."""

    labels: Mapping[str, str]
    conflicts: AbstractSet[bytes]


def fix(source: Source, container: str, wishes: Wishes = NONE) -> Iterator[Fixed]:
    """Yield the rows of one file as they should be, in order; what stands above them first.

    A row is in memory at a time, and of each that was seen 100 bytes. With wishes for labels
    or conflicts the file is read twice.

    Args:
        source: With a single path.
        container: How that file is written, ``csv`` or ``jsonl``.
        wishes: What else to do.

    Raises:
        DatasetError: The file cannot be read at all.
    """
    known = _survey(source, container, wishes)
    seen: set[bytes] = set()
    for form, record in _records(source, container):
        fixed = _mended(form, record, known.labels)
        if fixed.left and (wishes.drop_bad or fixed.left[0].rule in _LOST):
            change = Change(record.line, fixed.left[0].rule, _first_line(record.raw), None)
            yield Fixed("", (), (*fixed.changes, change), fixed.left)
        else:
            rule = _useless(fixed.pairs, seen, known.conflicts)
            yield _dropped(form, record, fixed, rule) if rule else fixed


def _dropped(form: Form, record: _Record, fixed: Fixed, rule: str) -> Fixed:
    if not form.parts(fixed.raw):
        return fixed._replace(left=_entangled(record))
    change = Change(record.line, rule, _first_line(record.raw), None)
    return fixed._replace(raw="", changes=(*fixed.changes, change))


def _survey(source: Source, container: str, wishes: Wishes) -> _Known:
    if not (wishes.labels or wishes.drop_conflicts):
        return _Known({}, frozenset())
    survey = Survey()
    for form, record in _records(source, container):
        for text_input, output in _mended(form, record, {}).pairs:
            if text_input.strip() and output.strip():
                survey.add(text_input, output)
    labels = survey.labels() if wishes.labels else {}
    return _Known(labels, survey.conflicts(labels) if wishes.drop_conflicts else frozenset())


def _useless(
    pairs: Sequence[tuple[str, str]], seen: set[bytes], conflicts: AbstractSet[bytes]
) -> str:
    """The rule for which a row is dropped; empty when it stays."""
    if any(not output.strip() for _, output in pairs):
        return "empty-output"
    if any(not text_input.strip() for text_input, _ in pairs):
        return "empty-text-input"
    if conflicts and any(mark(plain(text_input)) in conflicts for text_input, _ in pairs):
        return "conflict"
    marks = {mark(*pair) for pair in pairs}
    if marks and marks <= seen:
        return "duplicate"
    seen |= marks
    return ""


def _mended(form: Form, record: _Record, labels: Mapping[str, str]) -> Fixed:
    """A row with its texts mended, and what they are then."""
    raw, changes = record.raw, []
    problems = tuple(each for each in record.rows if isinstance(each, Problem))
    examples = [each for each in record.rows if isinstance(each, Example)]
    if problems:
        again = form.mend(raw)
        if again is None:
            return Fixed(raw, (), (), problems)
        raw = again.raw
        changes.append(Change(record.line, problems[0].rule, again.before, again.after))
    elif not any(_differs(each, labels) for each in examples):
        return Fixed(raw, [each[:2] for each in examples])
    parts = form.parts(raw)
    if not parts:
        return Fixed(raw, [each[:2] for each in examples], (), _entangled(record))
    texts: dict[Path, str] = {}
    for piece, is_output in _pieces(parts):
        after, rules = mend(piece.text)
        if is_output and after in labels:
            after, rules = labels[after], [*rules, "label-typo"]
        if rules:
            texts[piece.path] = after
            changes.append(Change(record.line, ", ".join(rules), piece.text, after))
    raw = form.put(raw, texts) if texts else raw
    return Fixed(raw, [(each.text_input, each.output) for each in form.parts(raw)], tuple(changes))


def _entangled(record: _Record) -> tuple[Problem, ...]:
    """Of a row that is followed by one of which nobody can say where it begins."""
    what = "this row cannot be told from what is wrong below it, and stays as it is"
    return (Problem("", record.line, 0, what, "mend the row below it first", "bad-csv"),)


def _differs(example: Example, labels: Mapping[str, str]) -> bool:
    """Whether there is something to mend in it."""
    return bool(example.output in labels or mend(example.text_input)[1] or mend(example.output)[1])


def _pieces(parts: Sequence[Parts]) -> Iterator[tuple[Piece, bool]]:
    """Each text that stands in the row once, and whether it is an output."""
    sides = chain.from_iterable(((each.inputs, False), (each.outputs, True)) for each in parts)
    found = {piece.path: (piece, is_output) for side, is_output in sides for piece in side}
    return iter([pair for path, pair in found.items() if path])


def _records(source: Source, container: str) -> Iterator[tuple[Form, _Record]]:
    """The rows of a file with their lines; what stands above the first one has none of ``rows``.

    Raises:
        DatasetError: No row of it can be read.
    """
    lines = _Lines(source)
    groups = groupby(read_rows(source), key=attrgetter("line"))
    line, rows = next(((line, list(rows)) for line, rows in groups), (0, []))
    _refuse_fatal(rows)
    header = lines.until(line)
    form: Form = CsvForm(header, source) if container == "csv" else JsonForm(source)
    yield form, _Record(0, header, ())
    while rows:
        following, more = next(((line, list(rows)) for line, rows in groups), (0, []))
        if not following:
            _refuse_fatal(more)
        yield form, _Record(line, lines.until(following), rows)
        line, rows = following, more


def _refuse_fatal(rows: Sequence[Row]) -> None:
    problems = [each for each in rows if isinstance(each, Problem)]
    if any(each.rule in _FATAL or not each.line for each in problems):
        raise DatasetError(problems)


class _Lines:
    """The lines of a file, taken row by row."""

    def __init__(self, source: Source) -> None:
        self._lines = read_lines(source.paths[0], source.encoding, [])
        self._next = 1

    def until(self, line: int) -> str:
        """All before this one that were not taken; 0 is the end."""
        taken: list[str] = []
        while not line or self._next < line:
            text = next(self._lines, None)
            if text is None:
                break
            taken.append(text)
            self._next += 1
        return "".join(taken)


def _first_line(raw: str) -> str:
    return raw.partition("\n")[0].rstrip("\r")
