"""Problems as SARIF 2.1.0, which code hosts and editors show beside the lines they are about."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tuner import __version__
from tuner.data.checks.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tuner.errors import Problem

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NUMBERS = {code: number for number, code in enumerate(RULES)}


def write_sarif(problems: Iterable[Problem]) -> Iterator[str]:
    """Yield the lines of a SARIF log with one run, a result a line, as the problems come.

    See https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.
    """
    yield f'{{"version": "2.1.0", "$schema": "{SCHEMA}", "runs": [{{"tool": {json.dumps(_tool())},'
    yield '"columnKind": "unicodeCodePoints", "results": ['
    comma = ""
    for problem in problems:
        yield comma + json.dumps(_result(problem))
        comma = ","
    yield "]}]}"


def _tool() -> dict[str, Any]:
    rules = [
        {
            "id": code,
            "shortDescription": {"text": f"{rule.about}."},
            "defaultConfiguration": {"level": rule.severity},
        }
        for code, rule in RULES.items()
    ]
    return {"driver": {"name": "tuner", "version": __version__, "rules": rules}}


def _result(problem: Problem) -> dict[str, Any]:
    text = f"{problem.what}; {problem.fix}." if problem.fix else f"{problem.what}."
    rule = {"ruleId": problem.rule}
    number = {"ruleIndex": _NUMBERS[problem.rule]} if problem.rule in _NUMBERS else {}
    place = {"physicalLocation": _place(problem)}
    return (
        rule
        | number
        | {
            "level": problem.severity,
            "message": {"text": text},
            "locations": [place],
        }
    )


def _place(problem: Problem) -> dict[str, Any]:
    path = Path(problem.path)
    uri = path.as_uri() if path.is_absolute() else quote(os.fsencode(path.as_posix()))
    place: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if problem.line:
        place["region"] = {"startLine": problem.line}
        if problem.column:
            place["region"]["startColumn"] = problem.column
    return place
