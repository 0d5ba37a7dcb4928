"""The graph of a pipeline, as text, as a Mermaid flowchart and as Graphviz DOT."""

from __future__ import annotations

from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from tuner.pipelines.model import model_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuner.pipelines.model import Grouping, Pipeline, Stage

    ByStage = Mapping[str, str]

NOTHING: ByStage = MappingProxyType({})
_COLOURS = {
    "": "#ffffff",
    "DONE": "#d5ecd4",
    "SELECTED": "#a9dca6",
    "NOT SELECTED": "#e8e8e8",
    "DELETED": "#e8e8e8",
    "REJECTED": "#fbe3c0",
    "FAILED": "#f6c9c6",
    "CANCELLED": "#f6c9c6",
    "SKIPPED": "#f4f4f4",
}
_RUNNING_COLOUR = "#d3e4f7"
_MERMAID_ESCAPES = str.maketrans({each: f"#{ord(each)};" for each in '"#&<>'})


class Node(NamedTuple):
    """A grouping with what it waits for; it tunes the model of ``source``."""

    grouping: Grouping
    stages: tuple[Stage, ...]
    after: tuple[str, ...]
    source: str
    is_of_best: bool

    @property
    def is_single(self) -> bool:
        """Whether it is one stage of the same name."""
        return self.grouping.stages == (self.grouping.name,)

    @property
    def dependencies(self) -> str:
        """What it waits for, in words; empty for nothing."""
        others = [name for name in self.after if name != self.source]
        winner = "the best of " if self.is_of_best else ""
        words = [f"tuned from {winner}{self.source}"] if self.source else []
        return ", ".join([*words, *([f"after {', '.join(others)}"] if others else [])])

    @property
    def summary(self) -> str:
        """How many variants it has and what becomes of them; empty for a single stage."""
        if self.is_single:
            return ""
        count, keep = len(self.stages), self.grouping.keep
        many = f"{count:,} variant{'s' * (count != 1)}"
        if keep == "all":
            return f"{many}, all are kept"
        evaluation = self.stages[0].work.spec.evaluation
        metric = evaluation.metric.kind if evaluation else "metric"
        losers = {"keep": "kept", "delete": "deleted"}[self.grouping.losers]
        return f"{many}, the best by {metric} is shared, the others are {losers}"


def nodes(pipeline: Pipeline) -> dict[str, Node]:
    """The groupings by name, each after all that it waits for; otherwise in the order of the file."""
    stages = {stage.name: stage for stage in pipeline.stages}
    best = {grouping.name for grouping in pipeline.groupings if grouping.keep == "best"}
    made = {model_of(stage)[1]: stage.grouping for stage in reversed(pipeline.stages)}
    found = {}
    for grouping in pipeline.groupings:
        own = tuple(stages[name] for name in grouping.stages)
        after = own[0].after if own else ()
        known = (made.get(stage.work.spec.tuned_model_source, "") for stage in own)
        source = next((stage.source for stage in own if stage.source), "")
        source = source or next((name for name in known if name in after), "")
        found[grouping.name] = Node(grouping, own, after, source, source in best)
    order = TopologicalSorter({name: node.after for name, node in found.items()})
    return {name: found[name] for name in order.static_order()}


def as_text(pipeline: Pipeline, states: ByStage = NOTHING, notes: ByStage = NOTHING) -> str:
    """Draw a tree in ASCII: below a job its variants, and the jobs that wait for it.

    ``states`` and ``notes`` are shown behind the stages that they name.
    """
    lines = list(_lines(nodes(pipeline), states, notes))
    width = max((len(line.left) for line in lines if line.state), default=0)
    state_width = max(len(line.state) for line in lines)
    text = ""
    for left, state, note, remark in lines:
        cells = [left, "", note, remark]
        if state:
            cells[:2] = left.ljust(width), state.ljust(state_width)
        text += "  ".join(cell for cell in cells if cell.strip()).rstrip() + "\n"
    return text


def as_mermaid(pipeline: Pipeline, states: ByStage = NOTHING, notes: ByStage = NOTHING) -> str:
    """Draw a Mermaid flowchart; the state of a stage is its colour.

    A solid arrow: the model is tuned further. A dotted arrow: the job only waits.
    """
    found, ids = nodes(pipeline), _ids(pipeline)
    lines = ["flowchart LR"]
    for name, node in found.items():
        if not node.is_single:
            lines.append(f'subgraph {ids[name]}["{_mermaid(f"{name}: {node.summary}")}"]')
        for stage in node.stages:
            label = "<br/>".join(map(_mermaid, _label(node, stage, states, notes)))
            lines.append(f'{ids[stage.name]}["{label}"]')
            lines.append(f"style {ids[stage.name]} fill:{_colour(stage, states)}")
        if not node.is_single:
            lines.append("end")
        for earlier in node.after:
            arrow = "-->" if earlier == node.source else "-.->"
            lines.append(f"{ids[earlier]} {arrow} {ids[name]}")
    return "\n".join(lines) + "\n"


def as_dot(pipeline: Pipeline, states: ByStage = NOTHING, notes: ByStage = NOTHING) -> str:
    """Draw a Graphviz graph, e.g. for ``dot -Tsvg``; colours and arrows as in ``as_mermaid``."""
    found, ids = nodes(pipeline), _ids(pipeline)
    lines = [
        f"digraph {_quoted(pipeline.name)} {{",
        "rankdir=LR; compound=true;",
        'node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];',
    ]
    for name, node in found.items():
        if not node.is_single:
            label = _quoted(f"{name}: {node.summary}")
            lines.append(f"subgraph cluster_{ids[name]} {{ label={label};")
        for stage in node.stages:
            label = "\\n".join(_quoted(text)[1:-1] for text in _label(node, stage, states, notes))
            colour = _colour(stage, states)
            lines.append(f'{ids[stage.name]} [label="{label}", fillcolor="{colour}"];')
        if not node.is_single:
            lines.append("}")
        for earlier in node.after:
            options = [] if earlier == node.source else ["style=dashed"]
            options += [] if found[earlier].is_single else [f"ltail=cluster_{ids[earlier]}"]
            options += [] if node.is_single else [f"lhead=cluster_{ids[name]}"]
            tail, head = found[earlier].stages[-1].name, node.stages[0].name
            lines.append(f"{ids[tail]} -> {ids[head]} [{', '.join(options)}];")
    return "\n".join([*lines, "}"]) + "\n"


def _ids(pipeline: Pipeline) -> dict[str, str]:
    found = {grouping.name: f"g{n}" for n, grouping in enumerate(pipeline.groupings)}
    return found | {stage.name: f"s{n}" for n, stage in enumerate(pipeline.stages)}


def _label(node: Node, stage: Stage, states: ByStage, notes: ByStage) -> list[str]:
    state = f"{states.get(stage.name, '')} {notes.get(stage.name, '')}".strip()
    return [stage.name if node.is_single else stage.label or stage.name, *[state] * bool(state)]


def _colour(stage: Stage, states: ByStage) -> str:
    return _COLOURS.get(states.get(stage.name, ""), _RUNNING_COLOUR)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _mermaid(text: str) -> str:
    return _printable(text).translate(_MERMAID_ESCAPES)


def _quoted(text: str) -> str:
    return '"' + _printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Line(NamedTuple):
    left: str
    state: str = ""
    note: str = ""
    remark: str = ""


def _lines(found: dict[str, Node], states: ByStage, notes: ByStage) -> Iterator[_Line]:
    children: dict[str, list[Node]] = {name: [] for name in found}
    roots: list[Node] = []
    for node in found.values():
        parent = node.source or next(iter(node.after), "")
        (children[parent] if parent else roots).append(node)
    todo = [(node, "", "") for node in reversed(roots)]
    while todo:  # no recursion: a chain may be a thousand long
        node, head, tail = todo.pop()
        name = node.grouping.name
        remark = "; ".join(filter(None, [node.summary, node.dependencies]))
        state = (states.get(name, ""), notes.get(name, "")) if node.is_single else ("", "")
        yield _Line(head + name, *state, remark)
        below = children[name]
        for index, stage in enumerate(() if node.is_single else node.stages):
            is_last = not below and index == len(node.stages) - 1
            left = f"{tail}{'`' if is_last else '|'}-- {stage.name}"
            yield _Line(left, states.get(stage.name, ""), notes.get(stage.name, ""))
        for index, child in reversed(list(enumerate(below))):
            is_last = index == len(below) - 1
            more = (f"{tail}{'`' if is_last else '|'}-> ", f"{tail}{' ' if is_last else '|'}   ")
            todo.append((child, *more))
