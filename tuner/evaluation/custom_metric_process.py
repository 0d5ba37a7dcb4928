"""The process in which a metric of the user's own runs: a line with two texts in, a line with its score out.

It is run by its path and imports nothing of tuner; ``custom_metric`` is at the other end.
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

_Reply = dict[str, Any]


def main(name: str, attribute: str, file: str, folder: str) -> None:
    """Import the module, answer the first line with what is wrong with it, and the others with scores."""
    lines, out = _kept_apart()
    sys.path.insert(0, folder)
    found, reply = _found(name, attribute, file)
    while True:
        question = json.loads(lines.get())
        answer = reply if question is None or found is None else _scored(found, question, file)
        out.write(f"{json.dumps(answer)}\n")
        out.flush()


def _kept_apart() -> tuple[SimpleQueue[str], TextIO]:
    """The lines that come in, and where answers go: what the metric reads or prints is none of them."""
    lines: SimpleQueue[str] = SimpleQueue()
    into, out = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def read() -> None:
        for line in into:
            lines.put(line)
        os._exit(0)  # whoever asked is gone, and the metric may be at it for ever

    threading.Thread(target=read, daemon=True).start()
    return lines, out


def _found(name: str, attribute: str, file: str) -> tuple[Callable[..., object] | None, _Reply]:
    try:
        found: Any = _loaded(name, file) if file else importlib.import_module(name)
    except ImportError as error:
        return None, {"wrong": f"module {name} cannot be imported: {error}", "where": False}
    except BaseException as error:  # noqa: BLE001 -- even SystemExit: its last words are ours to pass on
        what = f"module {name} fails when it is imported: {_said(error)}"
        return None, {"wrong": what, "where": True}
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        return None, {"wrong": f"module {name} has no function {attribute}", "where": False}
    return found, {}


def _loaded(name: str, file: str) -> object:
    """By its file: what is installed may have the same name."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


def _scored(found: Callable[..., object], texts: list[str], file: str) -> _Reply:
    try:
        given = found(*texts)
        if not isinstance(given, SupportsFloat) or not 0 <= float(given) <= 1:
            return {"wrong": f"gave {_short(repr(given))}, not a number from 0 to 1"}
        return {"score": float(given)}
    except BaseException as error:  # noqa: BLE001 -- as above
        return {"wrong": f"raised {_said(error)}{_where(error, file)}"}


def _said(error: BaseException) -> str:
    return _short(f"{type(error).__name__}: {error}".removesuffix(": "))


def _where(error: BaseException, file: str) -> str:
    """The last place in the metric's own file that the error came through."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
    return f" in {file}:{frames[-1].lineno}" if frames else ""


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:299]}…"  # noqa: PLR2004 -- characters, some three lines


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.path[:] = given.pop("path")
    main(**given)
