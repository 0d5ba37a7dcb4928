"""Which rows only repeat another one; which of them stays is decided by content, not by order."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tuner.data.holdout import rank

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tuner.types import Example


class Repeat(NamedTuple):
    """A row that can go.

    Attributes:
        row: Its index.
        of: The index of the row that it repeats.
        rule: ``duplicate``, ``similar-case`` or ``near-duplicate``.
        similarity: Of the two inputs, exact Jaccard; 1 unless the rule is ``near-duplicate``.
    """

    row: int
    of: int
    rule: str
    similarity: float = 1.0


def find_repeats(
    examples: Sequence[Example], *, near: float | None = None, ignore_case: bool = False
) -> list[Repeat]:
    """The rows without which every example is still there once, in their order.

    Rows repeat each other when their outputs and inputs are the same; of equal rows the first
    stays. An input that is there with two outputs is a conflict and no repetition.

    Args:
        examples: Their lines do not matter.
        near: Also drop rows whose input has this similarity or more, at least 0.8, to that of a
            row with the same output; what is near a row that is itself dropped goes too.
        ignore_case: Also drop rows that are the same but for case and space.
    """
    found = list(_same(range(len(examples)), examples, "duplicate"))
    if ignore_case:
        found += _same(_without(found, examples), examples, "similar-case")
    if near is not None:
        found += _near(_without(found, examples), examples, near)
    return sorted(found)


def plain(text: str) -> str:
    """A text but for case and space."""
    return " ".join(text.casefold().split())


def _without(found: Iterable[Repeat], examples: Sequence[Example]) -> list[int]:
    """The indices that are left, in an order that only the texts decide."""
    gone = {each.row for each in found}
    left = [row for row in range(len(examples)) if row not in gone]
    return sorted(left, key=lambda row: (rank(examples[row]), examples[row].output))


def _same(rows: Iterable[int], examples: Sequence[Example], rule: str) -> Iterator[Repeat]:
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        key = examples[row].text_input, examples[row].output
        of = first.setdefault(key if rule == "duplicate" else (plain(key[0]), plain(key[1])), row)
        if of != row:
            yield Repeat(row, of, rule)


def _near(rows: Iterable[int], examples: Sequence[Example], least: float) -> Iterator[Repeat]:
    from tuner.data.checks.near import Near

    alike: dict[str, list[int]] = {}
    for row in rows:
        alike.setdefault(plain(examples[row].output), []).append(row)
    for group in alike.values():
        if len(group) > 1:
            near = Near()
            near.add([examples[row].text_input for row in group])
            for later, earlier, similarity in near.pairs():
                if similarity >= least:
                    yield Repeat(group[later], group[earlier], "near-duplicate", similarity)
