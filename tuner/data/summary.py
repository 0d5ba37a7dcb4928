"""Summarize examples: how long they are, what their outputs are, and what repeats; also as a page."""

from __future__ import annotations

from collections import Counter
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tuner.data.dataset import Batch

    CountTokens: TypeAlias = Callable[[Sequence[str], Sequence[str]], Iterable[tuple[int, int]]]

MAX_LABELS = 50
"""Maximum number of different outputs that count as labels."""
_MAX_LABEL_CHARS = 200
_MIN_ROWS_PER_LABEL = 2
"""Minimum rows per different output, on average, for outputs to count as labels."""
_BINS = 20
MEASURES = {
    "text_input": ("Inputs", "characters"),
    "output": ("Outputs", "characters"),
    "prompt_tokens": ("Prompts, template and instruction included", "tokens"),
    "output_tokens": ("Outputs, the end of the turn included", "tokens"),
    "example_tokens": ("Whole examples", "tokens"),
}
"""What is measured of each row: a title and the unit."""
_WIDTH, _HEIGHT = 400, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 22, 40
"""Margins of a histogram, in pixels."""


class Bin(NamedTuple):
    """The number of rows with a length from ``low`` to ``high``, both included."""

    low: int
    high: int
    rows: int


class Lengths(NamedTuple):
    """Lengths of one text of every row, in characters or tokens.

    Attributes:
        p5: The smallest length that 5 of 100 rows do not exceed (nearest rank); p50... likewise.
        bins: From the shortest to the longest, empty ones included; all have the same width but
            the last, which ends at the longest row.
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
    """An output, and how many rows have it."""

    output: str
    rows: int


class Stats(NamedTuple):
    """Statistics of all rows that can be read.

    Attributes:
        unreadable: Number of rows that cannot be read.
        blank_text_inputs: Empty ones, or only spaces; ``blank_outputs`` likewise.
        duplicates: Rows whose two texts are those of an earlier row.
        labels: The outputs, most frequent first; empty if they do not look like labels.
        held_out: Rows to evaluate with; None if nothing says so.
        text_input: In characters, as is ``output``; None without rows.
        prompt_tokens: Includes template and instruction, as ``output_tokens`` includes the end of
            the turn; ``example_tokens`` is both. None without a tokenizer.
    """

    rows: int
    unreadable: int
    blank_text_inputs: int
    blank_outputs: int
    duplicates: int
    labels: tuple[Label, ...]
    text_input: Lengths | None = None
    output: Lengths | None = None
    prompt_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    example_tokens: Lengths | None = None
    held_out: int | None = None

    @property
    def lengths(self) -> dict[str, Lengths]:
        """The known lengths by name."""
        named = {name: getattr(self, name) for name in MEASURES}
        return {name: each for name, each in named.items() if each is not None}

    def facts(self) -> Iterator[tuple[str, int, float]]:
        """Yield name, number and share of all rows, in reading order; the share may be 0."""
        yield "rows", self.rows, 0.0
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
                yield name, rows, rows / of if of else 0.0


class StatsCollector:
    """Adds up the statistics of batches; of a row only hashes are kept, and labels."""

    def __init__(self, count_tokens: CountTokens | None = None) -> None:
        """Measure tokens too if ``count_tokens`` gives those of prompts and outputs."""
        self._count_tokens = count_tokens
        self._unreadable = self._blank_inputs = self._blank_outputs = self._duplicates = 0
        self._lengths: dict[str, Counter[int]] = {name: Counter() for name in MEASURES}
        self._outputs: Counter[str] | None = Counter()
        self._known: set[int] = set()

    def add(self, batch: Batch) -> None:
        """Add the rows of a batch."""
        inputs, outputs = batch.text_inputs, batch.outputs
        self._unreadable += batch.unread()
        self._lengths["text_input"].update(map(len, inputs))
        self._lengths["output"].update(map(len, outputs))
        self._blank_inputs += sum(not each or each.isspace() for each in inputs)
        self._blank_outputs += sum(not each or each.isspace() for each in outputs)
        known = len(self._known)
        self._known.update(map(hash, zip(inputs, outputs, strict=True)))
        self._duplicates += len(inputs) - (len(self._known) - known)
        if self._outputs is not None:
            self._outputs.update(outputs)
            longest = max(map(len, self._outputs), default=0)
            if len(self._outputs) > MAX_LABELS or longest > _MAX_LABEL_CHARS:
                self._outputs = None
        if self._count_tokens:
            pairs = list(self._count_tokens(inputs, outputs))
            self._lengths["prompt_tokens"].update(prompt for prompt, _ in pairs)
            self._lengths["output_tokens"].update(output for _, output in pairs)
            self._lengths["example_tokens"].update(map(sum, pairs))

    def stats(self) -> Stats:
        """Return the statistics of all added batches."""
        labels = self._outputs or Counter()
        if labels.total() < _MIN_ROWS_PER_LABEL * len(labels):
            labels = Counter()
        inputs, outputs, prompt_tokens, output_tokens, example_tokens = (
            measure_lengths(each) if each else None for each in self._lengths.values()
        )
        return Stats(
            self._lengths["text_input"].total(),
            self._unreadable,
            self._blank_inputs,
            self._blank_outputs,
            self._duplicates,
            tuple(Label(*each) for each in labels.most_common()),
            inputs,
            outputs,
            prompt_tokens,
            output_tokens,
            example_tokens,
        )


def summarize(batches: Iterable[Batch], count_tokens: CountTokens | None = None) -> Stats:
    """Return the statistics of all batches; ``count_tokens`` as in StatsCollector."""
    collector = StatsCollector(count_tokens)
    for batch in batches:
        collector.add(batch)
    return collector.stats()


def measure_lengths(counts: Counter[int]) -> Lengths:
    """Return the statistics of at least one row, given how many rows have each length."""
    ordered = sorted(counts)
    cumulated = list(accumulate(counts[each] for each in ordered))
    rows, total = cumulated[-1], sum(length * many for length, many in counts.items())

    def percentile(percent: int) -> int:
        wanted = -(-rows * percent // 100)
        return next(each for each, many in zip(ordered, cumulated, strict=True) if many >= wanted)

    p5, p50, p95, p99 = map(percentile, (5, 50, 95, 99))
    figures = (ordered[0], p5, p50, p95, p99, ordered[-1], total / rows, total)
    return Lengths(*figures, _bins(counts, p99))


def _bins(counts: Counter[int], p99: int) -> tuple[Bin, ...]:
    """Return bins of a round width; the few much longer rows share the last one."""
    low, high = min(counts), max(counts)
    end = high if high <= 2 * p99 else p99
    least = max(1, -(-(end - low + 1) // _BINS))
    tens = int(10 ** (len(str(least)) - 1))
    width = next(step * tens for step in (1, 2, 5, 10) if step * tens >= least)
    start = low // width * width
    number = (end - start) // width + 1
    rows = [0] * number
    for length, many in counts.items():
        rows[min((length - start) // width, number - 1)] += many
    bins = [Bin(start + at * width, start + (at + 1) * width - 1, n) for at, n in enumerate(rows)]
    return (*bins[:-1], bins[-1]._replace(high=high))


def summary_page(stats: Stats, title: str, about: str = "", limit: int = 0) -> str:
    """Return an HTML document that needs no other file; it contains no texts but labels.

    Args:
        stats: What to show.
        title: The name of the data.
        about: A sentence below it, e.g. which tokenizer counted.
        limit: Tokens an example may have, marked if rows come near; 0 is no limit.
    """
    from importlib.resources import files
    from string import Template

    template = Template(files("tuner.data").joinpath("summary.html").read_text(encoding="utf-8"))
    facts = (
        f"<div><dt>{name}</dt><dd>{rows:,}{f' <small>{share:.1%}</small>' if share else ''}</dd></div>"
        for name, rows, share in stats.facts()
    )
    return template.substitute(
        title=escape(title),
        about=escape(about),
        facts="".join(facts),
        pictures="\n".join(_picture(name, each, limit) for name, each in stats.lengths.items()),
        labels=_label_section(stats.labels),
        lengths="".join(_length_rows(stats)),
    )


def _picture(name: str, lengths: Lengths, limit: int) -> str:
    title, unit = MEASURES[name]
    marks = {"median": lengths.p50, "95 %": lengths.p95}
    if name == "example_tokens" and lengths.bins[-1].high >= limit > 0:
        marks["limit"] = limit
    if lengths.min < lengths.max:
        picture = _histogram(lengths.bins, unit, marks)
    else:
        picture = f"<p>All rows have {lengths.max:,} {unit}.</p>"
    return f"<section><h2>{escape(title)}</h2>{picture}</section>"


def _histogram(bins: Sequence[Bin], unit: str, marks: dict[str, int]) -> str:
    """Return an SVG histogram of lengths, with a line at each mark."""
    top = max(each.rows for each in bins)
    wide, high = (_WIDTH - _LEFT - _RIGHT) / len(bins), _HEIGHT - _TOP - _BOTTOM
    floor = _HEIGHT - _BOTTOM
    parts = [
        *(_bar(each, at, wide, high * each.rows / top, unit) for at, each in enumerate(bins)),
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>',
        _svg_text(_LEFT - 6, _TOP + 4, f"{top:,}", "end"),
        _svg_text(_LEFT - 6, floor, "0", "end"),
        _svg_text(_LEFT - 6, (floor + _TOP) / 2 + 4, "rows", "end"),
        _svg_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, unit),
        *_ticks(bins, wide),
        *_marks(bins, wide, marks),
    ]
    label = f"{unit} a row, from {bins[0].low:,} to {bins[-1].high:,}"
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg {box} role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _bar(each: Bin, at: int, wide: float, high: float, unit: str) -> str:
    high = max(high, 1.0) if each.rows else 0.0
    x, y = _LEFT + at * wide, _HEIGHT - _BOTTOM - high
    size = f'x="{x:.1f}" y="{y:.1f}" width="{max(1, wide - 1):.1f}" height="{high:.1f}"'
    span = f"{each.low:,}" if each.low == each.high else f"{each.low:,} to {each.high:,}"
    return f'<rect class="bar" {size}><title>{span} {unit}: {each.rows:,} rows</title></rect>'


def _ticks(bins: Sequence[Bin], wide: float) -> Iterator[str]:
    """Return about five labels for the axis of lengths; the last bin may be wider."""
    for at in range(0, len(bins) - 1, max(1, len(bins) // 5)):
        yield _svg_text(_LEFT + at * wide, _HEIGHT - _BOTTOM + 14, f"{bins[at].low:,}", "start")
    is_wider = len(bins) > 1 and bins[-1].high - bins[-1].low > bins[0].high - bins[0].low
    last = f"to {bins[-1].high:,}" if is_wider else f"{bins[-1].high:,}"
    yield _svg_text(_WIDTH - _RIGHT, _HEIGHT - _BOTTOM + (26 if is_wider else 14), last, "end")


def _marks(bins: Sequence[Bin], wide: float, marks: dict[str, int]) -> Iterator[str]:
    step, previous_x = bins[0].high - bins[0].low + 1, -100.0
    for length in sorted({*marks.values()}):
        name = " and ".join(name for name, each in marks.items() if each == length)
        x = _LEFT + min((length - bins[0].low + 0.5) / step, len(bins) - 0.5) * wide
        y1, y2 = _TOP - 6, _HEIGHT - _BOTTOM
        yield f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{y1}" y2="{y2}"/>'
        y = 22 if x - previous_x < 80 else 12  # noqa: PLR2004 -- names side by side need the width
        anchor, shift = ("end", -4) if x > _WIDTH - 100 else ("start", 4)
        yield _svg_text(x + shift, y, f"{name} {length:,}", anchor, ' class="marked"')
        previous_x = x


def _svg_text(x: float, y: float, text: str, anchor: str = "middle", attribute: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attribute}>{escape(text)}</text>'


def _label_section(labels: Sequence[Label]) -> str:
    if not labels:
        return ""
    total, most = sum(each.rows for each in labels), labels[0].rows
    rows = "".join(
        f"<tr><td>{escape(each.output) or '(empty)'}</td><td>{each.rows:,}</td>"
        f"<td>{each.rows / total:.1%}</td>"
        f'<td><i style="width: {100 * each.rows / most:.1f}%"></i></td></tr>'
        for each in labels
    )
    head = "<tr><th>output</th><th>rows</th><th>share</th><th></th></tr>"
    return f'<section class="wide labels"><h2>Outputs</h2><table>{head}{rows}</table></section>'


def _length_rows(stats: Stats) -> Iterator[str]:
    names = ("min", "p5", "p50", "p95", "p99", "max", "mean")
    yield f"<tr>{''.join(f'<th>{name}</th>' for name in ('', *names))}</tr>"
    for name, each in stats.lengths.items():
        title, unit = MEASURES[name]
        cells = "".join(f"<td>{getattr(each, key):,}</td>" for key in names[:-1])
        yield f"<tr><td>{title.partition(',')[0]}, {unit}</td>{cells}<td>{each.mean:,.1f}</td></tr>"
