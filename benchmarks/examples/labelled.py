"""A set of texts of which it is known which are nearly the same, and how well they were found."""

from __future__ import annotations

import random
import string
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from examples.made import Chance, rows

if TYPE_CHECKING:
    from collections.abc import Iterable

EDITED = 2000
TEMPLATE = "Please answer the following question as our support assistant would, politely, in one sentence: "


class Labelled(NamedTuple):
    """``kinds`` says of a row how it was made, ``origin`` from which one, if it is the same."""

    texts: list[str]
    kinds: dict[int, str]
    origin: dict[int, int]


def _word(text: str, chance: random.Random) -> str:
    words = text.split()
    words[chance.randrange(len(words))] = "zircon"
    return " ".join(words)


def _insert(text: str, chance: random.Random) -> str:
    words = text.split()
    words.insert(chance.randrange(len(words)), "quartz")
    return " ".join(words)


def _letters(text: str, chance: random.Random) -> str:
    letters = list(text)
    for place in chance.sample(range(len(letters)), 2):
        letters[place] = chance.choice(string.ascii_lowercase)
    return "".join(letters)


def _shuffled(text: str, chance: random.Random) -> str:
    words = text.split()
    chance.shuffle(words)
    return " ".join(words)


def _half(text: str, chance: random.Random) -> str:
    return " ".join(
        chance.choice(["onyx", "beryl", "topaz", word, word, word]) for word in text.split()
    )


SAME = {
    "case": lambda text, _: text.upper(),
    "punctuation": lambda text, _: text.replace(" ", ", ", 3).replace(".", "") + "!!",
    "one word": _word,
    "a word more": _insert,
    "two letters": _letters,
    "cut short": lambda text, _: text[: len(text) * 19 // 20],
}
OTHER = {"shuffled": _shuffled, "half the words": _half}


def make(count: int) -> Labelled:
    """``count`` texts and some more: edited copies, and what only looks like them, in mixed order."""
    chance = random.Random(7)
    texts = [text for text, _ in rows(2, count)]
    long = [row for row, text in enumerate(texts) if 130 <= len(text) <= 400]
    made = [(text, "", row) for row, text in enumerate(texts)]
    chosen = chance.sample(long, min(EDITED, len(long) // 8))
    for number, row in enumerate(chosen):
        for kind, edit in [
            [*SAME.items()][number % len(SAME)],
            [*OTHER.items()][number % len(OTHER)],
        ]:
            made.append((edit(texts[row], chance), kind, row))
    slots = sorted(set(Chance(3).words))
    made += [
        (TEMPLATE + " ".join(chance.choices(slots, k=3)), "template", -1)
        for _ in range(count // 30)
    ]
    chance.shuffle(made)
    return Labelled(
        [text for text, _, _ in made],
        {row: kind for row, (_, kind, _) in enumerate(made)},
        {row: origin for row, (_, kind, origin) in enumerate(made) if kind in SAME or not kind},
    )


def judged(
    labelled: Labelled, pairs: Iterable[tuple[int, int]]
) -> tuple[float, float, Counter[str]]:
    """Recall and precision of the pairs, and how many of each kind were missed or wrongly named."""
    kinds, origin = labelled.kinds, labelled.origin
    by_origin: dict[int, list[int]] = {}
    for row, source in sorted(origin.items()):
        by_origin.setdefault(source, []).append(row)
    wanted = {row for same in by_origin.values() for row in same[1:]}
    right = {row for row, other in pairs if row in origin and origin[row] == origin.get(other)}
    wrong = {row for row, _ in pairs} - right
    faults = Counter(f"missed: {kinds[row] or 'its copy came first'}" for row in wanted - right)
    faults += Counter(f"wrongly: {kinds[row] or 'plain'}" for row in wrong)
    return len(right) / len(wanted), len(right) / (len(right) + len(wrong) or 1), faults
