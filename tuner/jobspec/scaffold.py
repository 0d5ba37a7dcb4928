"""Write a spec as text, and a first one for a file of examples."""

from __future__ import annotations

import gzip
import json
import os
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner import names
from tuner.data import USUAL, Columns, Source, read
from tuner.data.formats import csv
from tuner.data.formats.detection import detect
from tuner.data.formats.encodings import guessed
from tuner.data.formats.shapes import SHAPES
from tuner.data.holdout import split
from tuner.errors import DatasetError, Problem
from tuner.jobspec.schema import JobSpec, declared
from tuner.yaml_source import Scalar, parse_scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TypeAlias

    from tuner.data import Turns
    from tuner.types import Example

    Written: TypeAlias = "Scalar | Sequence[Scalar] | Mapping[str, Scalar]"


BASE_MODEL = "models/smollm2-135m-instruct"
MAX_BATCHES = 3
"""Some ten thousand rows are enough to see what a file is about."""
LEAST, MANY = 20, 200
"""Rows that are worth parting, and those of which a tenth is enough to evaluate with."""
MAX_HEAD_BYTES = 2**20
MAX_SHOWN = 20
MAX_LABELS, MAX_LABEL_CHARS, ROWS_A_LABEL = 20, 40, 5

_INPUTS = (
    "text_input", "input", "prompt", "question", "query", "text", "sentence", "review", "comment",
    "message", "content", "document", "article", "source", "title", "instruction",
)  # fmt: skip
_OUTPUTS = (
    "output", "completion", "answer", "response", "label", "labels", "target", "class", "category",
    "sentiment", "intent", "reply", "summary", "translation",
)  # fmt: skip


class Seen(NamedTuple):
    """What a file of examples shows.

    Attributes:
        columns: Where the two texts are.
        names: All columns or keys; none where they say nothing, as those of chat messages.
        is_guessed: Whether the names alone say which columns.
        encoding: Of the first file.
        multi_turn: Whether there are conversations of several turns.
        examples: The first ones.
        labels: The outputs, commonest first, when there are few of them; otherwise none.
    """

    columns: Columns
    names: Sequence[str]
    is_guessed: bool
    encoding: str
    multi_turn: Turns
    examples: Sequence[Example]
    labels: Sequence[str]


def scaffold_spec(paths: Sequence[Path], spec: Path, columns: Columns = USUAL) -> str:
    """The text of a spec that tunes on files of examples, to be saved as ``spec``.

    Raises:
        DatasetError: The first file has no example that can be read, or it takes ``columns`` to
            say which of its columns hold them.
    """
    seen = look(paths[0], columns)
    return render(_head(spec, paths), _lines(paths, spec, seen))


def look(path: Path, columns: Columns = USUAL) -> Seen:
    """Read the beginning of a file.

    Raises:
        DatasetError: As ``scaffold_spec``.
    """
    encoding = guessed(_start(path))
    present = _names(path, encoding)
    is_guessed = columns == USUAL and bool(present) and not _has_shape(present)
    if is_guessed:
        columns = _guess(path, present)
    source = Source((path,), columns, encoding=encoding)
    examples, problems = _rows(source)
    if any(problem.rule == "multi-turn" for problem in problems):
        source = source._replace(multi_turn="expand")
        examples, problems = _rows(source)
    if not examples:
        empty = Problem(str(path), 0, 0, "there are no examples in it", "add rows", "no-examples")
        raise DatasetError(problems[:MAX_SHOWN] or [empty])
    names = present if columns != USUAL else ()
    labels = _labels(examples)
    return Seen(columns, names, is_guessed, encoding, source.multi_turn, examples, labels)


def _rows(source: Source) -> tuple[list[Example], list[Problem]]:
    examples: list[Example] = []
    problems: list[Problem] = []
    for batch in islice(read(source), MAX_BATCHES):
        examples += batch.examples()
        problems += batch.problems
    return examples, problems


def _head(spec: Path, paths: Sequence[Path]) -> list[str]:
    command = "tuner run" if str(spec) == "-" else f"tuner run {spec}"
    files = " ".join(map(str, paths))
    return [command, "", f"Written by `tuner init {files}`; docs/spec.md explains every key."]


def _lines(paths: Sequence[Path], spec: Path, seen: Seen) -> list[SpecLine]:
    files = [Path(os.path.relpath(path, spec.parent)).as_posix() for path in paths]
    where = files if len(files) > 1 else files[0]
    lines = [
        SpecLine(
            "job",
            names.slug(paths[0].name.partition(".")[0]),
            "the tuned model's id begins with it",
        ),
        SpecLine("target", "local", "this machine; gemini is Google's service"),
        SpecLine(
            "base_model", BASE_MODEL, "the small model in the box; `tuner models list` has others"
        ),
        SpecLine("training_data.path", where, "relative to this file"),
        _instruction(seen),
        SpecLine("hyperparameters.epoch_count", 3, "passes over the rows"),
        SpecLine("hyperparameters.batch_size", 16, "the service decides", is_active=False),
        SpecLine("hyperparameters.learning_rate", 0.001, "the service decides", is_active=False),
        *_evaluation(seen),
        *_sharing(),
    ]
    if seen.names:
        note = f"{'guessed from' if seen.is_guessed else 'of'} {', '.join(seen.names[:8])}"
        lines.append(SpecLine("training_data.text_input", seen.columns.text_input, note))
        lines.append(SpecLine("training_data.output", seen.columns.output, note))
    if seen.encoding != "utf-8":
        lines.append(SpecLine("training_data.encoding", seen.encoding, "guessed: it is not UTF-8"))
    if seen.multi_turn == "expand":
        note = "there are conversations of several turns: an example for every answer"
        lines.append(SpecLine("training_data.multi_turn", seen.multi_turn, note))
    return lines


def _instruction(seen: Seen) -> SpecLine:
    above = ("What the model is to do, in front of every input, in tuning and evaluating alike:",)
    task = "Say here what to do with the input."
    if seen.labels:
        task = f"Answer with one of: {', '.join(seen.labels)}."
    return SpecLine("training_data.instruction", task, above=above, is_active=False)


def _evaluation(seen: Seen) -> list[SpecLine]:
    count = len(seen.examples)
    share = 0.1 if count >= MANY else 0.2
    can_hold = count >= LEAST and all(split(seen.examples, share))
    above = ("The gate: below it nobody is let in. Add at_least: 0.8 for a least share of hits.",)
    if not seen.labels:
        above = (
            "The gate. Answers in free words seldom match to the letter: look before you ask.",
        )
    gate = {"better_than_base": True}
    metric = "exact_match" if seen.labels else "normalized_match"
    return [
        SpecLine(
            "evaluation.holdout", share, "chosen by content: new rows move no old one", (), can_hold
        ),
        *(
            [SpecLine("evaluation.stratify", True, "of every label", (), can_hold)]
            * bool(seen.labels)
        ),
        SpecLine("evaluation.metric", metric, "", (), can_hold),
        SpecLine("evaluation.require", gate, "", above, can_hold and bool(seen.labels)),
    ]


def _sharing() -> list[SpecLine]:
    reader: Any = [{"role": "READER", "email_address": "ana@example.com"}]
    above = ("Who may use the model, once the gate is passed.",)
    return [SpecLine("permissions", reader, "", above, is_active=False)]


def _labels(examples: Sequence[Example]) -> list[str]:
    counts = Counter(each.output for each in examples)
    is_few = len(counts) <= MAX_LABELS and len(counts) * ROWS_A_LABEL <= len(examples)
    is_short = all(0 < len(label) <= MAX_LABEL_CHARS and label.isprintable() for label in counts)
    return [label for label, _ in counts.most_common()] if is_few and is_short else []


def _has_shape(present: Sequence[str]) -> bool:
    """Whether the keys alone say where the texts are."""
    known = [keys for shape in SHAPES.values() for keys in shape.keys]
    return set(USUAL) <= set(present) or any(set(keys) <= set(present) for keys in known)


def _guess(path: Path, present: Sequence[str]) -> Columns:
    plain = {name.strip().casefold(): name for name in present}
    output = next((plain[name] for name in _OUTPUTS if name in plain), "")
    known = (plain[name] for name in _INPUTS if name in plain and plain[name] != output)
    text_input = next(known, "")
    if len(present) == len(USUAL):
        text_input = text_input or next(name for name in present if name != output)
        output = output or next(name for name in present if name != text_input)
    if text_input and output:
        return Columns(text_input, output)
    what = f"which of {', '.join(map(repr, present[:20]))} are input and answer cannot be told"
    fix = "say it: --text-input COLUMN --output-column COLUMN"
    raise DatasetError([Problem(str(path), 1, 0, what, fix, "no-column")])


def _start(path: Path) -> bytes:
    """The beginning of a text file; nothing of one that cannot be read."""
    try:
        if detect(path) not in ("csv", "json", "jsonl"):
            return b""
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            return file.read(MAX_HEAD_BYTES)
    except (OSError, EOFError):
        return b""  # reading it says why


def _names(path: Path, encoding: str) -> list[str]:
    """The columns or keys of a text file; none of one that cannot be told."""
    try:
        kind = detect(path)
        if kind == "csv":
            return csv.header(path, Source((path,), encoding=encoding))
    except (OSError, EOFError):
        return []  # reading it says why
    if kind not in ("json", "jsonl"):
        return []
    head = _start(path).decode("utf-8-sig" if encoding == "utf-8" else encoding, "replace")
    return _keys(head.lstrip().removeprefix("[").lstrip())


def _keys(text: str) -> list[str]:
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return []
    return list(value) if isinstance(value, dict) else []


_PLAIN = re.compile(r"[A-Za-z_./][\w ./+@-]*(?<! )", re.ASCII)
"""Texts that YAML reads as they stand; others are put in quotes."""


class SpecLine(NamedTuple):
    """One key of a spec.

    Attributes:
        key: With dots: ``hyperparameters.epoch_count``.
        value: A list or mapping is written on the same line.
        note: The comment beside it.
        above: The comment over it, a line each.
        is_active: Otherwise the key is commented out.
    """

    key: str
    value: Written
    note: str = ""
    above: tuple[str, ...] = ()
    is_active: bool = True


def render(head: Iterable[str], lines: Iterable[SpecLine]) -> str:
    """The text of a spec that opens with the comment ``head``; each key is given once."""
    rows = [f"# {_on_one_line(text)}".rstrip() for text in head]
    opened: list[str] = []
    for line in sorted(lines, key=lambda line: _position(line.key)):
        *parents, name = line.key.split(".")
        for depth, parent in enumerate(parents):
            if opened[: depth + 1] != parents[: depth + 1]:
                rows.append(f"{'  ' * depth}{parent}:")
        opened = parents
        rows += _line_rows("  " * len(parents), name, line)
    return "\n".join(rows) + "\n"


def _line_rows(indent: str, name: str, line: SpecLine) -> list[str]:
    mark = "" if line.is_active else "# "
    note = f"  # {_on_one_line(line.note)}" if line.note else ""
    above = [f"{indent}# {_on_one_line(text)}" for text in line.above]
    return [*above, f"{indent}{mark}{name}: {_value(line.value)}{note}"]


def _on_one_line(text: str) -> str:
    """The name of a file, or a value of theirs, may hold what ends a comment."""
    return " ".join(text.splitlines())


def _position(key: str) -> list[float]:
    """Where a key stands in the reference, but for the data, which come after the model."""
    cls: type = JobSpec
    position: list[float] = []
    for name in key.split("."):
        keys = declared(cls)
        order = list(keys)
        is_late = name == "training_data"
        position.append(order.index("hyperparameters") - 0.5 if is_late else order.index(name))
        cls = keys[name].kind
    return position


def _value(value: Written) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)


def _text(text: str) -> str:
    """As our own reader takes it back: a word like ``no`` stays text, a dollar sign is doubled."""
    text = text.replace("$", "$$")
    if _PLAIN.fullmatch(text) and parse_scalar(text) == text:
        return text
    quoted = json.dumps(text, ensure_ascii=False)  # YAML takes more for line ends than JSON does
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in quoted)
