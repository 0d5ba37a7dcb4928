"""Find examples that repeat an earlier one: exactly, except for case and spaces, or nearly."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections import Counter
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple

from tuner.data.holdout import rank
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from rensa import RMinHash

    from tuner.data.dataset import Batch
    from tuner.types import Example

NEAR_THRESHOLD = 0.8
"""Jaccard similarity from which two texts are nearly the same, as in GPT-3's training data."""
_RARE_THRESHOLD = 0.5
"""The same without the shingles of a template; it must be higher."""
_SHINGLE_CHARS = 5
_MIN_CHARS = 44
"""Shorter texts are similar only if they have the same words."""
_MAX_CHARS = 50_000
"""Characters of a text that are compared; more than any target takes."""
_SAMPLE_ROWS = 4000
"""Rows in which shingles are counted to find those of a template."""
_PERMUTATIONS, _BANDS = 128, 32
"""Bands of 4: at a similarity of 0.5, 87 % of the pairs become candidates, at 0.7 all but 1 in 10,000."""
_MIN_ESTIMATE = 0.35
"""Candidates with a lower estimated similarity are not compared; the standard error is 0.044."""
_MAX_COMPARED, _MIN_COMPARED, _MAX_COMPARED_CHARS = 20, 3, 10_000
"""Candidates that are compared exactly, the most similar by their sketches first; fewer if a text is
long, so that hundreds of variants of one text take linear time."""
_SEED = 1
_CHUNK_TEXTS = 1000
"""Texts whose shingles are in memory at once."""
_WORD = re.compile(r"\w+")
_SYMBOL = re.compile(
    r"[^\w\s.,;:!?\"'()«»¿¡\u2018-\u201f\u2026\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]"
)
"""A sign that makes two short texts of the same words differ: C++ and C#, 3 + 4 and 3 - 4."""
_EXACT_RULES = frozenset({"duplicate", "similar-case", "conflict", "leak"})
_NEAR_RULES = frozenset({"near-duplicate", "near-leak"})
_DELETE_LEAK = "delete one of the two rows, or the evaluation looks better than it is"


def normalize(text: str) -> str:
    """Return a text in lower case with single spaces between its words."""
    folded = text.casefold()
    if "  " in folded or not folded.isprintable():  # of white space, only the space is printable
        return " ".join(folded.split())
    return folded.strip(" ")


class DuplicateCheck:
    """Compares every row with all earlier rows.

    Memory: some 200 bytes a row, and the normalized inputs unless the near rules are ignored.

    Attributes:
        similar_pairs: Pairs of a row and an earlier one whose inputs are nearly the same, or the
            same except for case and spaces; complete after ``finish``.
    """

    def __init__(self, ignore: Collection[str] = frozenset()) -> None:
        self._ignore = frozenset(ignore)
        self._paths: dict[int, str] = {}
        self._lines = array("q")
        self._hashes: tuple[array[int], array[int]] = (array("q"), array("q"))
        self._first_of_key: dict[int, int] = {}
        self._first_of_variant: dict[tuple[int, str, int], int] = {}
        self._held_out_from: int | None = None
        self._reported: set[int] = set()
        self._near = NearDuplicates()
        self.similar_pairs: list[tuple[int, int]] = []

    def start_held_out(self) -> None:
        """Treat the rows from here on as held out: an input of the training set is a leak."""
        if self._held_out_from is None:
            self._held_out_from = len(self._lines)

    def add(self, batch: Batch) -> Iterator[Problem]:
        """Yield the rows of a batch whose input occurred before."""
        if self._ignore >= _EXACT_RULES | _NEAR_RULES:
            return
        start, is_exact = len(self._lines), "similar-case" in self._ignore
        self._paths[start] = batch.path
        self._lines.extend(batch.lines)
        self._hashes[0].extend(map(hash, batch.text_inputs))
        self._hashes[1].extend(map(hash, batch.outputs))
        for index, text_input in enumerate(batch.text_inputs):
            row = start + index
            key = text_input if is_exact else normalize(text_input)
            first = self._first_of_key.setdefault(hash(key), row)
            if first != row and text_input.strip():  # an empty input is reported elsewhere
                self._reported.add(row)
                yield self._compare(batch, index, row, first)
        if not self._ignore >= _NEAR_RULES:
            self._near.add(batch.text_inputs)

    def finish(self) -> Iterator[Problem]:
        """Yield the rows that are nearly the same as an earlier one."""
        held_out_from = self._held_out_from
        if "near-leak" not in self._ignore and held_out_from is not None:
            for row, earlier, similarity in self._near.pairs(held_out_from):
                if row not in self._reported:
                    self._reported.add(row)
                    place = self._name(earlier)
                    what = f"this text_input is nearly the same as one in the training set, {place}"
                    yield self._near_problem(row, what, similarity, _DELETE_LEAK, "near-leak")
        if "near-duplicate" not in self._ignore:
            for row, earlier, similarity in self._near.pairs():
                if row not in self._reported:
                    self.similar_pairs.append((row, earlier))
                    place = self._name(earlier, self._place(row)[0])
                    what = f"the text_input is nearly the same as that of {place}"
                    fix = "delete one of the two, unless the difference matters"
                    yield self._near_problem(row, what, similarity, fix, "near-duplicate")

    def _compare(self, batch: Batch, index: int, row: int, first: int) -> Problem:
        """Report a row against the most similar of the earlier rows with the same key."""
        self._remember(first, first)
        variants = self._variants(first, row)
        exact_row, exact_input, same_output = map(self._first_of_variant.get, variants)
        self._remember(first, row)
        held_out_from = self._held_out_from
        is_leak = held_out_from is not None and first < held_out_from <= row
        if is_leak and exact_input is not None and exact_input >= (held_out_from or 0):
            exact_input = None
        path, line, column = batch.path, batch.lines[index], 0
        is_exact = exact_input is not None
        but = "" if is_exact else " except for case and spaces"
        earlier = first if exact_input is None else exact_input
        if is_leak:
            rule, fix = "leak", _DELETE_LEAK
            what = f"this text_input is also in the training set{but}, {self._name(earlier)}"
        elif exact_row is not None or (not is_exact and same_output is not None):
            rule, fix = ("duplicate" if is_exact else "similar-case"), "delete one of the two"
            earlier = (exact_row if exact_row is not None else same_output) or 0
            what = f"is the same as {self._name(earlier, path)}{but}"
        else:
            rule, fix = "conflict", "decide which output is right, and delete the other row"
            what = f"the same text_input as {self._name(earlier, path)}{but}, with another output"
            line, column = batch.locate(index, "output")
        if not is_exact:
            self.similar_pairs.append((row, earlier))
        return Problem(path, line, column, what, fix, rule, "warning")

    def _variants(self, first: int, row: int) -> tuple[tuple[int, str, int], ...]:
        text_input, output = self._hashes[0][row], self._hashes[1][row]
        both = hash((text_input, output))
        return (first, "row", both), (first, "input", text_input), (first, "output", output)

    def _remember(self, first: int, row: int) -> None:
        for variant in self._variants(first, row):
            self._first_of_variant.setdefault(variant, row)

    def _near_problem(self, row: int, what: str, similarity: float, fix: str, rule: str) -> Problem:
        share = f"{int(similarity * 100)}% of their 5-character substrings are the same"
        if similarity == 1:
            share = "they differ only in case, punctuation or repetition, if at all"
        return Problem(*self._place(row), 0, f"{what}: {share}", fix, rule, "warning")

    def _place(self, row: int) -> tuple[str, int]:
        """Return path and line of a row."""
        starts = [*self._paths]
        return self._paths[starts[bisect_right(starts, row) - 1]], self._lines[row]

    def _name(self, row: int, here: str = "") -> str:
        """``line 12`` for a row of the file ``here``, ``other.csv:12`` otherwise."""
        path, line = self._place(row)
        return f"line {line}" if path == here else f"{path}:{line}"


class NearDuplicates:
    """Finds texts that are nearly the same as an earlier one.

    Texts are nearly the same if the sets of their shingles (runs of five characters, without case
    and punctuation) have a Jaccard similarity of ``NEAR_THRESHOLD`` (A. Broder, On the resemblance
    and containment of documents, 1997). Shingles in many rows belong to a template: of the others,
    more than half must be shared too. Short texts must have the same words. MinHash finds the
    candidates, whose similarity is then computed exactly.
    """

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._index: _Index | None = None

    def add(self, texts: Sequence[str]) -> None:
        """Add the next rows; they are numbered from 0 in the order they are added."""
        self._texts += map(_comparable, texts)
        self._index = None

    def pairs(self, held_out_from: int | None = None) -> Iterator[tuple[int, int, float]]:
        """Yield ``(row, earlier row, similarity)`` in row order, at most one pair a row.

        Args:
            held_out_from: Compare the rows from this one on with the rows before it only, instead
                of every row with all rows before it.
        """
        if self._index is None:
            self._index = _Index(self._texts)
        first_rows, nearest = self._index.first_rows, {}
        start = held_out_from or 0
        for row in range(start, len(self._texts)):
            text = self._texts[row]
            if not text:
                continue
            before = row if held_out_from is None else held_out_from
            same = first_rows[text]
            if same < before:
                yield row, same, 1.0
                continue
            if same == row:
                nearest[same] = self._index.nearest(row, before)
            if found := nearest[same]:
                yield row, *found


class _Index:
    """The different texts of a data set, and MinHash sketches of their rare shingles.

    Attributes:
        first_rows: The first row of each different text.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        from rensa import RMinHash, RMinHashLSH

        self.first_rows: dict[str, int] = {}
        for row, text in enumerate(texts):
            self.first_rows.setdefault(text, row)
        self._long = [text for text in self.first_rows if len(text) >= _MIN_CHARS]
        self._template = _template_shingles(self._long)
        self._rows = [self.first_rows[text] for text in self._long]
        self._number = {row: number for number, row in enumerate(self._rows)}
        self._sketches: list[RMinHash] = []
        self._lsh = RMinHashLSH(NEAR_THRESHOLD, _PERMUTATIONS, _BANDS)
        self._of_template: set[int] = set()
        for start in range(0, len(self._long), _CHUNK_TEXTS):
            texts = self._long[start : start + _CHUNK_TEXTS]
            rare = [_shingles(text) - self._template for text in texts]
            self._of_template.update(start + at for at, each in enumerate(rare) if not each)
            sketches = RMinHash.from_token_sets(rare, _PERMUTATIONS, _SEED)
            self._lsh.insert_many(sketches, start)
            self._sketches += sketches

    def nearest(self, row: int, before: int) -> tuple[int, float] | None:
        """The most similar row before ``before``, and its similarity; the first of equals."""
        number = self._number.get(row)
        if number is None or number in self._of_template:
            return None
        sketch, sketches, rows = self._sketches[number], self._sketches, self._rows
        last = min(row, before)
        estimates = [
            (sketch.jaccard(sketches[other]), -other)
            for other in self._lsh.query(sketch)
            if rows[other] < last
        ]
        candidates = [each for each in estimates if each[0] >= _MIN_ESTIMATE]
        if not candidates:
            return None
        text = self._long[number]
        most = max(_MIN_COMPARED, min(_MAX_COMPARED, _MAX_COMPARED_CHARS // len(text)))
        shingles = _shingles(text)
        rare = shingles - self._template
        best: tuple[float, int] = (0.0, 0)
        for _, other in nlargest(most, candidates):
            others = _shingles(self._long[-other])
            similarity = _jaccard(shingles, others)
            if similarity < max(NEAR_THRESHOLD, best[0]):
                continue
            if _jaccard(rare, others - self._template) > _RARE_THRESHOLD:
                best = max(best, (similarity, -rows[-other]))
        return (-best[1], best[0]) if best[0] else None


def _comparable(text: str) -> str:
    """The words of a text in lower case; empty for a short text with symbols."""
    words = " ".join(_WORD.findall(text[:_MAX_CHARS].casefold()))
    return "" if len(words) < _MIN_CHARS and _SYMBOL.search(text) else words


def _shingles(text: str) -> set[str]:
    return {text[at : at + _SHINGLE_CHARS] for at in range(len(text) - _SHINGLE_CHARS + 1)}


def _template_shingles(texts: Sequence[str]) -> set[str]:
    """The shingles that occur in more than one in 50 texts, and in more than 20."""
    sample = texts[:: max(1, len(texts) // _SAMPLE_ROWS)]
    counts: Counter[str] = Counter()
    for text in sample:
        counts.update(_shingles(text))
    most = max(20, len(sample) // 50)
    return {shingle for shingle, count in counts.items() if count > most}


def _jaccard(one: set[str], other: set[str]) -> float:
    shared = len(one & other)
    return shared / ((len(one) + len(other) - shared) or 1)


class Repetition(NamedTuple):
    """A row that can be deleted without losing an example.

    Attributes:
        row: Its index.
        of: The index of the row that it repeats.
        rule: ``duplicate``, ``similar-case`` or ``near-duplicate``.
        similarity: Jaccard similarity of the inputs; 1 unless the rule is ``near-duplicate``.
    """

    row: int
    of: int
    rule: str
    similarity: float = 1.0


def find_repetitions(
    examples: Sequence[Example], *, near: float | None = None, ignore_case: bool = False
) -> list[Repetition]:
    """Return the rows that repeat another one with the same output, in row order.

    Of equal rows the first is kept; of similar rows, the texts decide which one is kept, not their
    order. An input with two outputs is a conflict, not a repetition.

    Args:
        examples: Their lines are not compared.
        near: Also return rows whose input has at least this similarity (0.8 to 1) to that of
            another row with the same output, even if that row is itself a repetition.
        ignore_case: Also return rows that are the same except for case and spaces.
    """
    found = list(_equal_rows(range(len(examples)), examples, "duplicate"))
    if ignore_case:
        found += _equal_rows(_remaining(found, examples), examples, "similar-case")
    if near is not None:
        found += _near_rows(_remaining(found, examples), examples, near)
    return sorted(found)


def _remaining(found: Iterable[Repetition], examples: Sequence[Example]) -> list[int]:
    """The other rows, in an order that depends on their texts only."""
    repeated = {each.row for each in found}
    rows = [row for row in range(len(examples)) if row not in repeated]
    return sorted(rows, key=lambda row: (rank(examples[row]), examples[row].output))


def _equal_rows(
    rows: Iterable[int], examples: Sequence[Example], rule: str
) -> Iterator[Repetition]:
    first: dict[tuple[str, str], int] = {}
    for row in rows:
        key = examples[row].text_input, examples[row].output
        if rule == "similar-case":
            key = normalize(key[0]), normalize(key[1])
        of = first.setdefault(key, row)
        if of != row:
            yield Repetition(row, of, rule)


def _near_rows(
    rows: Iterable[int], examples: Sequence[Example], least: float
) -> Iterator[Repetition]:
    by_output: dict[str, list[int]] = {}
    for row in rows:
        by_output.setdefault(normalize(examples[row].output), []).append(row)
    for group in by_output.values():
        near = NearDuplicates()
        near.add([examples[row].text_input for row in group])
        for later, earlier, similarity in near.pairs():
            if similarity >= least:
                yield Repetition(group[later], group[earlier], "near-duplicate", similarity)
