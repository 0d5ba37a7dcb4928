"""The inference process: generates, counts tokens and embeds; each base model is loaded once.

Standard input: one line with the models on offer, then one line per request. Standard output: one or
more lines per request, each with the request's ID. The process ends when standard input is closed.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuner.engine import EngineError, child_process
from tuner.engine.child_process import available_cpus, format_traceback
from tuner.engine.model_cache import ModelCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tuner.engine import Piece
    from tuner.engine.embed import Embedder
    from tuner.engine.generate import Batch, GenerationRequest

MAX_ROWS = 128
MAX_PREFILL_TOKENS = (
    4096  # per batch, padding included: bounds memory and the wait of other requests
)
NICENESS = 5  # below the service itself


class BatchScheduler:
    """Groups requests into batches and advances every running batch by one token per round."""

    def __init__(
        self, models: ModelCache, replies: child_process.Replies, thread_count: int
    ) -> None:
        self.models = models
        self.replies = replies
        self.thread_count = thread_count
        self.decode_threads = _single_cpu_threads(thread_count)
        # A long prompt takes seconds to read; short ones are read beside it, and decoding continues.
        self.prefill_threads = _single_cpu_threads(max(2, thread_count))
        self.embed_thread = ThreadPoolExecutor(1)
        self.inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.waiting: dict[int, GenerationRequest] = {}
        self.batches: list[Batch] = []
        self.prefilling_rows = 0
        self.open: set[int] = set()

    def run(self) -> None:
        """Process requests forever; block while there is nothing to do."""
        while True:
            while not self.inbox.empty() or not (
                self.batches or (self.waiting and self._free_rows())
            ):
                self.inbox.get()()
            self.advance()

    def accept(self, request: dict[str, Any]) -> None:
        """Start a request as soon as the model it needs is loaded; other requests continue."""
        number: int = request["id"]
        if request["do"] == "cancel":
            self.open.discard(number)
            self.waiting.pop(number, None)
            return
        self.open.add(number)
        try:
            loading = self.models.load(request)
        except EngineError as error:
            self._fail(number, error)
            return
        loading.add_done_callback(
            lambda loaded: self.inbox.put(partial(self._begin, request, loaded))
        )

    def advance(self) -> None:
        """Start waiting requests while rows are free, and generate one token for every batch."""
        for requests in self._next_groups():
            self.prefilling_rows += len(requests)
            self.prefill_threads.submit(self._prefill, requests)
        alive = self.decode_threads.map(self._decode, self.batches)
        pairs = list(zip(self.batches, alive, strict=True))
        self.batches = [batch for batch, is_alive in pairs if is_alive and not batch.done]

    def _begin(self, request: dict[str, Any], loaded: Future[Any]) -> None:
        number: int = request["id"]
        if number not in self.open:  # cancelled while the model was loading
            return
        try:
            loaded.result()
            match request["do"]:
                case "generate":
                    prompt = child_process.prompt_from(request["prompt"])
                    send = partial(self._send_piece, number)
                    self.waiting[number] = self.models.request(number, prompt, send)
                case "count":
                    prompt = child_process.prompt_from(request["prompt"])
                    self._reply(number, tokens=self.models.count_tokens(prompt))
                case "embed":
                    texts = request["texts"]
                    self.embed_thread.submit(self._embed, number, loaded.result(), texts)
        except Exception as error:  # noqa: BLE001  one bad request must not end the others
            self._fail(number, error)

    def _embed(self, number: int, embedder: Embedder, texts: list[str]) -> None:
        try:
            self._reply(number, vectors=embedder.embed(texts))
        except Exception as error:  # noqa: BLE001  as in _begin
            self._fail(number, error)

    def _prefill(self, requests: list[GenerationRequest]) -> None:
        """Read the prompts of a new batch, in a prefill thread."""
        batch = None
        wanted = [request for request in requests if request.number in self.open]
        try:
            with torch.inference_mode():
                batch = self.models.batch(wanted) if wanted else None
        except Exception as error:  # noqa: BLE001  as in _begin
            self._fail_all(wanted, error)
        self.inbox.put(partial(self._add_batch, len(requests), batch))

    def _add_batch(self, rows: int, batch: Batch | None) -> None:
        self.prefilling_rows -= rows
        if batch and not batch.done:
            self.batches.append(batch)

    def _decode(self, batch: Batch) -> bool:
        """Generate one token per row; return False if the batch failed."""
        requests = [row.request for row in batch.rows]
        cancelled = [request for request in requests if request.number not in self.open]
        try:
            with torch.inference_mode():
                batch.advance(cancelled)
        except Exception as error:  # noqa: BLE001  as in _begin
            self._fail_all(requests, error)
            return False
        return True

    def _free_rows(self) -> int:
        decoding = sum(len(batch.rows) for batch in self.batches)
        return max(0, MAX_ROWS - self.prefilling_rows - decoding)

    def _next_groups(self) -> list[list[GenerationRequest]]:
        """Take waiting requests from the queue, in groups that one batch can answer."""
        groups: dict[tuple[Any, ...], list[list[GenerationRequest]]] = {}
        for request in list(self.waiting.values())[: self._free_rows()]:
            del self.waiting[request.number]
            prompt = request.prompt
            # Rows of one batch change each other's rounding, so a request with a seed runs alone.
            alone = None if prompt.seed is None else request.number
            parts = groups.setdefault((prompt.base_model, prompt.adapter, alone), [[]])
            longest = max(len(other.tokens) for other in (*parts[-1], request))
            if parts[-1] and longest * (len(parts[-1]) + 1) > MAX_PREFILL_TOKENS:
                parts.append([])
            parts[-1].append(request)
        return [
            part[thread :: self.thread_count]  # every thread gets about the same work
            for parts in groups.values()
            for part in parts
            for thread in range(min(self.thread_count, len(part)))
        ]

    def _send_piece(self, number: int, piece: Piece) -> None:
        last = bool(piece.finish_reason)
        if last:
            self.open.discard(number)
        self.replies.send(id=number, **asdict(piece), last=last)

    def _reply(self, number: int, **answer: Any) -> None:
        self.open.discard(number)
        self.replies.send(id=number, **answer, last=True)

    def _fail_all(self, requests: list[GenerationRequest], error: Exception) -> None:
        for request in requests:
            if request.number in self.open:
                self._fail(request.number, error)

    def _fail(self, number: int, error: Exception) -> None:
        self.open.discard(number)
        is_request = isinstance(error, EngineError) and error.is_request
        if not isinstance(error, EngineError):
            sys.stderr.write(f"{format_traceback(error)}\n")
        text = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
        self.replies.send(id=number, error=text, is_request=is_request, last=True)


def main() -> None:
    """Serve requests until standard input is closed."""
    os.nice(NICENESS)
    replies = child_process.Replies()
    cpus = available_cpus()
    torch.set_num_threads(cpus)
    setup = child_process.decode(sys.stdin.buffer.readline())
    models = {model["name"]: child_process.base_model_from(model) for model in setup["models"]}
    scheduler = BatchScheduler(ModelCache(models, Path(setup["models_folder"])), replies, cpus)
    threading.Thread(target=_read_requests, args=(scheduler,), daemon=True).start()
    scheduler.run()


def _single_cpu_threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def _read_requests(scheduler: BatchScheduler) -> None:
    for line in sys.stdin.buffer:
        scheduler.inbox.put(partial(scheduler.accept, child_process.decode(line)))
    os._exit(0)  # the service is gone; do not wait for a long matrix product


if __name__ == "__main__":
    main()
