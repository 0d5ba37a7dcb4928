"""What must hold between the keys of an evaluation: its rows, its metric, its gate."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tuner import names
from tuner.yaml_source.plain import keys_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuner.errors import Problem
    from tuner.yaml_source.document import Document

_AT = ("evaluation", "metric")
_GATE = ("evaluation", "require")
_CALLABLE = r"\w+(\.\w+)*:\w+(\.\w+)*"
_WHOSE = {
    "tolerance": "numeric",
    "pattern": "regex",
    "model": "judge",
    "rubric": "judge",
    "target": "judge",
}
"""The kind that reads a key of a metric."""


def broken_evaluation(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Every such rule that the document breaks."""
    if not isinstance(spec.get("evaluation"), dict):
        return
    keys = keys_of(spec["evaluation"])
    yield from _rows(document, keys)
    yield from _metric(document, keys.get("metric"))
    yield from _require(document, keys_of(keys.get("require")))


def _rows(document: Document, keys: Mapping[str, Any]) -> Iterator[Problem]:
    holdout, path = keys.get("holdout"), keys.get("path")
    if holdout is not None and path is not None:
        what = "evaluation.holdout and evaluation.path exclude each other"
        yield document.problem(
            ("evaluation", "path"), what, "keep one of them", "two-holdouts", key=True
        )
    if path is not None and keys.get("stratify") is True:
        what = "evaluation.stratify parts training_data, and evaluation.path does not"
        at = ("evaluation", "stratify")
        yield document.problem(at, what, "drop it, or write holdout:", "two-holdouts", key=True)
    if holdout is None and path is None:
        what = "evaluation has no rows to ask"
        fix = "add holdout: 0.1, or path: with a file of held-out examples"
        yield document.problem(("evaluation",), what, fix, "missing-key", key=True)


def _metric(document: Document, metric: object) -> Iterator[Problem]:
    keys = {"kind": metric} if isinstance(metric, str) else keys_of(metric)
    kind = keys.get("kind", "exact_match")
    if not isinstance(kind, str) or not kind:
        return
    yield from _kind(document, kind)
    for key, whose in _WHOSE.items():
        if keys.get(key) is not None and kind != whose:
            what = f"{key} is for metric {whose}, and this is {kind}"
            fix = f"drop it, or write kind: {whose}"
            yield document.problem((*_AT, key), what, fix, "idle-key", key=True)
    if kind == "regex":
        yield from _pattern(document, keys)
    if kind == "judge":
        yield from _judge(document, keys)


def _kind(document: Document, kind: str) -> Iterator[Problem]:
    from tuner.jobspec.evaluation_keys import METRICS

    if kind in METRICS or re.fullmatch(_CALLABLE, kind):
        return
    from tuner.jobspec.complaints import nearest

    near = nearest(kind, METRICS)
    fix = f"write one of {', '.join(METRICS)}, or module:function"
    what = f"there is no metric {kind!r}"
    fix = f"did you mean {near}?" if near else fix
    yield document.problem((*_AT, "kind"), what, fix, "unknown-value")


def _pattern(document: Document, keys: Mapping[str, Any]) -> Iterator[Problem]:
    pattern = keys.get("pattern")
    if pattern is None or pattern == "":
        fix = "add pattern:, e.g. '{expected}[.!]?'"
        yield document.problem(_AT, "metric regex has no pattern", fix, "missing-key")
    elif isinstance(pattern, str):
        try:
            re.compile(pattern.replace("{expected}", "x"))
        except (re.error, RecursionError, OverflowError) as error:
            what = f"{pattern!r} is no regular expression: {error}"
            fix = "a character such as ( or * means itself behind a backslash"
            yield document.problem((*_AT, "pattern"), what, fix, "bad-pattern")


def _judge(document: Document, keys: Mapping[str, Any]) -> Iterator[Problem]:
    model = text_of(keys, "model")
    if not keys.get("model"):
        fix = "add model: models/ID; `tuner models list` has them"
        yield document.problem(_AT, "metric judge has no model", fix, "missing-key")
    elif model and not re.fullmatch(r"models/[\w.-]+", model) and not names.is_tuned_model(model):
        what = f"{model!r} does not name a model"
        fix = "write models/ID or tunedModels/ID"
        yield document.problem((*_AT, "model"), what, fix, "bad-name")
    if not keys.get("rubric"):
        fix = "add rubric:, e.g. 5 is right and polite, 3 right but curt, 1 wrong"
        yield document.problem(_AT, "metric judge has no rubric", fix, "missing-key")


def _require(document: Document, keys: Mapping[str, Any]) -> Iterator[Problem]:
    if keys.get("better_than_base") is True:
        return
    for key in ("better_by", "significant"):
        if keys.get(key):
            what = f"{key} says how much better than the base, which is not asked for"
            fix = "add better_than_base: true, or drop it"
            yield document.problem((*_GATE, key), what, fix, "idle-key", key=True)
