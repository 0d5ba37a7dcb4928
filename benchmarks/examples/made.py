"""Examples for benchmarks: sentences by seeded chance, with what real files hold."""

from __future__ import annotations

import csv
import math
import random
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "har",
    "ken",
    "lo",
    "mi",
    "nor",
    "pa",
    "que",
    "ri",
    "sta",
    "tem",
    "ul",
    "ver",
    "wen",
    "xi",
    "zo",
]
FOREIGN = ["café", "größe", "naïve", "señor", "Łódź", "Привет", "東京", "😀", "—", "déjà"]


class Chance:
    """Makes texts of some length; the same seed makes the same texts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        choices = self.random.choices
        words = [
            "".join(choices(SYLLABLES, k=choices((1, 2, 3, 4), (3, 5, 3, 1))[0]))
            for _ in range(3000)
        ]
        weights = [1 / rank for rank in range(1, len(words) + 1)]  # as Zipf found them
        self.words = choices(words, weights, k=50_000)
        self.phrases = [self._phrase() for _ in range(20_000)]

    def text(self, phrases: int) -> str:
        """Of 100 texts some 60 hold commas, 6 quotes, 4 line ends, 10 letters beyond ASCII."""
        chosen = self.random.choices(self.phrases, k=phrases)
        kind = self.random.random()
        if kind < 0.04:
            return "\n".join(chosen)
        if kind < 0.10:
            return " ".join([chosen[0], f'"{chosen[-1]}"', *chosen[1:-1]])
        if kind < 0.20:
            return " ".join([self.random.choice(FOREIGN), *chosen])
        return (", " if kind < 0.75 else " ").join(chosen)

    def _phrase(self) -> str:
        return " ".join(self.random.choices(self.words, k=self.random.randint(3, 8)))


def rows(seed: int, count: int = sys.maxsize) -> Iterator[tuple[str, str]]:
    """Some 200 and 60 characters each; no input twice."""
    chance = Chance(seed)
    for number in range(count):
        phrases = chance.random.randint(3, 8)
        yield f"{chance.text(phrases)} {number}", chance.text(2)


def write(path: Path, examples: Iterable[tuple[str, str]], mib: float = math.inf) -> int:
    """Write examples as CSV until there are no more or the file is so large; return how many."""
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        size = writer.writerow(["text_input", "output"])
        for example in examples:
            if size >= mib * 2**20:
                break
            size += writer.writerow(example)
            count += 1
    return count


def faulty(seed: int, count: int = sys.maxsize) -> Iterator[tuple[str, str]]:
    """The same, of 1,000 rows some 5 there before, 5 in conflict with an earlier one, 2 empty, 1 too long."""
    chance = random.Random(seed)
    earlier: list[tuple[str, str]] = []
    for number, (text_input, output) in enumerate(rows(seed, count)):
        kind = chance.randrange(1000) if earlier else 999
        if kind < 10:
            again, answer = earlier.pop(chance.randrange(len(earlier)))
            yield again, answer if kind < 5 else f"{answer} {number}"
        elif kind < 12:
            yield (text_input, "") if kind == 11 else ("", output)
        elif kind == 12:
            yield text_input, output * 100
        else:
            yield text_input, output
            if kind > 970 and len(earlier) < 10_000:
                earlier.append((text_input, output))


def held_out(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Rows of which one in fifty was tuned on, in ``rows`` of the same seed."""
    others = rows(seed + 1, count)
    for number, (known, other) in enumerate(zip(rows(seed, count), others, strict=True)):
        yield known if number % 50 == 0 else (f"{other[0]} held", other[1])
