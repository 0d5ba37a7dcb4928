"""A pipeline drawn in text: what waits for what, and whose model is tuned further."""

from __future__ import annotations

from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from tuner.jobspec.prepared_job import new_tuned_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuner.pipelines.spec import Grouping, Pipeline, Stage

    Told = Mapping[str, str]

NOTHING: Told = MappingProxyType({})


class Node(NamedTuple):
    """A grouping among the others.

    Attributes:
        grouping: Which.
        stages: Its stages.
        after: The groupings it waits for.
        source: The one of them whose model it tunes further; empty for none.
        is_of_best: Whether that one is the best of a matrix.
    """

    grouping: Grouping
    stages: tuple[Stage, ...]
    after: tuple[str, ...]
    source: str
    is_of_best: bool

    @property
    def is_single(self) -> bool:
        """Whether it is one stage of its own name."""
        return self.grouping.stages == (self.grouping.name,)

    @property
    def why(self) -> str:
        """What it waits for, in words; empty for nothing."""
        others = [name for name in self.after if name != self.source]
        winner = "the winner of " if self.is_of_best else ""
        words = [f"tuned from {winner}{self.source}"] if self.source else []
        return ", ".join([*words, *([f"after {', '.join(others)}"] if others else [])])

    @property
    def what(self) -> str:
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
    """The groupings by name, each after all that it waits for; else in the order of the file."""
    stages = {stage.name: stage for stage in pipeline.stages}
    best = {grouping.name for grouping in pipeline.groupings if grouping.keep == "best"}
    found = {}
    for grouping in pipeline.groupings:
        own = tuple(stages[name] for name in grouping.stages)
        after = own[0].after if own else ()
        source = next((stage.source for stage in own if stage.source), "")
        source = source or _known_source(own, after, pipeline)
        found[grouping.name] = Node(grouping, own, after, source, source in best)
    order = TopologicalSorter({name: node.after for name, node in found.items()})
    return {name: found[name] for name in order.static_order()}


def as_text(pipeline: Pipeline, states: Told = NOTHING, notes: Told = NOTHING) -> str:
    """A tree in ASCII: below a job its variants, and the jobs that tune its model or wait for it.

    A job that waits for several stands below the one whose model it tunes, or else the first.
    ``states`` and ``notes`` stand behind the stages that they name.
    """
    lines = list(_lines(nodes(pipeline), states, notes))
    width = max((len(line.left) for line in lines if line.state), default=0)
    state = max(len(line.state) for line in lines)
    return "\n".join(_line(line, width, state) for line in lines) + "\n"


class _Line(NamedTuple):
    left: str
    state: str = ""
    note: str = ""
    remark: str = ""


def _line(line: _Line, width: int, state: int) -> str:
    left = line.left.ljust(width) if line.state else line.left
    cells = [left, line.state.ljust(state) if line.state else "", line.note, line.remark]
    return "  ".join(cell for cell in cells if cell.strip()).rstrip()


def _lines(found: dict[str, Node], states: Told, notes: Told) -> Iterator[_Line]:
    children: dict[str, list[Node]] = {name: [] for name in found}
    roots: list[Node] = []
    for node in found.values():
        parent = node.source or next(iter(node.after), "")
        (children[parent] if parent else roots).append(node)
    todo = [(node, "", "") for node in reversed(roots)]
    while todo:  # no recursion: a chain may be a thousand long
        node, head, tail = todo.pop()
        name, remark = node.grouping.name, "; ".join(filter(None, [node.what, node.why]))
        state = (states.get(name, ""), notes.get(name, "")) if node.is_single else ("", "")
        yield _Line(head + name, *state, remark)
        below = children[name]
        if not node.is_single:
            for index, stage in enumerate(node.stages):
                is_last = not below and index == len(node.stages) - 1
                left = f"{tail}{'`' if is_last else '|'}-- {stage.name}"
                yield _Line(left, states.get(stage.name, ""), notes.get(stage.name, ""))
        last = len(below) - 1
        todo += reversed(
            [
                (
                    child,
                    f"{tail}{'`' if n == last else '|'}-> ",
                    f"{tail}{' ' if n == last else '|'}   ",
                )
                for n, child in enumerate(below)
            ]
        )


def _known_source(stages: tuple[Stage, ...], after: tuple[str, ...], pipeline: Pipeline) -> str:
    """The grouping whose model is named already as what is tuned further."""
    wanted = {stage.work.spec.tuned_model_source for stage in stages} - {""}
    for stage in pipeline.stages if wanted and after else ():
        if stage.grouping in after and new_tuned_model(stage.work).name in wanted:
            return stage.grouping
    return ""
