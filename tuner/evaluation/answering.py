"""Request the answers of models to many prompts; a cached answer is not requested again."""

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
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from tuner.targets import Target
    from tuner.types import GenerationConfig, TunedModel

T = TypeVar("T")

CONCURRENCY = 32
SAVE_EVERY_ANSWERS = 64
SAVE_EVERY_S = 1.0
MAX_BACKOFF_S = 60.0


class AnswerCache(Protocol):
    """Stores answers by model and question, see ``question``."""

    def find(self, model: str, questions: Iterable[str]) -> dict[str, str]:
        """Return the known answers of ``model`` to these questions."""

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Save answers, by question, so that they survive a crash."""


class EmptyCache:
    """Stores nothing: every question is sent to its model."""

    def find(self, model: str, questions: Iterable[str]) -> dict[str, str]:  # noqa: ARG002 -- the protocol has it
        """Return no answers."""
        return {}

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Do nothing."""


EMPTY_CACHE = EmptyCache()


class NoCache:
    """Ignores the answers of earlier runs, and stores those of this run."""

    def __init__(self, cache: AnswerCache) -> None:
        self._cache = cache
        self._new: set[tuple[str, str]] = set()

    def find(self, model: str, questions: Iterable[str]) -> dict[str, str]:
        """Return the answers that were saved through this object."""
        return self._cache.find(model, [each for each in questions if (model, each) in self._new])

    async def keep(self, model: str, answers: Mapping[str, str]) -> None:
        """Save answers, replacing those of earlier runs."""
        await self._cache.keep(model, answers)
        self._new |= {(model, question) for question in answers}


async def ask(  # noqa: PLR0913, PLR0917 -- a request, its cache and its progress
    target: Target,
    model: str,
    prompts: Sequence[str],
    config: GenerationConfig,
    cache: AnswerCache,
    on_answers: Callable[[int], None],
    model_identity: str = "",
) -> list[str]:
    """Return the answer of ``model`` to each prompt, "" if it generates no text.

    New answers are saved in ``cache`` every ``SAVE_EVERY_ANSWERS`` answers or ``SAVE_EVERY_S``
    seconds, so a crash loses few. All calls to one target share ``CONCURRENCY`` requests; calls for
    one model run one after another, so that the second finds the answers of the first.

    Args:
        target: Where the model is.
        model: Its name.
        prompts: May repeat; each different one is requested once.
        config: The same for all prompts.
        cache: Searched first.
        on_answers: Called with the number of prompts just answered.
        model_identity: As ``identity`` returns it, if the caller has it already.

    Raises:
        TunerError: From the target; an exhausted quota is waited for, without limit.
    """
    model_identity = model_identity or await identity(target, model)
    keys = [question(prompt, config) for prompt in prompts]
    times = Counter(keys)
    limits = _LIMITS.setdefault(asyncio.get_running_loop(), defaultdict(_Limits))[target.address]
    async with limits.model_locks[model_identity]:
        answers = cache.find(model_identity, times)
        if answers:
            on_answers(sum(times[key] for key in answers))
        missing = {
            key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in answers
        }
        queue, saver = iter(missing.items()), _Saver(cache, model_identity)

        async def work() -> None:
            for key, prompt in queue:
                async with limits.requests:
                    answers[key] = await _generate(target, model, prompt, config)
                await saver.add(key, answers[key])
                on_answers(times[key])

        try:
            await run_all(work() for _ in range(min(CONCURRENCY, len(missing))))
        except (Exception, asyncio.CancelledError):
            await saver.save()
            raise
        await saver.save()
    return [answers[key] for key in keys]


def question(prompt: str, config: GenerationConfig) -> str:
    """Return the key of a prompt with these settings: 32 hex digits."""
    content = json.dumps([prompt, config])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


async def identity(target: Target, model: str) -> str:
    """Return a name that differs for a model that was deleted and tuned again under the same ID.

    Raises:
        NotFinished: It is still tuning.
        TuningFailed: It cannot answer.
        TunerError: From the target.
    """
    if not names.is_tuned_model(model):
        return model
    found = await target.tuned_model(model)
    if found.state is State.CREATING:
        raise NotFinished(f"{model} is still tuning", "`tuner status` shows its progress")
    if found.state is State.FAILED:
        raise TuningFailed(f"the tuning of {model} failed", "`tuner retry` tunes it again")
    return identity_of(found)


def identity_of(model: TunedModel) -> str:
    """Return the identity of a tuned model as the service shows it."""
    return f"{model.name}@{model.create_time}"


async def run_all(coroutines: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Return the results of all; the first error cancels the others and is raised unwrapped."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


class _Saver:
    """Collects new answers and saves them in groups."""

    def __init__(self, cache: AnswerCache, model: str) -> None:
        self._cache, self._model = cache, model
        self._new: dict[str, str] = {}
        self._saved_at = time.monotonic()

    async def add(self, key: str, answer: str) -> None:
        self._new[key] = answer
        age_s = time.monotonic() - self._saved_at
        if len(self._new) >= SAVE_EVERY_ANSWERS or age_s >= SAVE_EVERY_S:
            await self.save()

    async def save(self) -> None:
        new, self._new, self._saved_at = self._new, {}, time.monotonic()
        if new:
            await self._cache.keep(self._model, new)


class _Limits:
    """What all calls to one target share."""

    def __init__(self) -> None:
        self.requests = asyncio.Semaphore(CONCURRENCY)
        self.model_locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)


_LIMITS: WeakKeyDictionary[asyncio.AbstractEventLoop, defaultdict[str, _Limits]] = (
    WeakKeyDictionary()
)


async def _generate(target: Target, model: str, prompt: str, config: GenerationConfig) -> str:
    """Generate an answer; wait while the quota is exhausted."""
    backoff_s = 1.0
    while True:
        try:
            return (await target.generate(model, prompt, config)).text
        except Unavailable as error:
            if not error.is_quota:
                raise
            wait_s = error.retry_after_s
        await asyncio.sleep(jittered(backoff_s) if wait_s is None else wait_s)
        backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
