"""Answers of models to many prompts at once; a cached answer is not requested again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakKeyDictionary

from tuner import names
from tuner.errors import NotFinished, TuningFailed, Unavailable
from tuner.targets.retry import jittered
from tuner.types import State

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Collection,
        Coroutine,
        Iterable,
        Mapping,
        Sequence,
    )

    from tuner.targets import Target
    from tuner.types import GenerationConfig, TunedModel

T = TypeVar("T")

CONCURRENCY = 32
KEPT_AT_ONCE = 64
KEPT_AFTER_S = 1.0
LONGEST_WAIT_S = 60.0


class AnswerCache(Protocol):
    """Stores answers by model and question."""

    def find(self, model: str, questions: Iterable[str]) -> dict[str, str]:
        """Return the known answers of ``model`` to these questions."""

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Save answers, by question, so that they survive a crash."""


class EmptyCache:
    """Stores nothing: every question is sent to its model."""

    def find(self, model: str, questions: Iterable[str]) -> dict[str, str]:  # noqa: ARG002 -- as the protocol says
        """Nothing."""
        return {}

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Forget them."""


EMPTY_CACHE = EmptyCache()


class NoCache:
    """Ignores the answers of earlier runs, and stores those of this run."""

    def __init__(self, kept: AnswerCache) -> None:
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


async def ask(  # noqa: PLR0913, PLR0917 -- who, what, how, where from, where to
    target: Target,
    model: str,
    prompts: Sequence[str],
    config: GenerationConfig,
    answers: AnswerCache,
    tell: Callable[[int], None],
    who: str = "",
) -> list[str]:
    """What ``model`` answers to each of ``prompts``, "" where it gives no text.

    What was answered before is taken from ``answers``; new answers are kept there, ``KEPT_AT_ONCE``
    or those of ``KEPT_AFTER_S`` seconds at a time, so that a crash loses no more. All that ask one
    target share ``CONCURRENCY`` calls, and two that ask one model wait for each other's answers.
    ``tell`` is called with the number of prompts that were just answered; ``who`` is the model's
    identity where it is known.

    Raises:
        TunerError: As the target's; a spent quota is waited for instead, however long it takes.
    """
    who = who or await identity(target, model)
    keys = [question(prompt, config) for prompt in prompts]
    times = Counter(keys)
    shared = _shared(target.address)
    async with shared.turns[who]:
        found = answers.find(who, set(keys))
        _told(tell, sum(key in found for key in keys))
        left = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in found}

        async def answer(key: str) -> str:
            async with shared.permits:
                return await _patiently(target, model, left[key], config)

        notebook = _Notebook(answers, who, found)
        await _fill(notebook, left, answer, lambda key: tell(times[key]))
    return [found[key] for key in keys]


async def _fill(
    notebook: _Notebook,
    keys: Collection[str],
    answer: Callable[[str], Awaitable[str]],
    told: Callable[[str], None],
) -> None:
    """Write down the answer to each, and what is in already when one of them fails."""
    queue = iter(keys)

    async def work() -> None:
        for key in queue:
            await notebook.write(key, await answer(key))
            told(key)

    try:
        await run_all(work() for _ in range(min(CONCURRENCY, len(keys))))
    except (Exception, asyncio.CancelledError):
        await notebook.keep()
        raise
    await notebook.keep()


def question(prompt: str, config: GenerationConfig) -> str:
    """Return the key of a prompt with these settings: 32 hex digits."""
    content = json.dumps([prompt, config])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


async def identity(target: Target, model: str) -> str:
    """A name for what answers: a model deleted and tuned again under its id is another one.

    Raises:
        NotFinished, TuningFailed: It cannot answer, not yet or never.
        TunerError: As the target's.
    """
    if not names.is_tuned_model(model):
        return model
    found = await target.tuned_model(model)
    if found.state is State.CREATING:
        raise NotFinished(f"{model} is still tuning", "`tuner status` says how far it is")
    if found.state is State.FAILED:
        raise TuningFailed(f"the tuning of {model} failed", "`tuner retry` tunes it again")
    return identity_of(found)


def identity_of(model: TunedModel) -> str:
    """Return the identity of a tuned model as the service shows it."""
    return f"{model.name}@{model.create_time}"


class _Notebook:
    """Collects new answers and writes them to the cache in groups."""

    def __init__(self, answers: AnswerCache, who: str, found: dict[str, str]) -> None:
        self._answers, self._who, self._found = answers, who, found
        self._new: dict[str, str] = {}
        self._since = time.monotonic()

    async def write(self, key: str, answer: str) -> None:
        self._found[key] = self._new[key] = answer
        if len(self._new) >= KEPT_AT_ONCE or time.monotonic() - self._since >= KEPT_AFTER_S:
            await self.keep()

    async def keep(self) -> None:
        new, self._new, self._since = self._new, {}, time.monotonic()
        if new:
            await self._answers.keep(self._who, new)


class _Shared:
    """The limits that all callers of one target share."""

    def __init__(self) -> None:
        self.permits = asyncio.Semaphore(CONCURRENCY)
        self.turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)


_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, defaultdict[str, _Shared]] = (
    WeakKeyDictionary()
)


def _shared(address: str) -> _Shared:
    loop = asyncio.get_running_loop()
    return _LOOPS.setdefault(loop, defaultdict(_Shared))[address]


async def _patiently(target: Target, model: str, prompt: str, config: GenerationConfig) -> str:
    """Generate an answer, and wait while the quota is exhausted."""
    wait_s = 1.0
    while True:
        try:
            return (await target.generate(model, prompt, config)).text
        except Unavailable as error:
            if not error.is_quota:
                raise
            told_s, doubled_s = error.retry_after_s, jittered(wait_s)
        await asyncio.sleep(doubled_s if told_s is None else told_s)
        wait_s = min(wait_s * 2, LONGEST_WAIT_S)


def _told(tell: Callable[[int], None], count: int) -> None:
    if count:
        tell(count)


async def run_all(coroutines: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Return the results of all; the first error cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
