"""Write specs as text: a first one for a file of examples, or one translated from another tool."""

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
from tuner.data import csv
from tuner.data.dataset import USUAL, Columns, Source, detect, read
from tuner.data.encoding import guess_encoding
from tuner.data.holdout import split
from tuner.data.record_formats import RECORD_FORMATS
from tuner.errors import DatasetError, Problem
from tuner.jobspec.reference import json_schema, keys_of
from tuner.jobspec.schema import JobSpec
from tuner.yaml_source import Scalar, parse_scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from tuner.data.dataset import Turns
    from tuner.types import Example

    Written: TypeAlias = "Scalar | Sequence[Scalar] | Mapping[str, Scalar]"

BASE_MODEL = "models/smollm2-135m-instruct"
MAX_BATCHES = 3
"""Some ten thousand rows are enough to see what a file is about."""
MIN_ROWS_TO_SPLIT = 20
ROWS_FOR_SMALL_HOLDOUT = 200
"""Of so many rows a tenth is enough to evaluate with."""
MAX_HEAD_BYTES = 2**20
MAX_SHOWN = 20
MAX_LABELS, MAX_LABEL_CHARS, MIN_ROWS_PER_LABEL = 20, 40, 5

_INPUTS = (
    "text_input", "input", "prompt", "question", "query", "text", "sentence", "review", "comment",
    "message", "content", "document", "article", "source", "title", "instruction",
)  # fmt: skip
_OUTPUTS = (
    "output", "completion", "answer", "response", "label", "labels", "target", "class", "category",
    "sentiment", "intent", "reply", "summary", "translation",
)  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z_./][\w ./+@-]*(?<! )", re.ASCII)
"""Texts that YAML reads as they are; others are put in quotes."""


class SpecLine(NamedTuple):
    """One key of a spec.

    Attributes:
        key: With dots: ``hyperparameters.epoch_count``.
        note: The comment beside it.
        above: The comment over it, one string per line.
        is_active: Otherwise the key is commented out.
    """

    key: str
    value: Written
    note: str = ""
    above: tuple[str, ...] = ()
    is_active: bool = True


class DataSummary(NamedTuple):
    """What the beginning of a file of examples shows.

    Attributes:
        names: All columns or keys; none where they say nothing, as those of chat messages.
        is_guessed: Whether the columns were guessed from their names.
        multi_turn: Whether there are conversations of several turns.
        labels: The outputs, most common first, if there are few of them; otherwise none.
    """

    columns: Columns
    names: Sequence[str]
    is_guessed: bool
    encoding: str
    multi_turn: Turns
    examples: Sequence[Example]
    labels: Sequence[str]


def scaffold_spec(paths: Sequence[Path], spec: Path, columns: Columns = USUAL) -> str:
    """Return the text of a spec that tunes on files of examples, to be saved as ``spec``.

    Raises DatasetError if there is no readable example, or the columns cannot be guessed.
    """
    command = "tuner run" if str(spec) == "-" else f"tuner run {spec}"
    files = " ".join(map(str, paths))
    head = [command, "", f"Written by `tuner init {files}`; docs/spec.md explains every key."]
    return render(head, _lines(paths, spec, summarise(paths[0], columns)))


def summarise(path: Path, columns: Columns = USUAL) -> DataSummary:
    """Read the beginning of a file of examples. Raises DatasetError as ``scaffold_spec``."""
    start = _start(path)
    encoding = guess_encoding(start)
    present = _column_names(path, start, encoding)
    is_guessed = columns == USUAL and bool(present) and not _has_shape(present)
    if is_guessed:
        columns = _guess_columns(path, present)
    source = Source((path,), columns, encoding=encoding)
    examples, problems = _first_rows(source)
    if any(problem.rule == "multi-turn" for problem in problems):
        source = source._replace(multi_turn="expand")
        examples, problems = _first_rows(source)
    if not examples:
        empty = Problem(str(path), 0, 0, "the file has no examples", "add rows", "no-examples")
        raise DatasetError(problems[:MAX_SHOWN] or [empty])
    shown = present if columns != USUAL else ()
    counts = Counter(each.output for each in examples)
    is_few = len(counts) <= MAX_LABELS and len(counts) * MIN_ROWS_PER_LABEL <= len(examples)
    is_short = all(0 < len(label) <= MAX_LABEL_CHARS and label.isprintable() for label in counts)
    labels = [label for label, _ in counts.most_common()] if is_few and is_short else []
    return DataSummary(columns, shown, is_guessed, encoding, source.multi_turn, examples, labels)


def render(head: Iterable[str], lines: Iterable[SpecLine]) -> str:
    """Return the text of a spec that opens with the comment ``head``; each key is given once."""
    rows = [f"# {_one_line(text)}".rstrip() for text in head]
    order = list(_key_order("", json_schema(JobSpec)))
    opened: list[str] = []
    for line in sorted(lines, key=lambda line: order.index(line.key)):
        *parents, name = line.key.split(".")
        for depth, parent in enumerate(parents):
            if opened[: depth + 1] != parents[: depth + 1]:
                rows.append(f"{'  ' * depth}{parent}:")
        opened = parents
        indent, mark = "  " * len(parents), "" if line.is_active else "# "
        note = f"  # {_one_line(line.note)}" if line.note else ""
        rows += [f"{indent}# {_one_line(text)}" for text in line.above]
        rows.append(f"{indent}{mark}{name}: {_value(line.value)}{note}")
    return "\n".join(rows) + "\n"


def _lines(paths: Sequence[Path], spec: Path, seen: DataSummary) -> list[SpecLine]:
    files = [Path(os.path.relpath(path, spec.parent)).as_posix() for path in paths]
    slug = names.slug(paths[0].name.partition(".")[0])
    model_note = "a small model for a first run; `tuner models list` has others"
    task = (
        f"Answer with one of: {', '.join(seen.labels)}." if seen.labels else "Name the task here."
    )
    above = ("The model's task, in front of every input, in tuning and evaluating alike:",)
    lines = [
        SpecLine("job", slug, "the tuned model's id begins with it"),
        SpecLine("target", "local", "this machine; gemini is Google's service"),
        SpecLine("base_model", BASE_MODEL, model_note),
        SpecLine(
            "training_data.path", files if len(files) > 1 else files[0], "relative to this file"
        ),
        SpecLine("training_data.instruction", task, above=above, is_active=False),
        SpecLine("hyperparameters.epoch_count", 3, "passes over the rows"),
        SpecLine("hyperparameters.batch_size", 16, "the service decides", is_active=False),
        SpecLine("hyperparameters.learning_rate", 0.001, "the service decides", is_active=False),
        *_evaluation(seen),
        SpecLine(
            "permissions",
            [{"role": "READER", "email_address": "ana@example.com"}],  # type: ignore[list-item]
            above=("Who may use the model, once the gate is passed.",),
            is_active=False,
        ),
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


def _evaluation(seen: DataSummary) -> Iterator[SpecLine]:
    count = len(seen.examples)
    share = 0.1 if count >= ROWS_FOR_SMALL_HOLDOUT else 0.2
    can_hold = count >= MIN_ROWS_TO_SPLIT and all(split(seen.examples, share))
    note = "chosen by content: new rows move no old one"
    yield SpecLine("evaluation.holdout", share, note, is_active=can_hold)
    if seen.labels:
        yield SpecLine("evaluation.stratify", True, "of every label", is_active=can_hold)
    metric = "exact_match" if seen.labels else "normalized_match"
    yield SpecLine("evaluation.metric", metric, is_active=can_hold)
    above = "The gate. Free text rarely matches exactly: read some answers first."
    if seen.labels:
        above = "The gate: if it fails, nothing is shared. at_least: 0.8 adds a minimum score."
    gate = {"better_than_base": True}
    is_active = can_hold and bool(seen.labels)
    yield SpecLine("evaluation.require", gate, above=(above,), is_active=is_active)


def _first_rows(source: Source) -> tuple[list[Example], list[Problem]]:
    examples: list[Example] = []
    problems: list[Problem] = []
    for batch in islice(read(source), MAX_BATCHES):
        examples += batch.examples()
        problems += batch.problems
    return examples, problems


def _has_shape(present: Sequence[str]) -> bool:
    """Whether the keys alone say where the texts are."""
    known = [each.keys for each in RECORD_FORMATS.values()]
    return set(USUAL) <= set(present) or any(set(keys) <= set(present) for keys in known)


def _guess_columns(path: Path, present: Sequence[str]) -> Columns:
    plain = {name.strip().casefold(): name for name in present}
    output = next((plain[name] for name in _OUTPUTS if name in plain), "")
    known = (plain[name] for name in _INPUTS if name in plain and plain[name] != output)
    text_input = next(known, "")
    if len(present) == len(USUAL):
        text_input = text_input or next(name for name in present if name != output)
        output = output or next(name for name in present if name != text_input)
    if text_input and output:
        return Columns(text_input, output)
    columns = ", ".join(map(repr, present[:MAX_SHOWN]))
    what = f"the columns of input and answer cannot be guessed from {columns}"
    fix = "name them: --text-input COLUMN --output-column COLUMN"
    raise DatasetError([Problem(str(path), 1, 0, what, fix, "no-column")])


def _start(path: Path) -> bytes:
    """Return the beginning of a text file; nothing if it cannot be read."""
    try:
        if detect(path) not in ("csv", "json", "jsonl"):
            return b""
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            return file.read(MAX_HEAD_BYTES)
    except (OSError, EOFError):
        return b""


def _column_names(path: Path, start: bytes, encoding: str) -> list[str]:
    """Return the columns or keys of a text file; none if they cannot be found."""
    try:
        kind = detect(path)
        if kind == "csv":
            return csv.read_header(path, Source((path,), encoding=encoding))
    except (OSError, EOFError):
        return []
    if kind not in ("json", "jsonl"):
        return []
    text = start.decode("utf-8-sig" if encoding == "utf-8" else encoding, "replace")
    try:
        value, _ = json.JSONDecoder().raw_decode(text.lstrip().removeprefix("[").lstrip())
    except (ValueError, RecursionError):
        return []
    return list(value) if isinstance(value, dict) else []


def _key_order(prefix: str, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield every key with dots, as the reference has them, but the data before how to tune."""
    keys = list(schema["properties"])
    if not prefix:
        keys.remove("training_data")
        keys.insert(keys.index("hyperparameters"), "training_data")
    for name in keys:
        yield prefix + name
        if section := keys_of(schema["properties"][name]):
            yield from _key_order(f"{prefix}{name}.", section)


def _one_line(text: str) -> str:
    """The name of a file, or a value, may hold a character that ends a comment."""
    return " ".join(text.splitlines())


def _value(value: Written) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)


def _text(text: str) -> str:
    """Quote what our reader would not read as this text; a dollar sign is doubled."""
    text = text.replace("$", "$$")
    if _PLAIN.fullmatch(text) and parse_scalar(text) == text:
        return text
    quoted = json.dumps(text, ensure_ascii=False)  # YAML has more line ends than JSON
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in quoted)
