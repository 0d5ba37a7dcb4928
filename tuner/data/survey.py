"""What only all rows together tell: outputs that are variants of a label, inputs with several outputs."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

from tuner.data.checks.labels import LONGEST, MOST_LABELS, is_label_set, misspelt
from tuner.data.repeats import plain


class Survey:
    """Remembers 300 bytes of every different input."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._outputs: dict[bytes, set[str | bytes]] = {}

    def add(self, text_input: str, output: str) -> None:
        """Look at an example."""
        if len(self._counts) <= MOST_LABELS:
            self._counts[output] += 1
        short = output if len(output) <= LONGEST else mark(output)
        self._outputs.setdefault(mark(plain(text_input)), set()).add(short)

    def labels(self) -> dict[str, str]:
        """For each variant of a label the one it stands for; nothing if outputs are no labels."""
        if not is_label_set(self._counts):
            return {}
        found = _same_but_for_case(self._counts)
        counts = _merged(self._counts, found)
        while more := misspelt(counts):
            found |= {label: more.get(other, other) for label, other in found.items()} | more
            counts = _merged(self._counts, found)
        return found

    def conflicts(self, labels: dict[str, str]) -> set[bytes]:
        """The marks of inputs, but for case and space, that have several outputs."""
        return {
            key
            for key, outputs in self._outputs.items()
            if len({labels.get(each, each) if isinstance(each, str) else each for each in outputs})
            > 1
        }


def mark(*texts: str) -> bytes:
    """Sixteen bytes that stand for texts."""
    sizes = ",".join(str(len(text)) for text in texts)
    whole = "".join((sizes, ";", *texts))
    return blake2b(whole.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _merged(counts: Counter[str], labels: dict[str, str]) -> Counter[str]:
    merged: Counter[str] = Counter()
    for label, count in counts.items():
        merged[labels.get(label, label)] += count
    return merged


def _same_but_for_case(counts: Counter[str]) -> dict[str, str]:
    best: dict[str, str] = {}
    for label, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        best.setdefault(plain(label), label)
    return {label: best[plain(label)] for label in counts if best[plain(label)] != label}
