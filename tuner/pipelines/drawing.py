"""A pipeline drawn as SVG: a column a step, a box a stage, a line where one waits for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from tuner.pipelines.graph import NOTHING, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner.pipelines.graph import Node, Told
    from tuner.pipelines.spec import Pipeline, Stage

WIDTH, HEIGHT = 220, 36
"""Of a box, in pixels."""
MOST = 34
"""Characters that a box has room for."""

_GAP, _ACROSS, _PAD, _TITLE, _MARGIN = 8, 80, 10, 22, 24
_COLOURS = {
    "DONE": "#d5ecd4",
    "WON": "#a9dca6",
    "BEATEN": "#e8e8e8",
    "DELETED": "#e8e8e8",
    "REJECTED": "#fbe3c0",
    "FAILED": "#f6c9c6",
    "CANCELLED": "#f6c9c6",
    "SKIPPED": "#f4f4f4",
    "": "#ffffff",
}
_RUNNING = "#d3e4f7"
_FONT = 'font-family="sans-serif" font-size="11"'


class Place(NamedTuple):
    """Where a grouping stands, its frame or its one box, and how large it is, in pixels."""

    x: int
    y: int
    width: int
    height: int


def layout(found: dict[str, Node]) -> dict[str, Place]:
    """A place for each grouping: right of all that it waits for, below those of the same column."""
    depth: dict[str, int] = {}
    foot: dict[int, int] = {}
    places = {}
    for name, node in found.items():
        column = depth[name] = max((depth[each] + 1 for each in node.after), default=0)
        x = _MARGIN + column * (WIDTH + 2 * _PAD + _ACROSS)
        y = foot.get(column, _MARGIN)
        height = len(node.stages) * (HEIGHT + _GAP) - _GAP
        if node.is_single:
            place = Place(x + _PAD, y, WIDTH, height)
        else:
            place = Place(x, y, WIDTH + 2 * _PAD, height + 2 * _PAD + _TITLE)
        places[name] = place
        foot[column] = y + place.height + _MARGIN
    return places


def as_svg(pipeline: Pipeline, states: Told = NOTHING, notes: Told = NOTHING) -> str:
    """A drawing that stands alone: no script, no font, nothing to be fetched; the same bytes each time.

    ``states`` colour the boxes of the stages that they name, ``notes`` stand beside them.
    """
    found = nodes(pipeline)
    places = layout(found)
    width = max(place.x + place.width for place in places.values()) + _MARGIN
    height = max(place.y + place.height for place in places.values()) + _MARGIN
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {_FONT}>',
            f"<title>{_text(pipeline.name)}</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *_edges(found, places),
            *(line for name, node in found.items() for line in _frame(node, places[name])),
            *(
                line
                for name, node in found.items()
                for line in _stages(node, places[name], states, notes)
            ),
            "</svg>\n",
        ]
    )


def _edges(found: dict[str, Node], places: dict[str, Place]) -> Iterator[str]:
    for name, node in found.items():
        for earlier in node.after:
            start, end = places[earlier], places[name]
            style = "" if earlier == node.source else ' stroke-dasharray="4 3"'
            why = f"{name} is tuned from {earlier}" if not style else f"{name} waits for {earlier}"
            yield (
                f'<line x1="{start.x + start.width}" y1="{start.y + start.height // 2}" '
                f'x2="{end.x}" y2="{end.y + end.height // 2}" stroke="#777777"{style}>'
                f"<title>{_text(why)}</title></line>"
            )


def _frame(node: Node, place: Place) -> Iterator[str]:
    if node.is_single:
        return
    x, y, width, height = place
    yield (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="#fafafa" '
        f'stroke="#bbbbbb"><title>{_text(node.what)}</title></rect>'
    )
    title = f"{node.grouping.name}: {len(node.stages):,} variants"
    yield f'<text x="{x + _PAD}" y="{y + _PAD + 12}" font-weight="bold">{_short(title)}</text>'


def _stages(node: Node, place: Place, states: Told, notes: Told) -> Iterator[str]:
    x, y = place[:2] if node.is_single else (place.x + _PAD, place.y + _PAD + _TITLE)
    for stage in node.stages:
        state, note = states.get(stage.name, ""), notes.get(stage.name, "")
        yield f"<g><title>{_text(_told(node, stage, state, note))}</title>"
        yield (
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4" '
            f'fill={quoteattr(_COLOURS.get(state, _RUNNING))} stroke="#555555"/>'
        )
        label = stage.label or stage.name
        yield f'<text x="{x + 8}" y="{y + 15}">{_short(label)}</text>'
        yield f'<text x="{x + 8}" y="{y + 29}" fill="#555555">{_short(f"{state} {note}".strip())}</text></g>'
        y += HEIGHT + _GAP


def _told(node: Node, stage: Stage, state: str, note: str) -> str:
    return "; ".join(filter(None, [stage.name, f"{state} {note}".strip(), node.why]))


def _short(text: str) -> str:
    return _text(text if len(text) <= MOST else f"{text[: MOST - 1]}…")


def _text(text: str) -> str:
    """Without the control characters that no XML holds."""
    return escape("".join(each if each.isprintable() else " " for each in text))
