"""What models answered in earlier runs, so that nobody is asked the same twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Answers(Protocol):
    """Answers by model and question; the ledger has one, a test's is a dict."""

    def find(self, model: str, questions: Iterable[str]) -> dict[str, str]:
        """Those of these questions that ``model`` has answered, with the answers."""

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Write answers down, by question, so that they survive a crash."""


class NothingKept:
    """No memory: everybody is asked anew."""

    def find(self, model: str, questions: Iterable[str]) -> dict[str, str]:  # noqa: ARG002 -- as the protocol says
        """Nothing."""
        return {}

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Forget them."""


NOTHING_KEPT = NothingKept()


class Anew:
    """Forgets what earlier runs kept, and keeps what this one hears."""

    def __init__(self, kept: Answers) -> None:
        """``kept`` takes the new answers in place of the old ones."""
        self._kept = kept
        self._heard: set[tuple[str, str]] = set()

    def find(self, model: str, questions: Iterable[str]) -> dict[str, str]:
        """Of these questions those that were answered since."""
        return self._kept.find(model, [each for each in questions if (model, each) in self._heard])

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Write answers down."""
        await self._kept.keep(model, answers)
        self._heard |= {(model, question) for question in answers}
