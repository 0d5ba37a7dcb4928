"""Constrained decoding: restrict an answer to a JSON Schema, a choice, or a quotation. V is the vocabulary size."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from llguidance import LLMatcher, LLTokenizer

from tuner.engine import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from tuner.engine import Form
    from tuner.engine.chat import Chat

# Enough white space for four levels of indentation. Unlimited, a small model may write nothing else.
_JSON_OPTIONS = {"whitespace_pattern": r"[ \n]{0,9}", "coerce_one_of": True}
_NO_SURROUNDING_SPACE = r"/(?s:\S.*\S|\S)/"


class Constraint:
    """The grammar of one answer and how far the answer has followed it."""

    def __init__(self, vocabulary: LLTokenizer, form: Form) -> None:
        """Compile the form. Raises EngineError if no answer can satisfy it."""
        try:
            self.matcher = LLMatcher(vocabulary, _grammar(form), log_level=0)
        except ValueError as error:
            raise _impossible(str(error)) from error
        if self.matcher.is_error():
            raise _impossible(self.matcher.get_error())

    def mask(self, logits: Tensor) -> bool:
        """Set the logits (V,) of forbidden tokens to -inf, in place.

        Returns:
            False if the grammar has become too complex to follow.
        """
        allowed = torch.frombuffer(bytearray(self.matcher.compute_logit_bias()), dtype=torch.uint8)
        logits[len(allowed) :] = -torch.inf  # some models have more logits than tokens
        logits[: len(allowed)].masked_fill_(allowed[: len(logits)] == 0, -torch.inf)
        return not self.matcher.is_error()

    def accept(self, token: int) -> None:
        """Advance by one token."""
        self.matcher.consume_token(token)

    @property
    def is_complete(self) -> bool:
        """Whether no further token is possible."""
        return bool(self.matcher.is_stopped())


def constraint_vocabulary(chat: Chat) -> LLTokenizer:
    """Prepare a tokenizer for constraints; takes 0.5 s for 50,000 tokens."""
    return LLTokenizer(chat.tokenizer.to_str(), eos_token=list(chat.ends))


def _grammar(form: Form) -> str:
    if form.json_schema:
        schema = LLMatcher.grammar_from_json_schema(form.json_schema, overrides=_JSON_OPTIONS)
        return str(schema)
    if form.choices:
        lark = "start: " + " | ".join(map(json.dumps, form.choices))
    else:
        lark = _quotation(form.sources)
    return str(LLMatcher.grammar_from_lark(lark))


def _quotation(sources: Sequence[str]) -> str:
    """A Lark grammar for any run of words of one source, without surrounding space."""
    rules = [f"start: {' | '.join(f'SPAN{n}' for n in range(len(sources)))}"]
    for n, source in enumerate(sources):
        rules += [
            f"SPAN{n}: WORDS{n} & {_NO_SURROUNDING_SPACE}",
            f"WORDS{n}: %regex {json.dumps({'substring_words': source})}",
        ]
    return "\n".join(rules)


def _impossible(reason: str) -> EngineError:
    return EngineError(
        f"no answer can have the requested form: {reason}; change the schema or choices",
        is_request=True,
    )
