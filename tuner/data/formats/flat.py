"""Records whose keys hold one text each, made examples: plain columns, prompt-completion, Alpaca."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.data.formats.conversations import Turn, examples_of, openai_turns
from tuner.data.formats.flaws import bad_conversation, no_key, no_keys, not_text
from tuner.data.formats.shapes import JOINT, Flaw, Parts, Piece

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tuner.data import Source
    from tuner.data.formats.shapes import Record


def plain(record: Record, source: Source) -> list[Parts | Flaw]:
    """The two texts under the names that the source gives."""
    missing = [*no_keys(source.columns, record)]
    texts, flaws = _texts(record, [name for name in source.columns if name in record])
    if missing or flaws:
        return [*missing, *flaws]
    return [Parts((texts[0],), (texts[1],))]


def prompt_completion(record: Record, source: Source) -> list[Parts | Flaw]:
    """``prompt`` and ``completion``, two texts or, as TRL has them, two lists of messages."""
    missing = [
        no_key(key, record, 'write {"prompt": "...", "completion": "..."}')
        for key in ("prompt", "completion")
        if key not in record
    ]
    if missing:
        return [*missing]
    if isinstance(record["prompt"], list) and isinstance(record["completion"], list):
        turns = [*openai_turns(record, "prompt"), *openai_turns(record, "completion")]
        return examples_of(turns, ("prompt",), source.multi_turn)
    texts, flaws = _texts(record, ("prompt", "completion"))
    return [*flaws] or [Parts((texts[0],), (texts[1],))]


def alpaca(record: Record, source: Source) -> list[Parts | Flaw]:
    """``instruction``, a blank line and ``input`` where that is not empty; ``output``.

    ``system`` goes in front; the pairs of ``history`` are earlier turns. Both, and ``input``, may
    be missing or null.
    """
    missing = [
        no_key(key, record, 'write {"instruction": "...", "input": "...", "output": "..."}')
        for key in ("instruction", "output")
        if key not in record
    ]
    keys = ("instruction", "input", "output", "system")
    needed = [
        key for key in keys if record.get(key) is not None or key in ("instruction", "output")
    ]
    texts, flaws = _texts(record, [key for key in needed if key in record])
    earlier = list(_history(record.get("history")))
    flaws += [each for each in earlier if isinstance(each, Flaw)]
    if missing or flaws:
        return [*missing, *flaws]
    by_key = dict(zip(needed, texts, strict=True))
    asked = joined_pieces([by_key.get("instruction"), by_key.get("input")])
    turns = [
        *([Turn("system", (by_key["system"],), ("system",))] if "system" in by_key else []),
        *(each for each in earlier if isinstance(each, Turn)),
        Turn("user", asked, ("instruction",)),
        Turn("model", (by_key["output"],), ("output",)),
    ]
    return examples_of(turns, (), source.multi_turn)


def joined_pieces(pieces: Sequence[Piece | None]) -> tuple[Piece, ...]:
    """Those that are not empty, a blank line between; the first when all are."""
    there = [piece for piece in pieces if piece]
    full = [piece for piece in there if piece.text] or there[:1]
    found = [each for piece in full for each in (Piece(JOINT), piece)]
    return tuple(found[1:])


def _texts(record: Record, keys: Sequence[str]) -> tuple[list[Piece], list[Flaw]]:
    flaws = [not_text((key,), record[key]) for key in keys if not isinstance(record[key], str)]
    return [Piece(record[key], (key,)) for key in keys if isinstance(record[key], str)], flaws


def _history(pairs: object) -> Iterator[Turn | Flaw]:
    """LLaMA-Factory's: lists of a question and an answer."""
    if pairs is None:
        return
    if not isinstance(pairs, list):
        yield bad_conversation(("history",), "history is no list", 'write [["...", "..."]]')
        return
    for index, pair in enumerate(pairs):
        at = ("history", index)
        if isinstance(pair, list) and [type(each) for each in pair] == [str, str]:
            yield Turn("user", (Piece(pair[0], (*at, 0)),), (*at, 0))
            yield Turn("model", (Piece(pair[1], (*at, 1)),), (*at, 1))
        else:
            what = "a turn of history is not a question and its answer"
            yield bad_conversation(at, what, 'write it as ["question", "answer"]')
