"""Turn records into examples and back: plain columns, prompt-completion, Alpaca, and chat messages.

The format of a file's records is detected by the keys of the first one, unless the columns are
named. System text and an instruction go in front of the question, a blank line between. With
``multi_turn: expand`` every answer of a conversation becomes an example whose input is the
conversation up to it:

    SYSTEM

    User: first question

    Assistant: first answer

    User: second question

Sources, read in November 2026: prompt and completion are those of OpenAI's legacy fine-tuning and
of Together; Alpaca's keys are stanford_alpaca's, with LLaMA-Factory's ``system`` and ``history``
(data/README.md there), which also has ``conversations``; "Supervised fine-tuning" in OpenAI's guide
and the API reference's chat messages (roles, ``weight`` 0 or 1, content as text or as parts of type
text); "Prepare supervised fine-tuning data for Gemini models" and "Text tuning" of Vertex AI
(``systemInstruction``, ``contents``, ``parts``; also ``messages`` whose answers have the role ``model``).
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tuner.data.dataset import USUAL
from tuner.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from tuner.data.dataset import Columns, Source, Turns
    from tuner.types import Example

    Record = Mapping[str, Any]
    KeyPath = tuple[str | int, ...]

SEPARATOR = "\n\n"
PLAIN = "plain"


class Piece(NamedTuple):
    """A text of a record and the keys that lead to it; no keys if the text was added."""

    text: str
    path: KeyPath = ()


class Parts(NamedTuple):
    """One example of a record, as the pieces that are joined."""

    inputs: tuple[Piece, ...]
    outputs: tuple[Piece, ...]

    @property
    def text_input(self) -> str:
        """Return the pieces as one text."""
        return "".join([piece.text for piece in self.inputs])

    @property
    def output(self) -> str:
        """Return the pieces as one text."""
        return "".join([piece.text for piece in self.outputs])


class RecordError(NamedTuple):
    """What is wrong with a record, and the keys that lead to where it is."""

    path: KeyPath
    what: str
    fix: str
    rule: str


_MAX_VALUE_CHARS = 40
"""Characters of a number that are shown."""

_KINDS = ((bool, "true or false"), (int | float, "a number"), (list, "a list"), (dict, "an object"))
_MAX_NAMES, _MAX_NAME_CHARS = 20, 32
_OPTIONS = {"text_input": "--text-input", "output": "--output-column"}
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


class _Turn(NamedTuple):
    """A message; an answer that is not ``learned`` is only context for those after it."""

    role: Role
    pieces: tuple[Piece, ...]
    path: KeyPath
    learned: bool = True


class RecordFormat(NamedTuple):
    """A row of ``RECORD_FORMATS``.

    Attributes:
        keys: Alternatives; a record that has all the keys of one of them has this format.
        read: Returns the examples of a record, and what is wrong with it.
        write: Returns the record of an example and the system text, which may be empty.
        is_flat: Whether a record holds nothing but texts, as the columns of a CSV file do.
    """

    keys: tuple[tuple[str, ...], ...]
    read: Callable[[Record, Source], list[Parts | RecordError]]
    write: Callable[[Example, str], Record]
    is_flat: bool = False


def openai(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read OpenAI's ``messages``: role and content."""
    if "messages" not in record:
        return [_no_key("messages", record, 'write {"messages": [...]}')]
    turns = [*_tools(record), *_openai_turns(record, "messages")]
    return _examples_of(turns, ("messages",), source.multi_turn)


def vertex(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read Vertex AI's ``contents`` (role, parts) with ``systemInstruction``, also in snake case."""
    if "contents" not in record:
        return [_no_key("contents", record, 'write {"contents": [...]}')]
    turns = [*_tools(record)]
    for key in ("systemInstruction", "system_instruction"):
        if record.get(key) is not None:
            turns += _instruction(key, record[key])
    turns += _messages(record, "contents", ("role",), _VERTEX, "parts")
    return _examples_of(turns, ("contents",), source.multi_turn)


def sharegpt(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read ShareGPT's ``conversations``: from and value, or role and content; and ``system``."""
    if "conversations" not in record:
        return [_no_key("conversations", record, 'write {"conversations": [...]}')]
    turns = [*_tools(record)]
    system = record.get("system")
    if system is not None:
        turns.append(_turn("system", ("system",), system))
    names = ("from", "role")
    turns += _messages(record, "conversations", names, _SHAREGPT, "value", "content")
    return _examples_of(turns, ("conversations",), source.multi_turn)


def plain(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read the two texts under the names that the source gives."""
    missing = [*_no_keys(source.columns, record)]
    texts, errors = _texts(record, [name for name in source.columns if name in record])
    if missing or errors:
        return [*missing, *errors]
    return [Parts((texts[0],), (texts[1],))]


def prompt_completion(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read ``prompt`` and ``completion``: two texts or, as in TRL, two lists of messages."""
    missing = [
        _no_key(key, record, 'write {"prompt": "...", "completion": "..."}')
        for key in ("prompt", "completion")
        if key not in record
    ]
    if missing:
        return [*missing]
    if isinstance(record["prompt"], list) and isinstance(record["completion"], list):
        turns = [*_openai_turns(record, "prompt"), *_openai_turns(record, "completion")]
        return _examples_of(turns, ("prompt",), source.multi_turn)
    texts, errors = _texts(record, ("prompt", "completion"))
    return [*errors] or [Parts((texts[0],), (texts[1],))]


def alpaca(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read Alpaca's ``instruction`` and ``input``, joined by a blank line, and ``output``.

    ``system`` goes in front; the pairs of ``history`` are earlier turns. Both, and ``input``, are
    optional and may be null.
    """
    missing = [
        _no_key(key, record, 'write {"instruction": "...", "input": "...", "output": "..."}')
        for key in ("instruction", "output")
        if key not in record
    ]
    keys = ("instruction", "input", "output", "system")
    needed = [
        key for key in keys if record.get(key) is not None or key in ("instruction", "output")
    ]
    texts, errors = _texts(record, [key for key in needed if key in record])
    earlier = list(_history(record.get("history")))
    errors += [each for each in earlier if isinstance(each, RecordError)]
    if missing or errors:
        return [*missing, *errors]
    by_key = dict(zip(needed, texts, strict=True))
    asked = _joined_pieces([by_key.get("instruction"), by_key.get("input")])
    turns = [
        *([_Turn("system", (by_key["system"],), ("system",))] if "system" in by_key else []),
        *(each for each in earlier if isinstance(each, _Turn)),
        _Turn("user", asked, ("instruction",)),
        _Turn("model", (by_key["output"],), ("output",)),
    ]
    return _examples_of(turns, (), source.multi_turn)


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _said(speaker: str, value: str) -> dict[str, str]:
    return {"from": speaker, "value": value}


def _content(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


def _write_openai(each: Example, system: str) -> Record:
    first = [_message("system", system)] if system else []
    return {
        "messages": [*first, _message("user", each.text_input), _message("assistant", each.output)]
    }


def _write_prompt(each: Example, system: str) -> Record:
    return {"prompt": joined(system, each.text_input), "completion": each.output}


def _write_vertex(each: Example, system: str) -> Record:
    first = {"systemInstruction": _content("system", system)} if system else {}
    return {
        **first,
        "contents": [_content("user", each.text_input), _content("model", each.output)],
    }


def _write_alpaca(each: Example, system: str) -> Record:
    if system:
        return {"instruction": system, "input": each.text_input, "output": each.output}
    return {"instruction": each.text_input, "input": "", "output": each.output}


def _write_sharegpt(each: Example, system: str) -> Record:
    first = [_said("system", system)] if system else []
    return {"conversations": [*first, _said("human", each.text_input), _said("gpt", each.output)]}


RECORD_FORMATS = {
    "openai": RecordFormat((("messages",),), openai, _write_openai),
    "vertex": RecordFormat((("contents",),), vertex, _write_vertex),
    "sharegpt": RecordFormat((("conversations",),), sharegpt, _write_sharegpt),
    "prompt-completion": RecordFormat(
        (("prompt", "completion"),), prompt_completion, _write_prompt, is_flat=True
    ),
    "alpaca": RecordFormat((("instruction", "output"),), alpaca, _write_alpaca, is_flat=True),
}


def record_reader(
    record_format: str,
) -> Callable[[Record, Source], list[Parts | RecordError]]:
    """Return the function that makes examples of a record."""
    return plain if record_format == PLAIN else RECORD_FORMATS[record_format].read


def detect_record_format(keys: Collection[str], source: Source) -> str:
    """Return ``PLAIN`` or a key of ``RECORD_FORMATS`` for a record with these keys; '' if none fits."""
    if source.format in RECORD_FORMATS:
        return source.format
    if source.columns != USUAL or all(name in keys for name in USUAL):
        return PLAIN
    fitting = (
        name
        for name, shape in RECORD_FORMATS.items()
        if any(all(key in keys for key in each) for each in shape.keys)
    )
    return next(fitting, "")


def records_of(
    examples: Iterable[Example], shape: str, columns: Columns, system: str
) -> tuple[Sequence[str], Iterator[Record]]:
    """The examples as records, made one at a time, and the keys that each of them has."""
    if shape == PLAIN:
        first, second = columns
        return columns, (
            {first: joined(system, each.text_input), second: each.output} for each in examples
        )
    write = RECORD_FORMATS[shape].write
    keys = RECORD_FORMATS[shape].keys[0]
    if shape == "alpaca":
        keys = ("instruction", "input", "output")
    return keys, (write(each, system) for each in examples)


def missing_columns(
    path: str, line: int, columns: Columns, present: Sequence[str], word: str
) -> Iterator[Problem]:
    """Yield a problem for each of ``columns`` that is missing; ``word`` is column or key."""
    for setting, name in columns._asdict().items():
        if name not in present:
            what = f"there is no {word} {name!r}; there is {_listed(present)}"
            yield Problem(path, line, 0, what, _fix(setting, name, present), f"no-{word}")


def joined(*texts: str) -> str:
    """Join the texts that are not empty by blank lines."""
    return SEPARATOR.join(filter(None, texts))


def _openai_turns(record: Record, key: str) -> Iterator[_Turn | RecordError]:
    """What is said in the messages under ``key``."""
    return _messages(record, key, ("role",), _OPENAI, "content")


def _examples_of(
    turns: Sequence[_Turn | RecordError], at: KeyPath, multi_turn: Turns
) -> list[Parts | RecordError]:
    """Return an example per answer, or what is wrong; ``at`` is where the conversation is."""
    errors = [each for each in turns if isinstance(each, RecordError)]
    said = [each for each in turns if isinstance(each, _Turn)]
    if errors:
        return [*errors]
    wrong = _order_error(said, at)
    if wrong:
        return [wrong]
    system = [each for each in said if each.role == "system"]
    rest = said[len(system) :]
    if len(rest) > 2 and multi_turn == "refuse":  # noqa: PLR2004 -- a question and its answer
        what = f"there are {len(rest) // 2} turns, and an example is one question and its answer"
        fix = "write multi_turn: expand (--multi-turn expand) for an example of every answer"
        return [RecordError(rest[2].path, what, fix, "multi-turn")]
    return [
        Parts(_conversation_text(system, rest[:index]), rest[index].pieces)
        for index in range(1, len(rest), 2)
        if rest[index].learned
    ]


def _order_error(said: Sequence[_Turn], at: KeyPath) -> RecordError | None:
    """System text first, then questions and answers by turns, an answer last."""
    expected: Role = "user"
    for index, turn in enumerate(said):
        if turn.role == "system" and all(each.role == "system" for each in said[:index]):
            continue
        if turn.role != expected:
            what = f"a message of the {turn.role} stands where one of the {expected} is needed"
            fix = "after system text, the user and the model speak by turns, the user first"
            return _bad_conversation(turn.path, what, fix)
        expected = "model" if expected == "user" else "user"
    if not said or all(turn.role == "system" for turn in said):
        return _bad_conversation(at, "nobody asks or answers anything in it", _ONE_QUESTION)
    if expected == "model":
        return _bad_conversation(said[-1].path, "the last message is not an answer", _ONE_QUESTION)
    if not any(turn.learned for turn in said if turn.role == "model"):
        fix = "give an answer the weight 1, or leave the row out"
        return _bad_conversation(at, "every answer has weight 0: there is nothing to learn", fix)
    return None


def _conversation_text(system: Sequence[_Turn], turns: Sequence[_Turn]) -> tuple[Piece, ...]:
    """The text before an answer; without earlier turns the question as it is."""
    blocks = [turn.pieces for turn in system if any(piece.text for piece in turn.pieces)]
    if len(turns) == 1:
        blocks.append(turns[0].pieces)
    else:
        blocks += [(Piece(f"{_WORDS[turn.role]}: "), *turn.pieces) for turn in turns]
    found = [each for block in blocks for each in (Piece(SEPARATOR), *block)]
    return tuple(found[1:])


def _messages(
    record: Record, key: str, names: Sequence[str], roles: Mapping[str, Role], *contents: str
) -> Iterator[_Turn | RecordError]:
    """The turns under a key; ``names`` and ``contents`` are what role and text may be called."""
    messages = record[key]
    if not isinstance(messages, list):
        what = f"{key} is {describe_value(messages)} where a list of messages is needed"
        yield _bad_conversation((key,), what, "write it as [{...}, {...}]")
        return
    for index, message in enumerate(messages):
        at = (key, index)
        if not isinstance(message, dict):
            what = f"a message is {describe_value(message)} where an object is needed"
            yield _bad_conversation(at, what, "write a role and a text, in braces")
            continue
        name = next((each for each in names if message.get(each) is not None), names[0])
        content = next((each for each in contents if each in message), contents[0])
        role = _role(at, message, name, roles)
        if isinstance(role, RecordError):
            yield role
        else:
            yield from _turns_of(at, message, role, content)


def _role(at: KeyPath, message: Record, name: str, roles: Mapping[str, Role]) -> Role | RecordError:
    if name not in message:
        return _bad_conversation(at, f"a message has no {name!r}", f"say whose it is: {_or(roles)}")
    role = message[name]
    if isinstance(role, str) and role in roles:
        return roles[role]
    if role in _TOOLS:
        what, fix = f"{role!r} is the turn of a tool, and an example is text alone", _IN_WORDS
    else:
        said = _quote_name(role) if isinstance(role, str) else describe_value(role)
        what, fix = f"nobody is called {said}", f"write {_or(roles)}"
    return _bad_conversation((*at, name), what, fix)


def _turns_of(
    at: KeyPath, message: Record, role: Role, content: str
) -> Iterator[_Turn | RecordError]:
    for key in _BESIDE_TEXT:
        if message.get(key):
            what = f"a message holds {key}, and an example is text alone"
            yield _bad_conversation((*at, key), what, _IN_WORDS)
            return
    if content not in message:
        yield _bad_conversation(at, f"a message has no {content!r}", f"write its text as {content}")
        return
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        shown = describe_value(weight)
        what = f"weight is {shown}, and an answer is learned (1) or not (0)"
        yield _bad_conversation((*at, "weight"), what, "write 0 or 1")
        return
    yield _turn(role, (*at, content), message[content], learned=weight != 0, path=at)


def _turn(
    role: Role, at: KeyPath, content: object, *, learned: bool = True, path: KeyPath = ()
) -> _Turn | RecordError:
    """A turn whose text, or parts, stand ``at``."""
    pieces = _pieces(at, content)
    return pieces if isinstance(pieces, RecordError) else _Turn(role, pieces, path or at, learned)


def _pieces(at: KeyPath, content: object) -> tuple[Piece, ...] | RecordError:
    """A text, or a list of parts with one each; the pieces follow each other with nothing between."""
    if isinstance(content, str):
        return (Piece(content, at),)
    if not isinstance(content, list) or not content:
        return _not_text(at, content)
    found = []
    for index, part in enumerate(content):
        here = (*at, index)
        if not isinstance(part, dict):
            return _not_text(here, part)
        kind = part.get("type", "text")
        others = [key for key in part if key not in ("type", "text")]
        if kind != "text" or "text" not in part:
            named = kind if kind != "text" else others[0] if others else "nothing"
            return _bad_conversation(
                here, f"a part is {str(named)[:_MAX_NAME_CHARS]}, not text", _IN_WORDS
            )
        if not isinstance(part["text"], str):
            return _not_text((*here, "text"), part["text"])
        found.append(Piece(part["text"], (*here, "text")))
    return tuple(found)


def _instruction(key: str, value: object) -> Iterator[_Turn | RecordError]:
    """Vertex's: parts, or a bare text."""
    if isinstance(value, dict) and "parts" in value:
        yield _turn("system", (key, "parts"), value["parts"])
    elif isinstance(value, str):
        yield _turn("system", (key,), value)
    else:
        what = f"{key} is {describe_value(value)} where parts are needed"
        yield _bad_conversation((key,), what, 'write {"parts": [{"text": "..."}]}')


def _tools(record: Record) -> Iterator[_Turn | RecordError]:
    for key in ("tools", "functions"):
        if record.get(key):
            what = f"{key} are declared, and an example is text alone"
            yield _bad_conversation((key,), what, "leave out the rows that need tools")


def _or(roles: Mapping[str, Role]) -> str:
    return " or ".join(roles)


def _joined_pieces(pieces: Sequence[Piece | None]) -> tuple[Piece, ...]:
    """Those that are not empty, a blank line between; the first when all are."""
    there = [piece for piece in pieces if piece]
    full = [piece for piece in there if piece.text] or there[:1]
    found = [each for piece in full for each in (Piece(SEPARATOR), piece)]
    return tuple(found[1:])


def _texts(record: Record, keys: Sequence[str]) -> tuple[list[Piece], list[RecordError]]:
    errors = [_not_text((key,), record[key]) for key in keys if not isinstance(record[key], str)]
    return [Piece(record[key], (key,)) for key in keys if isinstance(record[key], str)], errors


def _history(pairs: object) -> Iterator[_Turn | RecordError]:
    """LLaMA-Factory's: lists of a question and an answer."""
    if pairs is None:
        return
    if not isinstance(pairs, list):
        yield _bad_conversation(("history",), "history is no list", 'write [["...", "..."]]')
        return
    for index, pair in enumerate(pairs):
        at = ("history", index)
        if isinstance(pair, list) and [type(each) for each in pair] == [str, str]:
            yield _Turn("user", (Piece(pair[0], (*at, 0)),), (*at, 0))
            yield _Turn("model", (Piece(pair[1], (*at, 1)),), (*at, 1))
        else:
            what = "a turn of history is not a question and its answer"
            yield _bad_conversation(at, what, 'write it as ["question", "answer"]')


def _no_keys(columns: Columns, present: Collection[str]) -> list[RecordError]:
    """One for each of the two keys that is not there."""
    found = missing_columns("", 0, columns, list(present), "key")
    return [RecordError((), each.what, each.fix, each.rule) for each in found]


def _no_key(key: str, present: Collection[str], fix: str) -> RecordError:
    """A shape's own key is not there."""
    there = ", ".join(map(_quote_name, islice(present, _MAX_NAMES))) or "none"
    return RecordError((), f"there is no key {key!r}; there is {there}", fix, "no-key")


def _not_text(path: KeyPath, value: object) -> RecordError:
    """Something else stands where a text is needed."""
    what = f"{path[-1] if path else 'it'} is {describe_value(value)} where a text is needed"
    return RecordError(path, what, _quote_fix(value), "not-text")


def _bad_conversation(path: KeyPath, what: str, fix: str) -> RecordError:
    """Messages are not a question and its answer."""
    return RecordError(path, what, fix, "bad-conversation")


def describe_value(value: Any) -> str:
    """Describe a value, e.g. as ``a number (7)``."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "a text"
    kind = next((name for types, name in _KINDS if isinstance(value, types)), "no text")
    return f"{kind} ({_as_json(value)})" if isinstance(value, bool | int | float) else kind


def _as_json(value: float) -> str:
    """A number or truth value as JSON writes it, shortened."""
    text = json.dumps(value)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}..."


def _quote_fix(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return f'put quotes around it: "{_as_json(value)}"'
    return "write it as one text in double quotes"


def _quote_name(name: str) -> str:
    """Quote a name, shortened: in a file without a header it may be a text, or a secret."""
    return repr(name if len(name) <= _MAX_NAME_CHARS else f"{name[:_MAX_NAME_CHARS]}...")


def _fix(setting: str, name: str, present: Sequence[str]) -> str:
    from shlex import quote

    near = _nearest(name, present)
    option = _OPTIONS[setting]
    if not near:
        return f"say which one to read: training_data.{setting} ({option} COLUMN)"
    if near.strip() == name.strip():
        return f"take the spaces out of the name {near!r}, or write {setting}: {near!r} in the spec"
    return f"did you mean {near!r}? Then write training_data.{setting}: {near} ({option} {quote(near)})"


def _nearest(name: str, present: Sequence[str]) -> str:
    from difflib import get_close_matches

    plain = {other.strip().casefold(): other for other in present}
    found = get_close_matches(name.strip().casefold(), plain, n=1)
    return plain[found[0]] if found else ""


def _listed(present: Sequence[str]) -> str:
    named = ", ".join(map(_quote_name, present[:_MAX_NAMES])) or "none"
    more = len(present) - _MAX_NAMES
    return f"{named} and {more} more" if more > 0 else named
