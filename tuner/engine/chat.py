"""Convert conversations to tokens with a model's chat template, the same way for tuning and inference.

A model without a template gets each turn on its own line and answers after the last line break.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from tuner.engine import EngineError, Turn
from tuner.engine.generate import REPLACEMENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from jinja2 import Template

PLAIN = "{% for message in messages %}{{ bos_token if loop.first }}{{ message['content'] }}\n{% endfor %}"
ROLES = {"user": "user", "model": "assistant"}


@dataclass(frozen=True, slots=True)
class Chat:
    """A base model's tokenizer and chat template.

    Attributes:
        names: The special tokens by their names in the template: bos_token, eos_token...
        ends: Tokens that end an answer; tuning uses the first.
    """

    tokenizer: Tokenizer
    template: Template
    names: dict[str, str]
    ends: tuple[int, ...]

    def prompt(self, turns: Sequence[Turn], system_instruction: str = "") -> list[int]:
        """Return the tokens before the answer.

        Raises:
            EngineError: The model's template rejects the conversation.
        """
        messages = [{"role": ROLES[turn.role], "content": turn.text} for turn in turns]
        system = {"role": "system", "content": system_instruction}
        try:
            return self._encode([system, *messages] if system_instruction else messages)
        except TemplateError as error:
            if not system_instruction:
                raise _rejected(error) from error
        # Some templates have no system role; prepend the instruction to the first turn.
        first = messages[0]["content"]
        messages[0]["content"] = f"{system_instruction}\n\n{first}"
        try:
            return self._encode(messages)
        except TemplateError as error:
            raise _rejected(error) from error

    def answer(self, text: str) -> list[int]:
        """Return the tokens of an answer, the end-of-turn token last."""
        return [*self._ids(text, special=False), self.ends[0]]

    def counts(self, texts: Sequence[str], answers: Sequence[str]) -> list[tuple[int, int]]:
        """Return the lengths of ``prompt`` (one turn) and ``answer`` of many rows, in batches.

        Holds all tokens in memory at once, about 100 bytes each.
        """
        has_special = re.compile("|".join(map(re.escape, self._special())) or r"(?!)").search
        with_special = [at for at, text in enumerate(texts) if has_special(text)]
        messages = [[{"role": ROLES["user"], "content": text}] for text in texts]
        try:
            prompts = self._lengths([self._render(each) for each in messages], special=True)
        except TemplateError as error:
            raise _rejected(error) from error
        for at in with_special:
            prompts[at] = len(self._encode(messages[at]))
        outputs = self._lengths(answers, special=False)
        return [(prompt, output + 1) for prompt, output in zip(prompts, outputs, strict=True)]

    def text(self, tokens: Sequence[int]) -> str:
        """Decode tokens, without special ones."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def name(self, token: int) -> str:
        """Return the text of one token, or its name if it has no text."""
        return self.text([token]) or str(self.tokenizer.id_to_token(token) or "")

    def _encode(self, messages: list[dict[str, str]]) -> list[int]:
        """Tokenize a conversation; text inside turns never becomes a special token."""
        special = self._special()
        contents = [message["content"] for message in messages]
        if not any(token in content for token in special for content in contents):
            return self._ids(self._render(messages), special=True)
        marks = [f"\ue000{number}\ue001" for number in range(len(messages))]
        marked = [
            dict(message, content=mark) for message, mark in zip(messages, marks, strict=True)
        ]
        rest, ids = self._render(marked), []
        for mark, content in zip(marks, contents, strict=True):
            before, _, rest = rest.partition(mark)
            ids += self._ids(before, special=True) + self._ids(content, special=False)
        return ids + self._ids(rest, special=True)

    def _render(self, messages: list[dict[str, str]]) -> str:
        return self.template.render(messages=messages, add_generation_prompt=True, **self.names)

    def _special(self) -> list[str]:
        return [token.content for token in self.tokenizer.get_added_tokens_decoder().values()]

    def _lengths(self, texts: Sequence[str], *, special: bool) -> list[int]:
        self.tokenizer.encode_special_tokens = not special
        return [
            len(each) for each in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ]

    def _ids(self, text: str, *, special: bool) -> list[int]:
        self.tokenizer.encode_special_tokens = not special
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def open_chat(folder: Path) -> Chat:
    """Load the tokenizer and chat template of a model in Hugging Face's format.

    Raises:
        EngineError: The model names no end-of-answer token, or its template is invalid.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = _json(folder / "tokenizer_config.json")
    names = {
        key: _token(value)
        for key, value in settings.items()
        if key.endswith("_token") and value and not isinstance(value, bool)
    }
    ends = [tokenizer.token_to_id(names.get("eos_token", ""))]
    for file in ("generation_config.json", "config.json"):
        value = _json(folder / file).get("eos_token_id")
        ends += value if isinstance(value, list) else [value]
    unique = tuple(dict.fromkeys(end for end in ends if end is not None))
    if not unique:
        raise EngineError(
            f"{folder} defines no end-of-sequence token;"
            " set eos_token in its tokenizer_config.json, or eos_token_id in its config.json"
        )
    return Chat(tokenizer, _template(folder, settings), {"bos_token": "", **names}, unique)


def _template(folder: Path, settings: dict[str, Any]) -> Template:
    file = folder / "chat_template.jinja"
    source = file.read_text(encoding="utf-8") if file.exists() else settings.get("chat_template")
    if isinstance(source, list):  # several named templates; "default" is for chat
        source = {entry["name"]: entry["template"] for entry in source}.get("default")
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda pattern: (
        datetime.now().astimezone().strftime(pattern)
    )
    try:
        return environment.from_string(source or PLAIN)
    except TemplateError as error:
        raise EngineError(f"the chat template in {folder} is invalid: {error}") from error


def _raise(reason: str) -> NoReturn:
    raise TemplateError(reason)


def _rejected(error: TemplateError) -> EngineError:
    return EngineError(
        f"the model's chat template rejects these turns: {error};"
        " alternate user and model turns, and start and end with the user",
        is_request=True,
    )


def _token(value: Any) -> str:
    return str(value["content"] if isinstance(value, dict) else value)


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return content


_MAX_UTF8_BYTES = 4
"""A character has at most this many bytes in UTF-8, and so at most this many tokens."""


class TokenText(NamedTuple):
    """A minimal run of tokens that decodes to whole characters; usually one token."""

    text: str
    tokens: tuple[int, ...]
    is_special: bool = False


def token_texts(chat: Chat, tokens: Sequence[int]) -> Iterator[TokenText]:
    """Split tokens into runs whose texts, joined, are the decoded whole."""
    decoder = chat.tokenizer.get_added_tokens_decoder()
    special = {number for number, token in decoder.items() if token.special}
    before: list[int] = []
    run: list[int] = []
    for token, follows in zip_longest(tokens, tokens[1:]):
        run.append(token)
        text = _text_after(chat, before, run)
        may_grow = follows is not None and follows not in special and len(run) < _MAX_UTF8_BYTES
        if text.endswith(REPLACEMENT) and may_grow:
            continue
        yield TokenText(text, tuple(run), is_special=token in special)
        before, run = run, []


def _text_after(chat: Chat, before: Sequence[int], run: Sequence[int]) -> str:
    """Decode a run after its predecessor: some tokenizers drop the space of a first token."""
    first = chat.tokenizer.decode(list(before), skip_special_tokens=False)
    both: str = chat.tokenizer.decode([*before, *run], skip_special_tokens=False)
    return both[len(first) :]
