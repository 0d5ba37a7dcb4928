"""Count tokens with the engine's tokenizer; imports both the client and the engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuner.errors import RequestRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tuner.data.checks import Checks
    from tuner.data.dataset import Batch
    from tuner.engine.chat import Chat
    from tuner.errors import Problem
    from tuner.jobspec.load import BatchCheck, ExtraChecks
    from tuner.jobspec.prepared_job import PreparedJob
    from tuner.jobspec.schema import JobSpec

TUNABLE = "createTunedModel"
ALWAYS_SHORT_CHARS = 1_900
"""No known model rejects this few characters: a character is at most four tokens, and the template adds some.
Data without a longer row needs no tokenizer."""

_BATCH_CHARS = 250_000  # a token uses 100 bytes of memory or more, so this is about 30 MB
_MAX_BYTES_PER_CHAR = 4
_MAX_BYTES_PER_NORMALIZED_CHAR = 4 * 18  # NFKC turns one character into up to 18
_TEMPLATE_MARGIN = 16  # tokens a prompt may have beyond its empty template and its text


class TokenCounts(NamedTuple):
    """Tokens of one example: prompt with template and instruction, and output with its end token."""

    prompt: int
    output: int


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """Counts tokens as the engine on this machine does when it tunes.

    Attributes:
        model: ``models/ID``, or the folder that was given.
        folder: Of the model.
        limit: Maximum tokens of prompt and output together; longer examples are rejected, not truncated.
        chat: The tokenizer and chat template.
        prefix: Put before every text_input: the instruction and a blank line.
    """

    model: str
    folder: Path
    limit: int
    chat: Chat
    prefix: str = ""

    def count(self, text_inputs: Iterable[str], outputs: Iterable[str]) -> Iterator[TokenCounts]:
        """Yield the token counts of examples, in order.

        Texts of more than 250,000 characters are counted in pieces, which may add one token per piece;
        half of a surrogate pair counts as a question mark.

        Raises:
            RequestRefused: The model's template rejects a text.
        """
        from tuner.engine import EngineError

        texts = (_valid_unicode(self.prefix + each) for each in text_inputs)
        try:
            for batch in _batches(zip(texts, map(_valid_unicode, outputs), strict=True)):
                if len(batch) == 1:  # possibly a long one
                    yield self._count_long(*batch[0])
                else:
                    counts = self.chat.counts(*zip(*batch, strict=True))
                    yield from map(TokenCounts._make, counts)
        except EngineError as error:
            raise RequestRefused(str(error)) from error

    def totals(self, text_inputs: Sequence[str], outputs: Sequence[str]) -> list[int]:
        """Return the tokens of each example, 0 where its length shows that it is within the limit.

        Ten times as fast as ``count`` for short texts: a token is at least one byte, so a row of few
        characters needs no tokenizer. Raises as ``count`` does.
        """
        ((prompt, output),) = self.count([""], [""])
        has_normalizer = self.chat.tokenizer.normalizer is not None
        per_char = _MAX_BYTES_PER_NORMALIZED_CHAR if has_normalizer else _MAX_BYTES_PER_CHAR
        short_chars = (self.limit - prompt - output - _TEMPLATE_MARGIN) // per_char
        sizes = map(add, map(len, text_inputs), map(len, outputs))
        long = [at for at, size in enumerate(sizes) if size > short_chars]
        totals = [0] * len(text_inputs)
        counts = self.count((text_inputs[at] for at in long), (outputs[at] for at in long))
        for at, each in zip(long, counts, strict=True):
            totals[at] = sum(each)
        return totals

    def _count_long(self, text: str, output: str) -> TokenCounts:
        first, *more_text = _pieces(text)
        first_output, *more_output = _pieces(output)
        ((prompt, answer),) = self.chat.counts([first], [first_output])
        extra = (
            sum(len(self.chat.answer(each)) - 1 for each in pieces)
            for pieces in (more_text, more_output)
        )
        return TokenCounts(*map(add, (prompt, answer), extra))


def open_counter(name: str, instruction: str = "") -> TokenCounter | None:
    """Return the token counter of a model, or None if its files are not on this machine.

    Args:
        name: ``models/ID``, the ID, or a folder in Hugging Face's format.
        instruction: Put before every text_input.
    """
    try:
        from tuner.engine import BaseModel, base_models
        from tuner.engine.chat import open_chat
    except ImportError:  # the extra `local` is not installed
        return None
    from tuner.home import models_folder

    try:
        if Path(name).is_dir():
            model = BaseModel(name, name, methods=(TUNABLE,))
        else:
            model = base_models.known_base_model(name)
        folder = base_models.local_folder(model, models_folder())
        if folder is None or TUNABLE not in model.methods:
            return None
        chat = open_chat(folder)
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except Exception:  # noqa: BLE001 -- tokenizers raises Exception itself; a tuning reports the reason
        return None
    context = config.get("max_position_embeddings") or config.get("n_positions")
    limit = min(filter(None, (context, model.input_token_limit)), default=0)
    prefix = f"{instruction}\n\n" if instruction else ""
    return TokenCounter(model.name, folder, limit, chat, prefix)


def long_examples(spec: JobSpec) -> BatchCheck:
    """Return a check for examples with more tokens than the spec's model takes, if the model is here."""

    @cache
    def checks() -> Checks | None:
        return _long_example_checks(spec)

    def check(batch: Batch) -> Iterator[Problem]:
        sizes = map(add, map(len, batch.text_inputs), map(len, batch.outputs))
        most = ALWAYS_SHORT_CHARS - len(spec.training_data.instruction)
        if max(sizes, default=0) <= most or not (found := checks()):
            return
        yield from found.check_training(batch._replace(problems=()))

    return check


def extra_checks() -> ExtraChecks:
    """Return every check of a spec that needs a tokenizer or a metric's code."""
    from tuner.evaluation.metrics import check as check_metric
    from tuner.jobspec.load import ExtraChecks

    return ExtraChecks(long_examples, check_metric)


def token_counter() -> Callable[[PreparedJob], int | None]:
    """Return a function that counts the tokens of a job's examples, or returns None if it cannot.

    Each model is opened once; examples shared by several jobs are counted once.
    """
    open_once = cache(open_counter)
    known: dict[
        tuple[str, int], tuple[object, int]
    ] = {}  # holds the examples, since ids are reused

    def count(job: PreparedJob) -> int | None:
        spec, examples = job.spec, job.examples
        if spec.target.kind != "local" or spec.target.endpoint or not spec.base_model:
            return None
        counter = open_once(spec.base_model)
        if counter is None:
            return None
        key = spec.base_model, id(examples)
        if key not in known:
            rows = counter.count(
                (each.text_input for each in examples), (each.output for each in examples)
            )
            try:
                known[key] = examples, sum(map(sum, rows))
            except RequestRefused:  # reported by the tuning
                return None
        return known[key][1]

    return count


def _long_example_checks(spec: JobSpec) -> Checks | None:
    """Return the check of rule long-example; None if the model's tokenizer is not here."""
    from tuner.data.checks import Checks
    from tuner.data.checks.rules import IGNORABLE
    from tuner.types import Limits

    rule, data, target = "long-example", spec.training_data, spec.target
    if target.kind != "local" or target.endpoint or rule in data.ignore or not spec.base_model:
        return None
    counter = open_counter(spec.base_model, data.instruction)
    if counter is None:
        return None
    others = frozenset(IGNORABLE) - {rule}
    limits = Limits(None, None, None)
    return Checks(limits, data.instruction, others, counter.totals, counter.limit)


def _valid_unicode(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _batches(rows: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Group rows into batches of bounded length; a longer row is a batch of its own."""
    batch: list[tuple[str, str]] = []
    chars = 0
    for row in rows:
        size = len(row[0]) + len(row[1])
        if batch and chars + size > _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
        batch.append(row)
        chars += size
    if batch:
        yield batch


def _pieces(text: str) -> list[str]:
    starts = range(0, max(1, len(text)), _BATCH_CHARS)
    return [text[start : start + _BATCH_CHARS] for start in starts]
