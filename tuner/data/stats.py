"""How long examples are, what their outputs are, and what repeats: figures of any number of rows."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tuner.data import Batch

    Count: TypeAlias = Callable[[Sequence[str], Sequence[str]], Iterable[tuple[int, int]]]

MAX_LABELS = 50
"""More different outputs than that are no labels."""
LABEL_CHARS = 200
ROWS_A_LABEL = 2
"""On average; outputs that mostly stand there once are no labels."""
_BINS = 20


class Bin(NamedTuple):
    """So many rows have a length from ``low`` to ``high``, both included.

    All are equally wide but the last, which ends at the longest row.
    """

    low: int
    high: int
    rows: int


class Lengths(NamedTuple):
    """How long one text of every row is, in characters or in tokens.

    Attributes:
        p5: The least length that 5 of 100 rows do not exceed (the nearest rank); p50... likewise.
        bins: In order, from the shortest to the longest, empty ones included.
    """

    min: int
    p5: int
    p50: int
    p95: int
    p99: int
    max: int
    mean: float
    total: int
    bins: tuple[Bin, ...] = ()


class Label(NamedTuple):
    """An output that many rows have."""

    output: str
    rows: int


class Fact(NamedTuple):
    """How many rows are so, and what share of all that is; no share of rows themselves, or of none."""

    name: str
    rows: int
    share: float = 0.0


class Stats(NamedTuple):
    """Figures of all rows that could be read.

    Attributes:
        unreadable: Rows that could not be.
        blank_text_inputs: Empty ones, or of spaces only; ``blank_outputs`` likewise.
        duplicates: Rows whose both texts stand in an earlier row.
        labels: The outputs, most frequent first; empty when they do not look like labels.
        held_out: Rows to evaluate with; None when nothing says so.
        text_input: In characters, as is ``output``; None of no rows.
        prompt_tokens: Template and instruction included, as is the end of the turn in
            ``output_tokens``; ``example_tokens`` is both. None without a tokenizer.
    """

    rows: int
    unreadable: int
    blank_text_inputs: int
    blank_outputs: int
    duplicates: int
    labels: tuple[Label, ...]
    text_input: Lengths | None
    output: Lengths | None
    prompt_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    example_tokens: Lengths | None = None
    held_out: int | None = None

    @property
    def lengths(self) -> dict[str, Lengths]:
        """Those that are known, by name."""
        named = {name: getattr(self, name) for name in MEASURES}
        return {name: each for name, each in named.items() if each is not None}

    def facts(self) -> Iterator[Fact]:
        """The counts, in reading order."""
        yield Fact("rows", self.rows)
        counts = {
            "held out": self.held_out,
            "duplicates": self.duplicates,
            "blank inputs": self.blank_text_inputs,
            "blank outputs": self.blank_outputs,
            "unreadable": self.unreadable,
        }
        for name, rows in counts.items():
            of = self.rows + (self.unreadable if name == "unreadable" else 0)
            if rows is not None:
                yield Fact(name, rows, rows / of if of else 0.0)


MEASURES = ("text_input", "output", "prompt_tokens", "output_tokens", "example_tokens")


def measure(batches: Iterable[Batch], count: Count | None = None) -> Stats:
    """Read all batches once; of a row a hash is kept, some 70 bytes, and no text but labels.

    Args:
        batches: Of any number of files.
        count: Gives tokens of prompts and outputs; without it there are none in the figures.
    """
    tally = Tally(count)
    for batch in batches:
        tally.add(batch)
    return tally.stats()


class Tally:
    """Adds batches up, for who wants to show how far it is."""

    def __init__(self, count: Count | None = None) -> None:
        """``count`` as of ``measure``."""
        self._count = count
        self._unreadable = self._blank_inputs = self._blank_outputs = self._duplicates = 0
        self._lengths: dict[str, Counter[int]] = {name: Counter() for name in MEASURES}
        self._outputs: Counter[str] | None = Counter()
        self._seen: set[int] = set()

    def add(self, batch: Batch) -> None:
        """Take the rows of a batch in."""
        inputs, outputs = batch.text_inputs, batch.outputs
        self._unreadable += batch.unread()
        self._lengths["text_input"].update(map(len, inputs))
        self._lengths["output"].update(map(len, outputs))
        self._blank_inputs += sum(not each or each.isspace() for each in inputs)
        self._blank_outputs += sum(not each or each.isspace() for each in outputs)
        known = len(self._seen)
        self._seen.update(map(hash, zip(inputs, outputs, strict=True)))
        self._duplicates += len(inputs) - (len(self._seen) - known)
        self._add_outputs(outputs)
        if self._count:
            self._add_tokens(self._count(inputs, outputs))

    def stats(self) -> Stats:
        """The figures of all that was added."""
        found = {name: lengths(counts) for name, counts in self._lengths.items() if counts}
        return Stats(
            self._lengths["text_input"].total(),
            self._unreadable,
            self._blank_inputs,
            self._blank_outputs,
            self._duplicates,
            self._labels(),
            found.get("text_input"),
            found.get("output"),
            found.get("prompt_tokens"),
            found.get("output_tokens"),
            found.get("example_tokens"),
        )

    def _add_outputs(self, outputs: Sequence[str]) -> None:
        if self._outputs is None:
            return
        self._outputs.update(outputs)
        if len(self._outputs) > MAX_LABELS or max(map(len, self._outputs), default=0) > LABEL_CHARS:
            self._outputs = None

    def _add_tokens(self, tokens: Iterable[tuple[int, int]]) -> None:
        pairs = list(tokens)
        self._lengths["prompt_tokens"].update(prompt for prompt, _ in pairs)
        self._lengths["output_tokens"].update(output for _, output in pairs)
        self._lengths["example_tokens"].update(map(sum, pairs))

    def _labels(self) -> tuple[Label, ...]:
        found = self._outputs or Counter()
        if found.total() < ROWS_A_LABEL * len(found):
            return ()
        return tuple(Label(*each) for each in found.most_common())


def lengths(counts: Counter[int]) -> Lengths:
    """The figures of at least one row, given how many rows have each length."""
    ordered = sorted(counts)
    upto = list(accumulate(counts[each] for each in ordered))
    rows, total = upto[-1], sum(length * many for length, many in counts.items())

    def rank(percent: int) -> int:
        wanted = -(-rows * percent // 100)
        return next(each for each, many in zip(ordered, upto, strict=True) if many >= wanted)

    p5, p50, p95, p99 = map(rank, (5, 50, 95, 99))
    figures = (ordered[0], p5, p50, p95, p99, ordered[-1], total / rows, total)
    return Lengths(*figures, _bins(counts, p99))


def _bins(counts: Counter[int], p99: int) -> tuple[Bin, ...]:
    """Of a round width; the few far longer than the others share the last one."""
    low, high = min(counts), max(counts)
    end = high if high <= 2 * p99 else p99
    width = _round_up(max(1, -(-(end - low + 1) // _BINS)))
    start = low // width * width
    number = (end - start) // width + 1
    rows = [0] * number
    for length, many in counts.items():
        rows[min((length - start) // width, number - 1)] += many
    made = [Bin(start + at * width, start + (at + 1) * width - 1, n) for at, n in enumerate(rows)]
    return (*made[:-1], made[-1]._replace(high=high))


def _round_up(number: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50..."""
    tens = int(10 ** (len(str(number)) - 1))
    return next(step * tens for step in (1, 2, 5, 10) if step * tens >= number)
