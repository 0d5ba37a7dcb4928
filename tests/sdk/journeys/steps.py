"""What every journey is made of: steps, each of which says in a line of JSON what came of it.

Journeys run in environments that hold one of Google's clients and nothing else, so this uses the
standard library only.
"""

from __future__ import annotations

import inspect
import json
import sys
import time
import traceback
from contextlib import contextmanager
from types import SimpleNamespace

ROWS = [("1", "2"), ("3", "4"), ("-3", "-2"), ("twenty two", "twenty three")] * 2
BASE, EMBEDDER = "models/tiny", "models/all-minilm-l6-v2"
TEXTS = ["A cat sat on the mat.", "A kitten rested on the rug.", "Stocks fell on Monday."]
PATIENCE_S = 240


def where():
    """What the test tells a journey: addresses, keys, and a word to begin its models' ids with."""
    return SimpleNamespace(**json.loads(sys.argv[1]))


@contextmanager
def step(group, name, note=""):
    """One thing a user does. A failure is told, and the journey goes on.

    ``note`` is what the documents should say about it.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001  whatever it is, the test tells it
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "journeys" in f.filename]
        _tell(group, name, False, f"line {frames[-1].lineno}: {type(error).__name__}: {error}")
    else:
        _tell(group, name, True, note)


def absent(group, why):
    """The client has no such thing, or is broken there by itself."""
    _tell(group, "", None, why)


@contextmanager
def raises(kind, *words):
    """The block ends with exactly this class of the client's exceptions, and its text has the words."""
    caught = None
    try:
        yield
    except kind as error:
        caught = error
    assert type(caught) is kind, f"{type(caught).__name__} in place of {kind.__name__}: {caught}"
    missing = [word for word in words if word not in str(caught)]
    assert not missing, f"{missing} not in {caught}"


async def settled(value):
    """The value, whether a client answered at once or gave something to wait for."""
    return await value if inspect.isawaitable(value) else value


async def everything(stream):
    """The items of a list, a pager or a stream."""
    stream = await settled(stream)
    return [each async for each in stream] if hasattr(stream, "__aiter__") else list(stream)


def until(look, is_so):
    """What ``look()`` gives once it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so(found := look()):
        assert time.monotonic() < deadline, f"after {PATIENCE_S} s it is still {found}"
        time.sleep(0.2)
    return found


def check_vectors(alone, many):
    """What embedding TEXTS must give: the first of them alone, and all three."""
    cat, kitten, stocks = many
    assert abs(_product(cat, cat) - 1) < 1e-4, "not of length 1"
    assert _product(cat, kitten) > _product(cat, stocks) + 0.2, "what is alike is not near"
    assert _product(alone, cat) > 1 - 1e-4, "a batch gives another vector"


def _product(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def _tell(group, name, ok, detail):
    line = json.dumps({"group": group, "step": name, "ok": ok, "detail": detail})
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
