"""Conversations made examples: the messages of OpenAI, the contents of Vertex AI, ShareGPT.

System text goes in front of the question, a blank line between. Of several turns, when they are to
be expanded, every answer becomes an example whose input is the conversation up to it, in plain words:

    SYSTEM

    User: first question

    Assistant: first answer

    User: second question

Sources, read in November 2026: "Supervised fine-tuning" in OpenAI's guide and the API reference's
chat messages (roles, ``weight`` 0 or 1 of an assistant's message, content as text or as parts of type
text); "Prepare supervised fine-tuning data for Gemini models" and "Text tuning" of Vertex AI
(``systemInstruction``, ``contents``, ``parts``; also ``messages`` whose answers have the role ``model``);
LLaMA-Factory's data/README.md (``conversations``, ``from``, ``value``, a ``system`` beside them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from tuner.data.formats.columns import MAX_NAME, shown
from tuner.data.formats.flaws import bad_conversation, described, no_key, not_text
from tuner.data.formats.shapes import JOINT, Flaw, Parts, Piece

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tuner.data import Source, Turns
    from tuner.data.formats.shapes import Path, Record

Role = Literal["system", "user", "model"]

_OPENAI: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "model",
    "model": "model",
}
_VERTEX: Mapping[str, Role] = {"user": "user", "model": "model"}
_SHAREGPT: Mapping[str, Role] = {
    **_OPENAI,
    "human": "user",
    "gpt": "model",
    "chatgpt": "model",
    "bot": "model",
}
_TOOLS = (
    "tool",
    "function",
    "observation",
    "function_call",
    "tool_call",
    "tool_response",
    "ipython",
)
_BESIDE_TEXT = ("tool_calls", "function_call", "audio", "refusal", "image", "images")
_ONE_QUESTION = "give it one question and its answer, or leave it out"
_IN_WORDS = "say it in words, or leave the row out"
_WORDS = {"user": "User", "model": "Assistant"}


class Turn(NamedTuple):
    """What one side said; an answer that is not ``learned`` is there for those after it."""

    role: Role
    pieces: tuple[Piece, ...]
    path: Path
    learned: bool = True


def openai(record: Record, source: Source) -> list[Parts | Flaw]:
    """``messages``: role and content."""
    if "messages" not in record:
        return [no_key("messages", record, 'write {"messages": [...]}')]
    turns = [*_tools(record), *openai_turns(record, "messages")]
    return examples_of(turns, ("messages",), source.multi_turn)


def vertex(record: Record, source: Source) -> list[Parts | Flaw]:
    """``contents``: role and parts; ``systemInstruction``, also in snake case, beside them."""
    if "contents" not in record:
        return [no_key("contents", record, 'write {"contents": [...]}')]
    turns = [*_tools(record)]
    for key in ("systemInstruction", "system_instruction"):
        if record.get(key) is not None:
            turns += _instruction(key, record[key])
    turns += _messages(record, "contents", ("role",), _VERTEX, "parts")
    return examples_of(turns, ("contents",), source.multi_turn)


def sharegpt(record: Record, source: Source) -> list[Parts | Flaw]:
    """``conversations``: from and value, or role and content; ``system`` may stand beside them."""
    if "conversations" not in record:
        return [no_key("conversations", record, 'write {"conversations": [...]}')]
    turns = [*_tools(record)]
    system = record.get("system")
    if system is not None:
        turns.append(_turn("system", ("system",), system))
    names = ("from", "role")
    turns += _messages(record, "conversations", names, _SHAREGPT, "value", "content")
    return examples_of(turns, ("conversations",), source.multi_turn)


def openai_turns(record: Record, key: str) -> Iterator[Turn | Flaw]:
    """What is said in the messages under ``key``."""
    return _messages(record, key, ("role",), _OPENAI, "content")


def examples_of(turns: Sequence[Turn | Flaw], at: Path, multi_turn: Turns) -> list[Parts | Flaw]:
    """An example for the answer, or for each; or what is wrong, ``at`` the conversation."""
    flaws = [each for each in turns if isinstance(each, Flaw)]
    said = [each for each in turns if isinstance(each, Turn)]
    if flaws:
        return [*flaws]
    wrong = _out_of_order(said, at)
    if wrong:
        return [wrong]
    system = [each for each in said if each.role == "system"]
    rest = said[len(system) :]
    if len(rest) > 2 and multi_turn == "refuse":  # noqa: PLR2004 -- a question and its answer
        what = f"there are {len(rest) // 2} turns, and an example is one question and its answer"
        fix = "write multi_turn: expand (--multi-turn expand) for an example of every answer"
        return [Flaw(rest[2].path, what, fix, "multi-turn")]
    return [
        Parts(_asked(system, rest[:index]), rest[index].pieces)
        for index in range(1, len(rest), 2)
        if rest[index].learned
    ]


def _out_of_order(said: Sequence[Turn], at: Path) -> Flaw | None:
    """System text first, then questions and answers by turns, an answer last."""
    expected: Role = "user"
    for index, turn in enumerate(said):
        if turn.role == "system" and all(each.role == "system" for each in said[:index]):
            continue
        if turn.role != expected:
            what = f"a message of the {turn.role} stands where one of the {expected} is needed"
            fix = "after system text, the user and the model speak by turns, the user first"
            return bad_conversation(turn.path, what, fix)
        expected = "model" if expected == "user" else "user"
    if not said or all(turn.role == "system" for turn in said):
        return bad_conversation(at, "nobody asks or answers anything in it", _ONE_QUESTION)
    if expected == "model":
        return bad_conversation(said[-1].path, "the last message is not an answer", _ONE_QUESTION)
    if not any(turn.learned for turn in said if turn.role == "model"):
        fix = "give an answer the weight 1, or leave the row out"
        return bad_conversation(at, "every answer has weight 0: there is nothing to learn", fix)
    return None


def _asked(system: Sequence[Turn], turns: Sequence[Turn]) -> tuple[Piece, ...]:
    """The text before an answer; without earlier turns the question as it is."""
    blocks = [turn.pieces for turn in system if any(piece.text for piece in turn.pieces)]
    if len(turns) == 1:
        blocks.append(turns[0].pieces)
    else:
        blocks += [(Piece(f"{_WORDS[turn.role]}: "), *turn.pieces) for turn in turns]
    found = [each for block in blocks for each in (Piece(JOINT), *block)]
    return tuple(found[1:])


def _messages(
    record: Record, key: str, names: Sequence[str], roles: Mapping[str, Role], *contents: str
) -> Iterator[Turn | Flaw]:
    """The turns under a key; ``names`` and ``contents`` are what role and text may be called."""
    messages = record[key]
    if not isinstance(messages, list):
        what = f"{key} is {described(messages)} where a list of messages is needed"
        yield bad_conversation((key,), what, "write it as [{...}, {...}]")
        return
    for index, message in enumerate(messages):
        at = (key, index)
        if not isinstance(message, dict):
            what = f"a message is {described(message)} where an object is needed"
            yield bad_conversation(at, what, "write a role and a text, in braces")
            continue
        name = next((each for each in names if message.get(each) is not None), names[0])
        content = next((each for each in contents if each in message), contents[0])
        role = _role(at, message, name, roles)
        if isinstance(role, Flaw):
            yield role
        else:
            yield from _turns_of(at, message, role, content)


def _role(at: Path, message: Record, name: str, roles: Mapping[str, Role]) -> Role | Flaw:
    if name not in message:
        return bad_conversation(at, f"a message has no {name!r}", f"say whose it is: {_or(roles)}")
    role = message[name]
    if isinstance(role, str) and role in roles:
        return roles[role]
    if role in _TOOLS:
        what, fix = f"{role!r} is the turn of a tool, and an example is text alone", _IN_WORDS
    else:
        said = shown(role) if isinstance(role, str) else described(role)
        what, fix = f"nobody is called {said}", f"write {_or(roles)}"
    return bad_conversation((*at, name), what, fix)


def _turns_of(at: Path, message: Record, role: Role, content: str) -> Iterator[Turn | Flaw]:
    for key in _BESIDE_TEXT:
        if message.get(key):
            what = f"a message holds {key}, and an example is text alone"
            yield bad_conversation((*at, key), what, _IN_WORDS)
            return
    if content not in message:
        yield bad_conversation(at, f"a message has no {content!r}", f"write its text as {content}")
        return
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        shown = described(weight)
        what = f"weight is {shown}, and an answer is learned (1) or not (0)"
        yield bad_conversation((*at, "weight"), what, "write 0 or 1")
        return
    yield _turn(role, (*at, content), message[content], learned=weight != 0, path=at)


def _turn(
    role: Role, at: Path, content: object, *, learned: bool = True, path: Path = ()
) -> Turn | Flaw:
    """A turn whose text, or parts, stand ``at``."""
    pieces = _pieces(at, content)
    return pieces if isinstance(pieces, Flaw) else Turn(role, pieces, path or at, learned)


def _pieces(at: Path, content: object) -> tuple[Piece, ...] | Flaw:
    """A text, or a list of parts with one each; the pieces follow each other with nothing between."""
    if isinstance(content, str):
        return (Piece(content, at),)
    if not isinstance(content, list) or not content:
        return not_text(at, content)
    found = []
    for index, part in enumerate(content):
        here = (*at, index)
        if not isinstance(part, dict):
            return not_text(here, part)
        kind = part.get("type", "text")
        others = [key for key in part if key not in ("type", "text")]
        if kind != "text" or "text" not in part:
            named = kind if kind != "text" else others[0] if others else "nothing"
            return bad_conversation(here, f"a part is {str(named)[:MAX_NAME]}, not text", _IN_WORDS)
        if not isinstance(part["text"], str):
            return not_text((*here, "text"), part["text"])
        found.append(Piece(part["text"], (*here, "text")))
    return tuple(found)


def _instruction(key: str, value: object) -> Iterator[Turn | Flaw]:
    """Vertex's: parts, or a bare text."""
    if isinstance(value, dict) and "parts" in value:
        yield _turn("system", (key, "parts"), value["parts"])
    elif isinstance(value, str):
        yield _turn("system", (key,), value)
    else:
        what = f"{key} is {described(value)} where parts are needed"
        yield bad_conversation((key,), what, 'write {"parts": [{"text": "..."}]}')


def _tools(record: Record) -> Iterator[Turn | Flaw]:
    for key in ("tools", "functions"):
        if record.get(key):
            what = f"{key} are declared, and an example is text alone"
            yield bad_conversation((key,), what, "leave out the rows that need tools")


def _or(roles: Mapping[str, Role]) -> str:
    return " or ".join(roles)
