"""Conversations as they come in a request: only text, by user and model; the rest is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.engine import Turn
from tuner.server.api_errors import Violation

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any, Literal

    from tuner.server.messages import Message


def unread(message: Message, read: Collection[str], prefix: str = "") -> list[Violation]:
    """A violation for every field that asks for something and is not among those that are ``read``."""
    what = "is not supported by this service; leave it out"
    return [
        Violation(f"{prefix}{field.name.rstrip('_')}", what)
        for field, value in message.ListFields()
        if field.name not in read and _asks(value)
    ]


def turns(contents: Message) -> tuple[Turn, ...]:
    """A checked conversation."""
    return tuple(Turn(_role(each), text_of(each)) for each in contents)


def text_of(content: Message) -> str:
    """The text of one checked content, its parts joined as they stand."""
    return "".join(part.text for part in content.parts)


def problems(contents: Message, field: str) -> list[Violation]:
    """What is wrong with a conversation: only text, by user and model, the user last."""
    if not contents:
        return [Violation(field, "is empty: give at least one content with text")]
    found = [
        problem
        for at, content in enumerate(contents)
        for problem in [
            *_role_problems(content, f"{field}[{at}]"),
            *part_problems(content, f"{field}[{at}]"),
        ]
    ]
    if not found and _role(contents[-1]) != "user":
        found.append(
            Violation(f"{field}[{len(contents) - 1}].role", "the last turn must be the user's")
        )
    return found


def part_problems(content: Message, field: str, *, may_be_empty: bool = False) -> list[Violation]:
    """What is wrong with the parts of one content."""
    if not content.parts:
        return [] if may_be_empty else [Violation(f"{field}.parts", "is empty")]
    found = []
    for at, part in enumerate(content.parts):
        wrong = unread(part, {"text"}, f"{field}.parts[{at}].")
        if not wrong and not part.HasField("text"):
            wrong = [Violation(f"{field}.parts[{at}].text", "is missing")]
        found += wrong
    return found


def _asks(value: Any) -> bool:
    """Whether a value differs from what it would be anyway; an empty message asks for nothing."""
    if hasattr(value, "ListFields"):
        return any(_asks(inner) for _, inner in value.ListFields())
    return bool(value)


def _role(content: Message) -> Literal["user", "model"]:
    return "model" if content.role == "model" else "user"


def _role_problems(content: Message, field: str) -> list[Violation]:
    is_known = content.role in {"", "user", "model"}
    return [] if is_known else [Violation(f"{field}.role", "must be user or model")]
