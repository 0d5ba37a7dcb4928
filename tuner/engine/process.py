"""The engine that works in processes on this machine: one a tuning, and one for all answers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING

from tuner.engine import CHECKPOINT_S, EngineError, durable, messages, task_folder
from tuner.engine.inference_process import InferenceProcess
from tuner.engine.tuning_process import end, follow

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

    from tuner.engine import BaseModel, Piece, Prompt, Step, TuningTask


class ProcessEngine:
    """Tunes and runs models in processes of their own; this one never loads torch.

    Use it within one event loop. An engine is cheap to make: processes start when they are needed.
    """

    def __init__(
        self,
        base_models: Mapping[str, BaseModel],
        models_folder: Path,
        *,
        checkpoint_s: float = CHECKPOINT_S,
    ) -> None:
        """Keep what is on offer, by name, and where converted models are."""
        self._base_models = dict(base_models)
        self.models_folder = models_folder
        self.checkpoint_s = checkpoint_s
        self.workers: set[Process] = set()
        setup = messages.setup(self._base_models, models_folder)
        self.inference = InferenceProcess(setup, models_folder / "inference.log")

    @property
    def base_models(self) -> Mapping[str, BaseModel]:
        """What is on offer, by name."""
        return self._base_models

    async def tune(self, task: TuningTask, folder: Path) -> AsyncGenerator[Step, None]:
        """Tune, or go on from the last checkpoint in ``folder``; see Engine."""
        model = self._base_models.get(task.base_model)
        if model is None or "createTunedModel" not in model.methods:
            able = (m.name for m in self._base_models.values() if "createTunedModel" in m.methods)
            raise EngineError(
                f"{task.base_model} cannot be tuned here; use one of: {', '.join(able)}",
                is_request=True,
            )
        with durable.needs_room(folder):
            task_folder.write_task(folder, task, model, self.models_folder)
        if self.adapter(folder).exists():
            for step in task_folder.steps(folder):
                yield step
            return
        async with aclosing(follow(folder, self.checkpoint_s, self.workers)) as steps:
            async for step in steps:
                yield step

    def adapter(self, folder: Path) -> Path:
        """Where ``tune`` leaves the finished adapter, a folder in PEFT's format."""
        return folder / task_folder.ADAPTER

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        """Answer a prompt, piece by piece; see Engine."""
        async with aclosing(self.inference.ask("generate", prompt=asdict(prompt))) as answers:
            async for answer in answers:
                yield messages.piece(answer)

    async def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the prompt as the model would see it, template included."""
        answer = await self.inference.ask_once("count", prompt=asdict(prompt))
        count: int = answer["tokens"]
        return count

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One unit-length vector a text."""
        answer = await self.inference.ask_once("embed", model=model, texts=list(texts))
        vectors: list[list[float]] = answer["vectors"]
        return vectors

    async def close(self) -> None:
        """End every worker; running tunings keep their checkpoints."""
        await asyncio.gather(*map(end, list(self.workers)))
        await self.inference.close()
