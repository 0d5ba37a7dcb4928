"""An engine in memory that tunes and answers at once, and that can be told to wait, fail or die."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuner.engine import TINY, BaseModel, EngineError, Piece, Step, WorkerDied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tuner.engine import Prompt, TuningTask

EMBEDDER = BaseModel("models/embedder", "builtin:embedder", methods=("embedContent", "countTokens"))


@dataclass
class FakeEngine:
    """Answers with what it was asked; a step's loss is one over its number.

    Attributes:
        stop_at: A step at which a tuning sets ``waits``, then waits until ``go_on`` is set.
        die_at: Steps at which the worker is killed, each once, after a checkpoint.
        fail_at: A step at which the tuning fails for good.
        answer: What ``generate`` says, in place of an echo.
    """

    base_models: dict[str, BaseModel] = field(
        default_factory=lambda: {TINY.name: TINY, EMBEDDER.name: EMBEDDER}
    )
    stop_at: int = 0
    die_at: list[int] = field(default_factory=list)
    fail_at: int = 0
    answer: str = ""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[TuningTask] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    ended: int = 0

    async def tune(self, task: TuningTask, folder: Path) -> AsyncIterator[Step]:
        self.tasks.append(task)
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (tiny, and a fake)
        mark = folder / "checkpoint.json"
        done = json.loads(mark.read_text()) if mark.exists() else 0
        per_epoch = task.total_steps // task.epoch_count
        try:
            for step in range(done + 1, task.total_steps + 1):
                await asyncio.sleep(0)
                if step in self.die_at:
                    self.die_at.remove(step)
                    raise WorkerDied("the worker was killed")
                if step == self.stop_at:
                    self.waits.set()
                    await self.go_on.wait()
                if step == self.fail_at:
                    raise EngineError("the loss is not a number at step 2: lower the learning rate")
                mark.write_text(json.dumps(step))
                yield Step(step, 1 + (step - 1) // per_epoch, 1 / step, 1_700_000_000.0 + step, 10)
            (folder / "adapter").mkdir(exist_ok=True)
        finally:
            self.ended += 1

    def adapter(self, folder: Path) -> Path:
        return folder / "adapter"

    async def generate(self, prompt: Prompt) -> AsyncIterator[Piece]:
        self.prompts.append(prompt)
        words = (self.answer or prompt.turns[-1].text).split(" ")
        kept = words[: prompt.max_output_tokens]
        reason = "STOP" if len(kept) == len(words) else "MAX_TOKENS"
        for at, word in enumerate(kept):
            await asyncio.sleep(0)
            last = at == len(kept) - 1
            counts = await self.count_tokens(prompt), at + 1
            yield Piece(word if last else f"{word} ", reason if last else "", *counts)

    async def count_tokens(self, prompt: Prompt) -> int:
        texts = [prompt.system_instruction, *(turn.text for turn in prompt.turns)]
        return sum(len(text.split()) for text in texts)

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        assert model in self.base_models
        return [_vector(text) for text in texts]

    async def close(self) -> None:
        return


def _vector(text: str) -> list[float]:
    counts = [float(text.lower().count(letter)) for letter in "etaoinsrhdlu"]
    length = math.hypot(*counts) or 1.0
    return [count / length for count in counts]
