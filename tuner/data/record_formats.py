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
    Roles = Mapping[str, "Role"]

Role = Literal["system", "user", "model"]

SEPARATOR = "\n\n"
PLAIN = "plain"

_VERTEX_ROLES: Roles = {"user": "user", "model": "model"}
_OPENAI_ROLES: Roles = {
    "system": "system", "developer": "system", "user": "user", "assistant": "model", "model": "model",
}  # fmt: skip
_SHAREGPT_ROLES: Roles = {
    **_OPENAI_ROLES,
    "human": "user", "gpt": "model", "chatgpt": "model", "bot": "model",
}  # fmt: skip
_TOOL_ROLES = frozenset(
    {"tool", "function", "observation", "function_call", "tool_call", "tool_response", "ipython"}
)
_NOT_TEXT_KEYS = ("tool_calls", "function_call", "audio", "refusal", "image", "images")
_SPEAKERS = {"user": "User", "model": "Assistant"}
_NEEDS_ANSWER = "give it one question and its answer, or delete the row"
_TEXT_ONLY = "replace it with text, or delete the row"
_OPTIONS = {"text_input": "--text-input", "output": "--output-column"}
_KINDS = ((bool, "true or false"), (int | float, "a number"), (list, "a list"), (dict, "an object"))
_MAX_VALUE_CHARS, _MAX_NAME_CHARS, _MAX_NAMES = 40, 32, 20
"""Limits of what messages quote: characters of a number and a name, and names in a list."""


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
    """An error in a record, and the path of keys to it."""

    path: KeyPath
    what: str
    fix: str
    rule: str = "bad-conversation"


class RecordFormat(NamedTuple):
    """A row of ``RECORD_FORMATS``.

    Attributes:
        keys: A record that has all of them has this format.
        read: Returns the examples of a record, and what is wrong with it.
        write: Returns the record of an example and the system text, which may be empty.
        is_flat: Whether a record holds nothing but texts, as the columns of a CSV file do.
    """

    keys: tuple[str, ...]
    read: Callable[[Record, Source], list[Parts | RecordError]]
    write: Callable[[Example, str], Record]
    is_flat: bool = False


class _Turn(NamedTuple):
    """A message; an answer that is not ``learned`` is only context for those after it."""

    role: Role
    pieces: tuple[Piece, ...]
    path: KeyPath
    learned: bool = True


def plain(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read the two texts under the names that the source gives."""
    missing = missing_columns("", 0, source.columns, list(record), "key")
    errors = [RecordError((), each.what, each.fix, each.rule) for each in missing]
    texts = _texts(record, [name for name in source.columns if name in record], errors)
    return [*errors] or [Parts((texts[0],), (texts[1],))]


def prompt_completion(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read ``prompt`` and ``completion``: two texts or, as in TRL, two lists of messages."""
    keys = ("prompt", "completion")
    errors = _missing_keys(record, keys, 'write {"prompt": "...", "completion": "..."}')
    if not errors and isinstance(record["prompt"], list) and isinstance(record["completion"], list):
        turns = [each for key in keys for each in _openai_messages(record, key)]
        return _examples_of(turns, ("prompt",), source.multi_turn)
    texts = _texts(record, keys, errors) if not errors else []
    return [*errors] or [Parts((texts[0],), (texts[1],))]


def alpaca(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read Alpaca's ``instruction`` and ``input``, joined by a blank line, and ``output``.

    ``system`` goes in front; the pairs of ``history`` are earlier turns. Both, and ``input``, are
    optional and may be null.
    """
    fix = 'write {"instruction": "...", "input": "...", "output": "..."}'
    errors = _missing_keys(record, ("instruction", "output"), fix)
    optional = [key for key in ("input", "system") if record.get(key) is not None]
    present = [key for key in ("instruction", "output") if key in record]
    texts = {each.path[0]: each for each in _texts(record, [*present, *optional], errors)}
    history = list(_history(record.get("history")))
    errors += [each for each in history if isinstance(each, RecordError)]
    if errors:
        return [*errors]
    question = [texts["instruction"], *([texts["input"]] if "input" in texts else [])]
    filled = [piece for piece in question if piece.text] or question[:1]
    turns = [
        *([_Turn("system", (texts["system"],), ("system",))] if "system" in texts else []),
        *history,
        _Turn("user", _separated([(piece,) for piece in filled]), ("instruction",)),
        _Turn("model", (texts["output"],), ("output",)),
    ]
    return _examples_of(turns, (), source.multi_turn)


def openai(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read OpenAI's ``messages``: role and content."""
    if missing := _missing_keys(record, ("messages",), 'write {"messages": [...]}'):
        return [*missing]
    turns = [*_tools(record), *_openai_messages(record, "messages")]
    return _examples_of(turns, ("messages",), source.multi_turn)


def vertex(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read Vertex AI's ``contents`` (role, parts) with ``systemInstruction``, also in snake case."""
    if missing := _missing_keys(record, ("contents",), 'write {"contents": [...]}'):
        return [*missing]
    turns = [*_tools(record)]
    for key in ("systemInstruction", "system_instruction"):
        value = record.get(key)
        if isinstance(value, dict) and "parts" in value:
            turns.append(_turn("system", (key, "parts"), value["parts"]))
        elif isinstance(value, str):
            turns.append(_turn("system", (key,), value))
        elif value is not None:
            what = f"{key} is {describe_value(value)} where parts are needed"
            turns.append(RecordError((key,), what, 'write {"parts": [{"text": "..."}]}'))
    turns += _messages(record, "contents", ("role",), _VERTEX_ROLES, ("parts",))
    return _examples_of(turns, ("contents",), source.multi_turn)


def sharegpt(record: Record, source: Source) -> list[Parts | RecordError]:
    """Read ShareGPT's ``conversations``: from and value, or role and content; and ``system``."""
    if missing := _missing_keys(record, ("conversations",), 'write {"conversations": [...]}'):
        return [*missing]
    turns = [*_tools(record)]
    if record.get("system") is not None:
        turns.append(_turn("system", ("system",), record["system"]))
    texts = ("value", "content")
    turns += _messages(record, "conversations", ("from", "role"), _SHAREGPT_ROLES, texts)
    return _examples_of(turns, ("conversations",), source.multi_turn)


def _write_prompt(each: Example, system: str) -> Record:
    return {"prompt": joined(system, each.text_input), "completion": each.output}


def _write_alpaca(each: Example, system: str) -> Record:
    texts = (system, each.text_input) if system else (each.text_input, "")
    return {"instruction": texts[0], "input": texts[1], "output": each.output}


def _write_openai(each: Example, system: str) -> Record:
    pairs = [("system", system)] * bool(system)
    pairs += [("user", each.text_input), ("assistant", each.output)]
    return {"messages": [{"role": role, "content": text} for role, text in pairs]}


def _write_vertex(each: Example, system: str) -> Record:
    pairs = [("system", system), ("user", each.text_input), ("model", each.output)]
    first, *contents = [{"role": role, "parts": [{"text": text}]} for role, text in pairs]
    return {**({"systemInstruction": first} if system else {}), "contents": contents}


def _write_sharegpt(each: Example, system: str) -> Record:
    pairs = [("system", system)] * bool(system)
    pairs += [("human", each.text_input), ("gpt", each.output)]
    return {"conversations": [{"from": speaker, "value": text} for speaker, text in pairs]}


RECORD_FORMATS = {
    "openai": RecordFormat(("messages",), openai, _write_openai),
    "vertex": RecordFormat(("contents",), vertex, _write_vertex),
    "sharegpt": RecordFormat(("conversations",), sharegpt, _write_sharegpt),
    "prompt-completion": RecordFormat(
        ("prompt", "completion"), prompt_completion, _write_prompt, is_flat=True
    ),
    "alpaca": RecordFormat(("instruction", "output"), alpaca, _write_alpaca, is_flat=True),
}


def record_reader(name: str) -> Callable[[Record, Source], list[Parts | RecordError]]:
    """Return the function that makes examples of a record."""
    return plain if name == PLAIN else RECORD_FORMATS[name].read


def detect_record_format(keys: Collection[str], source: Source) -> str:
    """Return ``PLAIN`` or a key of ``RECORD_FORMATS`` for a record with these keys; '' if none fits."""
    if source.format in RECORD_FORMATS:
        return source.format
    if source.columns != USUAL or all(name in keys for name in USUAL):
        return PLAIN
    fitting = (
        name for name, each in RECORD_FORMATS.items() if all(key in keys for key in each.keys)
    )
    return next(fitting, "")


def records_of(
    examples: Iterable[Example], name: str, columns: Columns, system: str
) -> tuple[Sequence[str], Iterator[Record]]:
    """Return the keys of each record, and the examples as records, made one at a time."""
    if name == PLAIN:
        first, second = columns
        return columns, (
            {first: joined(system, each.text_input), second: each.output} for each in examples
        )
    write, keys = RECORD_FORMATS[name].write, RECORD_FORMATS[name].keys
    if name == "alpaca":
        keys = ("instruction", "input", "output")
    return keys, (write(each, system) for each in examples)


def joined(*texts: str) -> str:
    """Join the texts that are not empty by blank lines."""
    return SEPARATOR.join(filter(None, texts))


def _examples_of(
    turns: Sequence[_Turn | RecordError], at: KeyPath, multi_turn: Turns
) -> list[Parts | RecordError]:
    """Return an example per answer, or what is wrong; ``at`` is where the conversation is."""
    errors = [each for each in turns if isinstance(each, RecordError)]
    valid = [each for each in turns if isinstance(each, _Turn)]
    wrong = None if errors else _order_error(valid, at)
    if errors or wrong:
        return [*errors, *([wrong] if wrong else [])]
    system = [each for each in valid if each.role == "system"]
    rest = valid[len(system) :]
    if len(rest) > 2 and multi_turn == "refuse":  # noqa: PLR2004 -- a question and its answer
        what = f"there are {len(rest) // 2} turns; an example has one"
        fix = "write multi_turn: expand (--multi-turn expand) to make one example of each answer"
        return [RecordError(rest[2].path, what, fix, "multi-turn")]
    return [
        Parts(_conversation_text(system, rest[:index]), rest[index].pieces)
        for index in range(1, len(rest), 2)
        if rest[index].learned
    ]


def _order_error(turns: Sequence[_Turn], at: KeyPath) -> RecordError | None:
    """Return the first error in the order: system, then question and answer alternating."""
    expected: Role = "user"
    for index, turn in enumerate(turns):
        if turn.role == "system" and all(each.role == "system" for each in turns[:index]):
            continue
        if turn.role != expected:
            what = f"a message of the {turn.role} where one of the {expected} is expected"
            fix = "after system messages, messages of the user and the model must alternate, the user's first"
            return RecordError(turn.path, what, fix)
        expected = "model" if expected == "user" else "user"
    if all(turn.role == "system" for turn in turns):
        return RecordError(
            at, "the conversation has neither a question nor an answer", _NEEDS_ANSWER
        )
    if expected == "model":
        return RecordError(turns[-1].path, "the last message is not an answer", _NEEDS_ANSWER)
    if not any(turn.learned for turn in turns if turn.role == "model"):
        fix = "give an answer the weight 1, or delete the row"
        return RecordError(at, "every answer has weight 0: there is nothing to learn", fix)
    return None


def _conversation_text(system: Sequence[_Turn], turns: Sequence[_Turn]) -> tuple[Piece, ...]:
    """Return the text before an answer; without earlier turns, the question as it is."""
    blocks = [turn.pieces for turn in system if any(piece.text for piece in turn.pieces)]
    if len(turns) == 1:
        return _separated([*blocks, turns[0].pieces])
    named = [(Piece(f"{_SPEAKERS[turn.role]}: "), *turn.pieces) for turn in turns]
    return _separated([*blocks, *named])


def _separated(blocks: Iterable[tuple[Piece, ...]]) -> tuple[Piece, ...]:
    return tuple([each for block in blocks for each in (Piece(SEPARATOR), *block)][1:])


def _openai_messages(record: Record, key: str) -> Iterator[_Turn | RecordError]:
    return _messages(record, key, ("role",), _OPENAI_ROLES, ("content",))


def _messages(
    record: Record, key: str, role_keys: Sequence[str], roles: Roles, text_keys: Sequence[str]
) -> Iterator[_Turn | RecordError]:
    """Yield the turns under a key; role and text may have several names."""
    messages = record[key]
    if not isinstance(messages, list):
        what = f"{key} is {describe_value(messages)} where a list of messages is needed"
        yield RecordError((key,), what, "write it as [{...}, {...}]")
        return
    for index, message in enumerate(messages):
        at = (key, index)
        if not isinstance(message, dict):
            what = f"a message is {describe_value(message)} where an object is needed"
            yield RecordError(at, what, "write a role and a text, in braces")
            continue
        role_key = next((each for each in role_keys if message.get(each) is not None), role_keys[0])
        text_key = next((each for each in text_keys if each in message), text_keys[0])
        error = _role_error(at, message, role_key, roles)
        if error:
            yield error
        else:
            yield _message(at, message, roles[message[role_key]], text_key)


def _role_error(at: KeyPath, message: Record, key: str, roles: Roles) -> RecordError | None:
    fix = f"write {' or '.join(roles)}"
    if key not in message:
        return RecordError(at, f"a message has no {key!r}", fix)
    role = message[key]
    if isinstance(role, str) and role in roles:
        return None
    if isinstance(role, str) and role in _TOOL_ROLES:
        what, fix = f"{role!r} is a tool's message; examples can contain only text", _TEXT_ONLY
    else:
        what = (
            f"unknown role {_quote_name(role) if isinstance(role, str) else describe_value(role)}"
        )
    return RecordError((*at, key), what, fix)


def _message(at: KeyPath, message: Record, role: Role, text_key: str) -> _Turn | RecordError:
    for key in _NOT_TEXT_KEYS:
        if message.get(key):
            what = f"a message contains {key}; examples can contain only text"
            return RecordError((*at, key), what, _TEXT_ONLY)
    if text_key not in message:
        return RecordError(at, f"a message has no {text_key!r}", f"write its text as {text_key}")
    weight = message.get("weight")
    if weight not in (None, 0, 1):
        what = f"weight is {describe_value(weight)}, and an answer is learned (1) or not (0)"
        return RecordError((*at, "weight"), what, "write 0 or 1")
    turn = _turn(role, (*at, text_key), message[text_key])
    return turn if isinstance(turn, RecordError) else turn._replace(path=at, learned=weight != 0)


def _turn(role: Role, at: KeyPath, content: object) -> _Turn | RecordError:
    """Return the turn of a text, or of a list of parts that follow each other with nothing between."""
    if isinstance(content, str):
        return _Turn(role, (Piece(content, at),), at)
    if not isinstance(content, list) or not content:
        return _not_text(at, content)
    pieces = []
    for index, part in enumerate(content):
        here = (*at, index)
        if not isinstance(part, dict):
            return _not_text(here, part)
        kind = part.get("type", "text")
        if kind != "text" or "text" not in part:
            others = [key for key in part if key not in ("type", "text")]
            named = kind if kind != "text" else others[0] if others else "nothing"
            what = f"a part is {str(named)[:_MAX_NAME_CHARS]}, not text"
            return RecordError(here, what, _TEXT_ONLY)
        if not isinstance(part["text"], str):
            return _not_text((*here, "text"), part["text"])
        pieces.append(Piece(part["text"], (*here, "text")))
    return _Turn(role, tuple(pieces), at)


def _tools(record: Record) -> Iterator[_Turn | RecordError]:
    for key in ("tools", "functions"):
        if record.get(key):
            what = f"{key} are declared; examples can contain only text"
            yield RecordError((key,), what, "leave out the rows that need tools")


def _history(pairs: object) -> Iterator[_Turn | RecordError]:
    """LLaMA-Factory's: lists of a question and an answer."""
    if not isinstance(pairs, list | None):
        yield RecordError(("history",), "history is no list", 'write [["...", "..."]]')
        return
    for index, pair in enumerate(pairs or ()):
        at = ("history", index)
        if isinstance(pair, list) and [type(each) for each in pair] == [str, str]:
            yield _Turn("user", (Piece(pair[0], (*at, 0)),), (*at, 0))
            yield _Turn("model", (Piece(pair[1], (*at, 1)),), (*at, 1))
        else:
            what = "a turn of history is not a question and its answer"
            yield RecordError(at, what, 'write it as ["question", "answer"]')


def _texts(record: Record, keys: Sequence[str], errors: list[RecordError]) -> list[Piece]:
    """Return the texts under these keys, and add what is not text to the errors."""
    errors += [_not_text((key,), record[key]) for key in keys if not isinstance(record[key], str)]
    return [Piece(record[key], (key,)) for key in keys if isinstance(record[key], str)]


def _missing_keys(record: Record, keys: Sequence[str], fix: str) -> list[RecordError]:
    present = ", ".join(map(_quote_name, islice(record, _MAX_NAMES))) or "none"
    what = (f"there is no key {key!r}; there is {present}" for key in keys if key not in record)
    return [RecordError((), each, fix, "no-key") for each in what]


def missing_columns(
    path: str, line: int, columns: Columns, present: Sequence[str], word: str
) -> Iterator[Problem]:
    """Yield a problem for each of ``columns`` that is missing; ``word`` is column or key."""
    for setting, name in zip(columns._fields, columns, strict=True):
        if name not in present:
            listed = ", ".join(map(_quote_name, present[:_MAX_NAMES])) or "none"
            if len(present) > _MAX_NAMES:
                listed += f" and {len(present) - _MAX_NAMES} more"
            what, fix = (
                f"there is no {word} {name!r}; there is {listed}",
                _fix(setting, name, present),
            )
            yield Problem(path, line, 0, what, fix, f"no-{word}")


def _fix(setting: str, name: str, present: Sequence[str]) -> str:
    from difflib import get_close_matches
    from shlex import quote

    option = _OPTIONS[setting]
    by_letters = {other.strip().casefold(): other for other in present}
    matches = get_close_matches(name.strip().casefold(), by_letters, n=1)
    if not matches:
        return f"name the one to read: training_data.{setting} ({option} COLUMN)"
    near = by_letters[matches[0]]
    if near.strip() == name.strip():
        return f"remove the spaces from the name {near!r}, or write {setting}: {near!r} in the spec"
    return f"did you mean {near!r}? Then write training_data.{setting}: {near} ({option} {quote(near)})"


def _not_text(path: KeyPath, value: object) -> RecordError:
    fix = "write it as one text in double quotes"
    if isinstance(value, bool | int | float):
        fix = f'put quotes around it: "{_as_json(value)}"'
    what = f"{path[-1]} is {describe_value(value)} where a text is needed"
    return RecordError(path, what, fix, "not-text")


def describe_value(value: Any) -> str:
    """Describe a value, e.g. as ``a number (7)``."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "a text"
    kind = next((name for types, name in _KINDS if isinstance(value, types)), "no text")
    return f"{kind} ({_as_json(value)})" if isinstance(value, bool | int | float) else kind


def _as_json(value: float) -> str:
    """Return a number or truth value as JSON writes it, shortened."""
    text = json.dumps(value)
    return text if len(text) <= _MAX_VALUE_CHARS else f"{text[:_MAX_VALUE_CHARS]}..."


def _quote_name(name: str) -> str:
    """Quote a name, shortened: in a file without a header it may be a text, or a secret."""
    return repr(name if len(name) <= _MAX_NAME_CHARS else f"{name[:_MAX_NAME_CHARS]}...")
