"""The figures of examples as one HTML page: pictures inside, no script, none of the inputs."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.data.stats import Bin, Label, Lengths, Stats

TITLES = {
    "text_input": ("Inputs", "characters"),
    "output": ("Outputs", "characters"),
    "prompt_tokens": ("Prompts, template and instruction included", "tokens"),
    "output_tokens": ("Outputs, the end of the turn included", "tokens"),
    "example_tokens": ("Whole examples", "tokens"),
}
WIDTH, HEIGHT = 400, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 22, 40
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2530; --soft: #5b6875; --line: #d9dee4;
  --page: #f6f7f9; --card: #fff; --bar: #3b78c3; --mark: #b3541e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaef; --soft: #9aa7b4; --line: #36404b;
  --page: #14181d; --card: #1d232a; --bar: #6aa5ec; --mark: #f0a36b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1000px; padding: 20px 16px 40px; background: var(--page);
  color: var(--ink); font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 2px; overflow-wrap: anywhere; }
h2 { font-size: 1rem; margin: 0 0 8px; font-weight: 600; }
p { margin: 0 0 16px; color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 10px;
  margin: 0 0 16px; }
.facts div, section { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px; }
dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.25rem; font-weight: 600; }
dd small { font-size: .85rem; font-weight: 400; color: var(--soft); }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr));
  gap: 12px; }
svg { display: block; width: 100%; height: auto; font: 11px system-ui, sans-serif;
  fill: var(--soft); }
.bar { fill: var(--bar); } .axis { stroke: var(--line); }
.mark { stroke: var(--mark); stroke-dasharray: 4 3; } .marked { fill: var(--mark); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { color: var(--soft); font-weight: 500; }
.labels td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 6em; }
.labels td:last-child { width: 45%; } .labels i { display: block; height: 12px; min-width: 1px;
  background: var(--bar); border-radius: 2px; }
.wide { margin-top: 12px; }
"""


def page(stats: Stats, title: str, about: str = "", limit: int = 0) -> str:
    """A whole HTML document, readable on a phone and in the dark.

    It holds no text of an example but the labels, and those only if outputs look like labels.

    Args:
        stats: What to show.
        title: The name of the data.
        about: A sentence below it, e.g. which tokenizer counted.
        limit: Tokens an example may have; marked in its picture if any comes near. 0 is none.
    """
    cards = "\n".join(_card(name, each, limit) for name, each in stats.lengths.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}: examples</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(about)}</p>
<dl class="facts">{"".join(_facts(stats))}</dl>
<div class="pictures">
{cards}
</div>
{_labels(stats.labels)}
{_table(stats)}
</body>
</html>
"""


def _facts(stats: Stats) -> Iterator[str]:
    for name, rows, share in stats.facts():
        part = f" <small>{share:.1%}</small>" if share else ""
        yield f"<div><dt>{name}</dt><dd>{rows:,}{part}</dd></div>"


def _card(name: str, lengths: Lengths, limit: int) -> str:
    title, unit = TITLES[name]
    near = limit if name == "example_tokens" and lengths.bins[-1].high >= limit > 0 else 0
    marks = {"median": lengths.p50, "95 %": lengths.p95} | ({"limit": near} if near else {})
    if lengths.min < lengths.max:
        picture = histogram(lengths.bins, unit, marks)
    else:
        picture = f"<p>All rows have {lengths.max:,} {unit}.</p>"
    return f"<section><h2>{escape(title)}</h2>{picture}</section>"


def histogram(bins: Sequence[Bin], unit: str, marks: dict[str, int]) -> str:
    """An SVG picture of how many rows have which length, with both axes named.

    Args:
        bins: All of one width but the last, which is drawn like the others.
        unit: Of the lengths.
        marks: Lengths to draw a line at, by their names.
    """
    top = max(each.rows for each in bins)
    wide, high = (WIDTH - _LEFT - _RIGHT) / len(bins), HEIGHT - _TOP - _BOTTOM
    floor = HEIGHT - _BOTTOM
    parts = [_bar(each, at, wide, high * each.rows / top, unit) for at, each in enumerate(bins)]
    parts += [
        f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{floor}" y2="{floor}"/>',
        _text(_LEFT - 6, _TOP + 4, f"{top:,}", "end"),
        _text(_LEFT - 6, floor, "0", "end"),
        _text(_LEFT - 6, (floor + _TOP) / 2 + 4, "rows", "end"),
        _text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, unit),
        *_ticks(bins, wide),
        *_marks(bins, wide, marks),
    ]
    said = f"{unit} a row, from {bins[0].low:,} to {bins[-1].high:,}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'
    )


def _bar(each: Bin, at: int, wide: float, high: float, unit: str) -> str:
    high = max(high, 1.0) if each.rows else 0.0
    x, y = _LEFT + at * wide, HEIGHT - _BOTTOM - high
    size = f'x="{x:.1f}" y="{y:.1f}" width="{max(1, wide - 1):.1f}" height="{high:.1f}"'
    span = f"{each.low:,}" if each.low == each.high else f"{each.low:,} to {each.high:,}"
    return f'<rect class="bar" {size}><title>{span} {unit}: {each.rows:,} rows</title></rect>'


def _ticks(bins: Sequence[Bin], wide: float) -> Iterator[str]:
    """Some five lengths below the axis; the last bin may hold far longer ones, and says so."""
    for at in range(0, len(bins) - 1, max(1, len(bins) // 5)):
        yield _text(_LEFT + at * wide, HEIGHT - _BOTTOM + 14, f"{bins[at].low:,}", "start")
    is_wider = len(bins) > 1 and bins[-1].high - bins[-1].low > bins[0].high - bins[0].low
    last = f"to {bins[-1].high:,}" if is_wider else f"{bins[-1].high:,}"
    yield _text(WIDTH - _RIGHT, HEIGHT - _BOTTOM + (26 if is_wider else 14), last, "end")


def _marks(bins: Sequence[Bin], wide: float, marks: dict[str, int]) -> Iterator[str]:
    step = bins[0].high - bins[0].low + 1
    taken = -100.0
    for length in sorted({*marks.values()}):
        name = " and ".join(name for name, each in marks.items() if each == length)
        x = _LEFT + min((length - bins[0].low + 0.5) / step, len(bins) - 0.5) * wide
        yield f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{HEIGHT - _BOTTOM}"/>'
        y = 22 if x - taken < 80 else 12  # noqa: PLR2004 -- names side by side need so much room
        side = "end" if x > WIDTH - 100 else "start"
        shift = -4 if side == "end" else 4
        yield _text(x + shift, y, f"{name} {length:,}", side, "marked")
        taken = x


def _text(x: float, y: float, text: str, anchor: str = "middle", kind: str = "") -> str:
    kind = kind and f' class="{kind}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


def _labels(labels: Sequence[Label]) -> str:
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
    return f'<section class="wide labels"><h2>What the outputs are</h2><table>{head}{rows}</table></section>'


def _table(stats: Stats) -> str:
    names = ("min", "p5", "p50", "p95", "p99", "max", "mean")
    head = "".join(f"<th>{name}</th>" for name in ("", *names))
    rows = "".join(
        f"<tr><td>{TITLES[name][0].partition(',')[0]}, {TITLES[name][1]}</td>"
        + "".join(f"<td>{getattr(each, key):,}</td>" for key in names[:-1])
        + f"<td>{each.mean:,.1f}</td></tr>"
        for name, each in stats.lengths.items()
    )
    return (
        '<section class="wide"><h2>Lengths</h2><div class="scroll">'
        f"<table><tr>{head}</tr>{rows}</table></div></section>"
    )
