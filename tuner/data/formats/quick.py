"""The usual record of each shape, read without a look for what may be wrong.

A function here takes a record and gives its two texts and the number of keys at all its levels; it
gives None, or raises what looking for a missing key raises, for any record that is not of the
usual kind, which then takes a second and longer look. That it agrees with that look, a test says.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tuner.data.formats.shapes import JOINT, PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from tuner.data import Columns

    Read: TypeAlias = tuple[str, str, int] | None
    Reader: TypeAlias = Callable[[Any], Read]

_SINGLE, _WITH_SYSTEM = 2, 3


def quick(shape: str, columns: Columns) -> Reader:
    """The function for a shape."""
    match shape:
        case "openai":
            return _chat("messages", "role", "content", "user", "assistant")
        case "sharegpt":
            return _chat("conversations", "from", "value", "human", "gpt")
        case "vertex":
            return _vertex
        case "alpaca":
            return _alpaca
        case "prompt-completion":
            return _pair("prompt", "completion")
        case _:
            assert shape == PLAIN  # noqa: S101 -- the table and this function go together
            return _pair(*columns)


def _pair(first: str, second: str) -> Reader:
    both = itemgetter(first, second)

    def read(record: Any) -> Read:
        text_input, output = both(record)
        return _texts(text_input, output, len(record))

    return read


def _alpaca(record: Any) -> Read:
    if len(record) != 3:  # noqa: PLR2004 -- instruction, input and output
        return None
    instruction, more = record["instruction"], record["input"]
    if type(instruction) is not str or type(more) is not str:
        return None
    asked = f"{instruction}{JOINT}{more}" if instruction and more else instruction or more
    return _texts(asked, record["output"], 3)


def _chat(key: str, role: str, content: str, user: str, model: str) -> Reader:
    both = itemgetter(role, content)

    def read(record: Any) -> Read:
        messages = record[key]
        if len(record) != 1 or not _SINGLE <= len(messages) <= _WITH_SYSTEM:
            return None
        system = messages[0] if len(messages) == _WITH_SYSTEM else None
        asks, answers = messages[-2:]
        asker, asked = both(asks)
        answerer, answer = both(answers)
        if (asker, answerer) != (user, model) or not len(asks) == len(answers) == 2:  # noqa: PLR2004 -- role and content
            return None
        members = 5
        if system:
            name, first = both(system)
            if name != "system" or len(system) != 2 or not first or type(first) is not str:  # noqa: PLR2004
                return None
            asked, members = first + JOINT + asked, 7
        return _texts(asked, answer, members)

    return read


def _vertex(record: Any) -> Read:
    if len(record) != 1:
        return None
    asks, answers = record["contents"]
    if (asks["role"], answers["role"]) != ("user", "model") or not len(asks) == len(answers) == 2:  # noqa: PLR2004 -- role and parts
        return None
    (question,), (answer,) = asks["parts"], answers["parts"]
    if not len(question) == len(answer) == 1:
        return None
    return _texts(question["text"], answer["text"], 7)


def _texts(text_input: Any, output: Any, members: int) -> Read:
    is_good = type(text_input) is str and type(output) is str
    return (text_input, output, members) if is_good else None
