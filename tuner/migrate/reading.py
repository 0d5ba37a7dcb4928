"""A foreign file read: JSON or YAML, with the place of every key."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tuner.errors import Problem, SpecError
from tuner.yaml_source import parse_document, read_text

if TYPE_CHECKING:
    from pathlib import Path

    from tuner.yaml_source import Document

_PAIR = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")


def read_foreign(path: Path) -> Document:
    """Read a file of somebody else's; nothing of it is taken from the environment.

    Raises:
        SpecError: It cannot be read, or is neither a JSON object nor a YAML mapping.
    """
    text = read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        text = _json(path, text)
    return _one_job(parse_document(path, text))


def _one_job(document: Document) -> Document:
    value = document.value
    if not isinstance(value, dict):
        fix = "save one job, or one configuration, as a file of its own"
        raise SpecError([document.problem((), "is no mapping of keys", fix, "bad-type")])
    jobs = value.get("data")
    if value.get("object") == "list" and isinstance(jobs, list):
        what = f"is a list of {len(jobs)} jobs"
        fix = f"save one of them, e.g. jq '.data[0]' {document.path} > job.json"
        raise SpecError([document.problem(("data",), what, fix, "bad-type")])
    return document


def _json(path: Path, text: str) -> str:
    """``text`` as YAML takes it, which knows no surrogate pairs.

    Raises:
        SpecError: It is not JSON.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        what = f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        fix = "save it again as the service gave it"
        problem = Problem(str(path), error.lineno, error.colno, what, fix, "syntax")
        raise SpecError([problem]) from None
    except (RecursionError, ValueError):
        problem = Problem(str(path), 1, 1, "is nested too deep", "save one job", "too-big")
        raise SpecError([problem]) from None
    return _PAIR.sub(_character, text)


def _character(pair: re.Match[str]) -> str:
    return bytes.fromhex(pair[1] + pair[2]).decode("utf-16-be")
