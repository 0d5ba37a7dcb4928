"""What must hold between the keys of a spec, and the forms of names and addresses.

Rules look at plain values, so that they work even where another key is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tuner import names
from tuner.data.formats.encodings import is_of_text
from tuner.yaml_source import list_or_empty, mapping_or_empty, text_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tuner.errors import Problem
    from tuner.yaml_source import Document, KeyPath


METRICS = (
    "exact_match",
    "normalized_match",
    "contains",
    "regex",
    "json",
    "token_f1",
    "rouge_l",
    "chrf",
    "numeric",
    "judge",
)

DURATION = r"^(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$"
"""Days, hours, minutes and seconds, each at most once; at least one (which ``$`` cannot say)."""


def parse_duration(text: str) -> float:
    """The length in seconds of a text that matches ``DURATION``."""
    found = re.fullmatch(DURATION, text)
    counts = [int(count or 0) for count in found.groups()] if found else [0]
    return float(sum(n * size for n, size in zip(counts, (86_400, 3_600, 60, 1), strict=False)))


_ADDRESS = r"[^@\s]+@([^@\s]+\.[^@\s]+|localhost)"
_ENDPOINT = r"(?:https?://)?(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):\d{1,5}"

_UNSHOWN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's control characters, halves of characters, and ends of lines and paragraphs."""


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of ``words`` that was probably meant, or an empty text."""
    by_lower = {known.lower(): known for known in words}
    lower = word.lower().replace("-", "_").replace(" ", "_")
    found = get_close_matches(lower, by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def broken_rules(document: Document) -> list[Problem]:
    """Every rule that the document breaks, in the order of its keys."""
    spec = mapping_or_empty(document.value)
    return [
        *_sources(document, spec),
        *_identity(document, spec),
        *_target(document, mapping_or_empty(spec.get("target"))),
        *_data(document, mapping_or_empty(spec.get("training_data"))),
        *_hyperparameters(document, mapping_or_empty(spec.get("hyperparameters"))),
        *broken_evaluation(document, spec),
        *_permissions(document, spec),
        *_transfer(document, spec),
        *broken_notify(document, spec),
        *_timeout(document, spec),
    ]


def _sources(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    base, source = text_or_none(spec, "base_model"), text_or_none(spec, "tuned_model_source")
    if base and source:
        what = "base_model and tuned_model_source exclude each other"
        yield document.problem(
            ("tuned_model_source",), what, "keep one of them", "two-sources", key=True
        )
    if spec.get("base_model") is None and spec.get("tuned_model_source") is None:
        fix = "add base_model: models/smollm2-135m-instruct, or tuned_model_source: tunedModels/ID"
        yield document.problem((), "base_model is missing", fix, "missing-key")
    if base is not None and not re.fullmatch(r"models/[\w.-]+", base):
        tuned = names.is_tuned_model(base)
        fix = (
            "write it as tuned_model_source"
            if tuned
            else "write models/ID; `tuner models list` has them"
        )
        yield document.problem(
            ("base_model",), f"{base!r} does not name a base model", fix, "bad-name"
        )
    if source is not None and not names.is_tuned_model(source):
        what = f"{source!r} does not name a tuned model"
        yield document.problem(("tuned_model_source",), what, "write tunedModels/ID", "bad-name")


def _identity(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    job, model_id = text_or_none(spec, "job"), text_or_none(spec, "tuned_model_id")
    if job is not None and any(unicodedata.category(each) in _UNSHOWN for each in job):
        what = f"{job!r} holds a control character, and stands on screens and in logs"
        yield document.problem(("job",), what, "write it in words, on one line", "bad-name")
    if model_id is not None and not names.is_tuned_model_id(model_id):
        what = f"{model_id!r} cannot be a tuned model's id"
        near = names.slug(model_id.removeprefix("tunedModels/"))
        fix = f"use a-z, 0-9 and hyphens, 40 at most, a letter first, e.g. {near}"
        yield document.problem(("tuned_model_id",), what, fix, "bad-name")


def _target(document: Document, target: Mapping[str, Any]) -> Iterator[Problem]:
    endpoint, account = text_or_none(target, "endpoint"), text_or_none(target, "impersonate")
    if endpoint is not None and not re.fullmatch(_ENDPOINT, endpoint):
        fix = "write it as tuning.example.com:443, or https://localhost:50051"
        what = f"{endpoint!r} is not host:port"
        yield document.problem(("target", "endpoint"), what, fix, "bad-endpoint")
    if account is not None:
        yield from _address(document, ("target", "impersonate"), account)


def _data(document: Document, data: Mapping[str, Any]) -> Iterator[Problem]:
    column = data.get("text_input", "text_input")
    if column == data.get("output", "output"):
        what = f"text_input and output are both read from {column!r}"
        fix = "name the column of the answers in output"
        yield document.problem(("training_data", "output"), what, fix, "same-column")
    encoding = text_or_none(data, "encoding")
    if encoding is not None and not is_of_text(encoding):
        what = f"{encoding!r} is not an encoding that can be read"
        fix = "save the file as UTF-8 and leave encoding out, or write e.g. cp1252"
        yield document.problem(("training_data", "encoding"), what, fix, "encoding")


def _hyperparameters(document: Document, keys: Mapping[str, Any]) -> Iterator[Problem]:
    if None not in (keys.get("learning_rate"), keys.get("learning_rate_multiplier")):
        at = ("hyperparameters", "learning_rate_multiplier")
        what = "learning_rate and learning_rate_multiplier exclude each other"
        yield document.problem(at, what, "keep one of them", "two-learning-rates", key=True)


def _permissions(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    seen: dict[tuple[str, str], int] = {}
    for index, item in enumerate(list_or_empty(spec.get("permissions"))):
        keys = mapping_or_empty(item)
        yield from _grant(document, index, keys)
        grantee = (
            str(keys.get("grantee_type", "USER")),
            str(keys.get("email_address", "")).casefold(),
        )
        if keys and grantee in seen:
            line = document.values["permissions", seen[grantee]].line
            who = keys.get("email_address") or "everyone"
            what = f"{who} has a permission already, on line {line}"
            yield document.problem(
                ("permissions", index), what, "keep the one with the wider role", "repeated-grantee"
            )
        seen.setdefault(grantee, index)


def _grant(document: Document, index: int, keys: Mapping[str, Any]) -> Iterator[Problem]:
    at = ("permissions", index)
    address = keys.get("email_address")
    if keys.get("role") == "OWNER":
        fix = "write transfer_ownership: and the address, at the top level"
        what = "ownership cannot be granted, only transferred"
        yield document.problem((*at, "role"), what, fix, "owner-granted")
    if keys.get("grantee_type") == "EVERYONE" and address:
        what = "EVERYONE has no e-mail address"
        fix = "drop email_address, or write grantee_type: USER"
        yield document.problem((*at, "email_address"), what, fix, "everyone-address", key=True)
    elif keys and keys.get("grantee_type") != "EVERYONE" and not address:
        fix = "add email_address:, or grantee_type: EVERYONE if the whole world is meant"
        yield document.problem(at, "the e-mail address is missing", fix, "missing-key")
    elif isinstance(address, str):
        yield from _address(document, (*at, "email_address"), address)


def _transfer(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    heir = text_or_none(spec, "transfer_ownership")
    if heir is None:
        return
    yield from _address(document, ("transfer_ownership",), heir)
    for index, item in enumerate(list_or_empty(spec.get("permissions"))):
        keys = mapping_or_empty(item)
        is_user = keys.get("grantee_type", "USER") == "USER"
        if is_user and str(keys.get("email_address", "")).casefold() == heir.casefold():
            what = f"{heir} is to be the owner, and an owner has every right already"
            fix = "drop this permission, or the transfer"
            yield document.problem(("permissions", index), what, fix, "owner-granted")


def _timeout(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    timeout = text_or_none(spec, "timeout")
    if timeout is not None and re.fullmatch(r"[0-9dhms]*", timeout) and not parse_duration(timeout):
        what = f"timeout is {timeout!r}, which is no time at all"
        yield document.problem(("timeout",), what, "write e.g. 90s, 45m or 2h30m", "bad-duration")


def _address(document: Document, at: tuple[str | int, ...], address: str) -> Iterator[Problem]:
    if not re.fullmatch(_ADDRESS, address):
        what = f"{address!r} is not an e-mail address"
        yield document.problem(at, what, "write it as name@example.com", "bad-address")


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
    keys = mapping_or_empty(spec["evaluation"])
    yield from _rows(document, keys)
    yield from _metric(document, keys.get("metric"))
    yield from _require(document, mapping_or_empty(keys.get("require")))


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
    keys = {"kind": metric} if isinstance(metric, str) else mapping_or_empty(metric)
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
    if kind in METRICS or re.fullmatch(_CALLABLE, kind):
        return
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
    model = text_or_none(keys, "model")
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


_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


def broken_notify(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Every such rule that the document breaks."""
    for index, item in enumerate(list_or_empty(spec.get("notify"))):
        if isinstance(item, dict):
            yield from _sink(document, ("notify", index), mapping_or_empty(item))


def _sink(document: Document, at: KeyPath, keys: Mapping[str, Any]) -> Iterator[Problem]:
    url, command, secret = (text_or_none(keys, key) for key in ("url", "command", "secret_env"))
    if keys.get("url") and keys.get("command"):
        what = "url and command exclude each other"
        fix = "write an item of the list for each"
        yield document.problem((*at, "command"), what, fix, "two-sinks", key=True)
    if not keys.get("url") and not keys.get("command"):
        fix = "add url: https://..., or command:"
        yield document.problem(at, f"notify[{at[-1]}] tells nobody", fix, "missing-key")
    if url:
        yield from _url(document, (*at, "url"), url)
    if secret and command and not url:
        what = "secret_env signs a POST, and a command gets none"
        yield document.problem((*at, "secret_env"), what, "drop it", "idle-key", key=True)
    if secret and not re.fullmatch(_VARIABLE, secret):
        what = "secret_env does not name an environment variable"  # it may be the secret itself
        fix = "write the name of the variable that holds the key; the key never stands in a spec"
        yield document.problem((*at, "secret_env"), what, fix, "bad-name")
    if keys.get("on") == []:
        fix = "drop it to be told everything, or drop this item of notify"
        yield document.problem((*at, "on"), "on is empty: nothing is told", fix, "empty")


def _url(document: Document, at: KeyPath, url: str) -> Iterator[Problem]:
    """What is said never quotes it: it may hold a token."""
    try:
        parts = urlsplit(url)
        host, secret, _ = parts.hostname, parts.password or parts.username, parts.port
    except ValueError:
        host, secret = None, None
    if not host or parts.scheme not in {"http", "https"}:
        fix = "write it as https://example.com/hook"
        yield document.problem(at, "this is not the URL of a webhook", fix, "bad-url")
    elif secret:
        fix = "take them out of the URL; a receiver knows us by the signature, see secret_env"
        yield document.problem(at, "a user or password stands in the URL", fix, "bad-url")
    elif parts.scheme == "http" and host not in _LOOPBACK:
        what = "http sends what is told in the clear"
        yield document.problem(at, what, "write https://", "bad-url")
