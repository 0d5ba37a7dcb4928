"""Hold an answer to a form, token by token; V constraint_vocabulary."""

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

# Enough for four levels of indentation. Without an end, a small model may write nothing but spaces.
_JSON = {"whitespace_pattern": r"[ \n]{0,9}", "coerce_one_of": True}
_NO_SPACE_AROUND = r"/(?s:\S.*\S|\S)/"


class Constraint:
    """What of one answer is written, and so which tokens may come next."""

    def __init__(self, constraint_vocabulary: LLTokenizer, form: Form) -> None:
        """Read the form. Raises EngineError if it is none that an answer could have."""
        try:
            self.matcher = LLMatcher(constraint_vocabulary, _grammar(form), log_level=0)
        except ValueError as error:
            raise _refused(str(error)) from error
        if self.matcher.is_error():
            raise _refused(self.matcher.get_error())

    def forbid(self, logits: Tensor) -> bool:
        """Make impossible what may not come next, in place; (V,) logits.

        Returns:
            Whether that worked; it does not where a form is too involved to follow further.
        """
        marks = torch.frombuffer(bytearray(self.matcher.compute_logit_bias()), dtype=torch.uint8)
        logits[len(marks) :] = -torch.inf  # some models have more logits than tokens
        logits[: len(marks)].masked_fill_(marks[: len(logits)] == 0, -torch.inf)
        return not self.matcher.is_error()

    def take(self, token: int) -> None:
        """Note what came."""
        self.matcher.consume_token(token)

    @property
    def ended(self) -> bool:
        """Whether nothing more can come."""
        return bool(self.matcher.is_stopped())


def constraint_vocabulary(chat: Chat) -> LLTokenizer:
    """What guides need to know of a model's tokens; takes half a second for 50,000."""
    return LLTokenizer(chat.tokenizer.to_str(), eos_token=list(chat.ends))


def _grammar(form: Form) -> str:
    if form.json_schema:
        return str(LLMatcher.grammar_from_json_schema(form.json_schema, overrides=_JSON))
    lark = _one_of(form.choices) if form.choices else _span_of(form.sources)
    return str(LLMatcher.grammar_from_lark(lark))


def _one_of(choices: Sequence[str]) -> str:
    return "start: " + " | ".join(map(json.dumps, choices))


def _span_of(sources: Sequence[str]) -> str:
    """Any run of words of one source, with no space around it."""
    rules = [f"start: {' | '.join(f'SPAN{n}' for n in range(len(sources)))}"]
    for n, source in enumerate(sources):
        rules += [
            f"SPAN{n}: WORDS{n} & {_NO_SPACE_AROUND}",
            f"WORDS{n}: %regex {json.dumps({'substring_words': source})}",
        ]
    return "\n".join(rules)


def _refused(why: str) -> EngineError:
    return EngineError(
        f"no answer can have the form that is asked for: {why}; change the schema or choices",
        is_request=True,
    )
