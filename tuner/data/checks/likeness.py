"""Rows that are like an earlier one, to the letter or nearly, and what to say about them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tuner.data.checks.seen import Seen
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tuner.data import Batch
    from tuner.data.checks.near import Near
    from tuner.data.checks.screen import Screen
    from tuner.data.checks.seen import Again

_EXACT = frozenset({"duplicate", "similar-case", "conflict", "leak"})
_NEAR = frozenset({"near-duplicate", "near-leak"})


class Likeness:
    """Compares every row with all before it; some 60 bytes of each are kept, and what the near rules need.

    Attributes:
        alike: A row, then an earlier one whose input is nearly the same or the same but for case and
            space, then the next row; complete after ``finish``.
    """

    def __init__(self, ignore: Collection[str]) -> None:
        """``ignore`` are rules that need not be looked for; without the near ones half is kept."""
        self._ignore = frozenset(ignore)
        self._seen = Seen()
        self._near = None if self._ignore >= _NEAR else _near()
        self._told: set[int] = set()
        self.alike = array("Q")

    def hold(self) -> None:
        """From here on rows are held out."""
        self._seen.hold()

    def add(self, batch: Batch, inputs: Screen, outputs: Screen) -> Iterator[Problem]:
        """Yield what the rows of a batch repeat, whose columns are ``inputs`` and ``outputs``."""
        if self._ignore >= _EXACT | _NEAR:
            return
        start = len(self._seen)
        keys = None if "similar-case" in self._ignore else inputs.keys()
        for again in self._seen.add(batch, (inputs, outputs), keys):
            self._told.add(start + again.row)
            if not again.is_exact:
                self.alike.extend((start + again.row, again.earlier))
            yield self._repeated(batch, again)
        if self._near is not None:
            self._near.add(batch.text_inputs)

    def finish(self) -> Iterator[Problem]:
        """Yield the rows that are nearly the same as another, once all were seen."""
        if self._near is None or not len(self._seen):
            return
        held_from = self._seen.held_from
        if "near-leak" not in self._ignore and held_from is not None:
            for row, earlier, similarity in self._near.pairs(held_from):
                if row not in self._told:
                    self._told.add(row)
                    yield self._nearly(row, earlier, similarity, "near-leak")
        if "near-duplicate" not in self._ignore:
            for row, earlier, similarity in self._near.pairs():
                if row not in self._told:
                    self.alike.extend((row, earlier))
                    yield self._nearly(row, earlier, similarity, "near-duplicate")

    def _repeated(self, batch: Batch, again: Again) -> Problem:
        at = self._named(again.earlier, batch.path)
        but = "" if again.is_exact else " but for case and space"
        line, column = batch.lines[again.row], 0
        match again.kind:
            case "duplicate" | "similar-case":
                what, fix = f"is the same as {at}{but}", "delete one of the two"
            case "conflict":
                what = f"the text_input of {at} again{but}, with another output"
                fix = "decide which output is right, and delete the other row"
                line, column = batch.locate(again.row, "output")
            case "leak":
                what = f"this text_input is also tuned on{but}, {self._named(again.earlier)}"
                fix = "delete one of the two rows, or the evaluation is too kind"
        return Problem(batch.path, line, column, what, fix, again.kind, "warning")

    def _nearly(self, row: int, earlier: int, similarity: float, rule: str) -> Problem:
        path, line = self._seen.place(row)
        share = f"{int(similarity * 100)}% of their five-letter pieces are the same"
        if similarity == 1:
            share = "they differ in case, punctuation or what they repeat, if at all"
        if rule == "near-leak":
            what = f"this text_input is nearly tuned on, {self._named(earlier)}: {share}"
            fix = "delete one of the two rows, or the evaluation is too kind"
        else:
            what = f"the text_input is nearly that of {self._named(earlier, path)}: {share}"
            fix = "delete one of the two, unless the difference matters"
        return Problem(path, line, 0, what, fix, rule, "warning")

    def _named(self, row: int, here: str = "") -> str:
        """``line 12`` of the file in hand, ``other.csv:12`` of another."""
        path, line = self._seen.place(row)
        return f"line {line}" if path == here else f"{path}:{line}"


def _near() -> Near:
    from tuner.data.checks.near import Near

    return Near()
