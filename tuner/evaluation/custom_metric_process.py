"""The subprocess that runs a custom metric: a line with two texts in, a line with a score out.

``custom_metric`` starts it by its path; it imports nothing of tuner.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import threading
import traceback
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, SupportsFloat, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

    Reply = dict[str, Any]

MAX_TEXT = 300


def main(name: str, attribute: str, file: str, folder: str) -> None:
    """Import the module, then answer ``null`` with import errors and two texts with their score."""
    requests, replies = _redirect_streams()
    sys.path.insert(0, folder)
    function, error = _load_function(name, attribute, file)
    while True:
        texts = json.loads(requests.get())
        reply = error if texts is None or function is None else _score(function, texts, file)
        replies.write(f"{json.dumps(reply)}\n")
        replies.flush()


def _redirect_streams() -> tuple[SimpleQueue[str], TextIO]:
    """Return the requests and the stream for replies; the metric reads nothing and prints to stderr."""
    requests: SimpleQueue[str] = SimpleQueue()
    stdin, stdout = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def read() -> None:
        for line in stdin:
            requests.put(line)
        os._exit(0)  # the parent has ended, and the metric may never return

    threading.Thread(target=read, daemon=True).start()
    return requests, stdout


def _load_function(
    name: str, attribute: str, file: str
) -> tuple[Callable[..., object] | None, Reply]:
    try:
        found: Any = _load_file(name, file) if file else importlib.import_module(name)
    except ImportError as error:
        return None, {"error": f"module {name} cannot be imported: {error}"}
    except BaseException as error:  # noqa: BLE001 -- also SystemExit: the user sees its message
        what = f"module {name} fails when it is imported: {_describe(error)}"
        return None, {"error": what, "has_traceback": True}
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        return None, {"error": f"module {name} has no function {attribute}"}
    return found, {}


def _load_file(name: str, file: str) -> object:
    """Import by path: an installed module may have the same name."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a module")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


def _score(function: Callable[..., object], texts: list[str], file: str) -> Reply:
    try:
        score = function(*texts)
        if not isinstance(score, SupportsFloat) or not 0 <= float(score) <= 1:
            return {"error": f"returned {_shorten(repr(score))}, not a number from 0 to 1"}
        return {"score": float(score)}
    except BaseException as error:  # noqa: BLE001 -- as above
        frames = [
            each for each in traceback.extract_tb(error.__traceback__) if each.filename == file
        ]
        where = f" in {file}:{frames[-1].lineno}" if frames else ""
        return {"error": f"raised {_describe(error)}{where}"}


def _describe(error: BaseException) -> str:
    return _shorten(f"{type(error).__name__}: {error}".removesuffix(": "))


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    sys.path[:] = arguments.pop("path")
    main(**arguments)
