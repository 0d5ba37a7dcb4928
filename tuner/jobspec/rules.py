"""What must hold between the keys of a spec, and the forms of names, addresses and durations.

Rules look at plain values, so that they work even if another key is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from tuner import names
from tuner.data.encoding import is_text_encoding
from tuner.yaml_source import list_or_empty, mapping_or_empty, text_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tuner.errors import Problem
    from tuner.yaml_source import Document, KeyPath

    Keys = Mapping[str, Any]

METRICS = (
    "exact_match", "normalized_match", "contains", "regex", "json", "token_f1", "rouge_l", "chrf",
    "numeric", "judge",
)  # fmt: skip
DURATION = r"^(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$"
"""Days, hours, minutes and seconds, each at most once; at least one (which ``$`` cannot say)."""

_ADDRESS = r"[^@\s]+@([^@\s]+\.[^@\s]+|localhost)"
_ENDPOINT = r"(?:https?://)?(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):\d{1,5}"
_FUNCTION = r"\w+(\.\w+)*:\w+(\.\w+)*"
_MODEL = r"models/[\w.-]+"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_INVISIBLE = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's control characters, surrogates, and line and paragraph separators."""
_METRIC_OF_KEY = {
    "tolerance": "numeric",
    "pattern": "regex",
    "model": "judge",
    "rubric": "judge",
    "target": "judge",
}


class _Broken(NamedTuple):
    """A broken rule, located at the value at ``at``, or at its key."""

    at: KeyPath
    what: str
    fix: str
    rule: str
    key: bool = False


def broken_rules(document: Document) -> list[Problem]:
    """Return every rule that a spec's document breaks, in the order of its keys."""
    spec = mapping_or_empty(document.value)
    broken = chain(
        _sources(spec),
        _values(spec),
        _data(mapping_or_empty(spec.get("training_data"))),
        _evaluation(spec),
        _permissions(spec, document),
        _transfer(spec),
        _notify(spec),
    )
    return [
        document.problem(each.at, each.what, each.fix, each.rule, key=each.key) for each in broken
    ]


def parse_duration(text: str) -> float:
    """Return the length in seconds of a text that matches ``DURATION``: ``90s``, ``2h30m``."""
    found = re.fullmatch(DURATION, text)
    counts = [int(count or 0) for count in found.groups()] if found else [0]
    return float(sum(n * size for n, size in zip(counts, (86_400, 3_600, 60, 1), strict=False)))


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the one of ``words`` that was probably meant, or an empty text."""
    from difflib import get_close_matches

    by_lower = {known.lower(): known for known in words}
    lower = word.lower().replace("-", "_").replace(" ", "_")
    found = get_close_matches(lower, by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def _sources(spec: Keys) -> Iterator[_Broken]:
    base, source = text_or_none(spec, "base_model"), text_or_none(spec, "tuned_model_source")
    if base and source:
        what = "base_model and tuned_model_source exclude each other"
        yield _Broken(("tuned_model_source",), what, "keep one of them", "two-sources", key=True)
    if spec.get("base_model") is None and spec.get("tuned_model_source") is None:
        fix = "add base_model: models/smollm2-135m-instruct, or tuned_model_source: tunedModels/ID"
        yield _Broken((), "base_model is missing", fix, "missing-key")
    if base is not None and not re.fullmatch(_MODEL, base):
        fix = "write models/ID; `tuner models list` has them"
        if names.is_tuned_model(base):
            fix = "write it as tuned_model_source"
        yield _Broken(("base_model",), f"{base!r} does not name a base model", fix, "bad-name")
    if source is not None and not names.is_tuned_model(source):
        what = f"{source!r} does not name a tuned model"
        yield _Broken(("tuned_model_source",), what, "write tunedModels/ID", "bad-name")


def _values(spec: Keys) -> Iterator[_Broken]:
    job, model_id = text_or_none(spec, "job"), text_or_none(spec, "tuned_model_id")
    if job is not None and any(unicodedata.category(each) in _INVISIBLE for each in job):
        what = f"{job!r} contains a control character, which would break screens and logs"
        yield _Broken(("job",), what, "write it in words, on one line", "bad-name")
    if model_id is not None and not names.is_tuned_model_id(model_id):
        near = names.slug(model_id.removeprefix("tunedModels/"))
        what = f"{model_id!r} cannot be a tuned model's id"
        fix = f"use a-z, 0-9 and hyphens, 40 at most, a letter first, e.g. {near}"
        yield _Broken(("tuned_model_id",), what, fix, "bad-name")
    target = mapping_or_empty(spec.get("target"))
    endpoint = text_or_none(target, "endpoint")
    if endpoint is not None and not re.fullmatch(_ENDPOINT, endpoint):
        fix = "write it as tuning.example.com:443, or https://localhost:50051"
        what = f"{endpoint!r} is not host:port"
        yield _Broken(("target", "endpoint"), what, fix, "bad-endpoint")
    yield from _address(("target", "impersonate"), text_or_none(target, "impersonate"))
    rates = mapping_or_empty(spec.get("hyperparameters"))
    if None not in (rates.get("learning_rate"), rates.get("learning_rate_multiplier")):
        at = ("hyperparameters", "learning_rate_multiplier")
        what = "learning_rate and learning_rate_multiplier exclude each other"
        yield _Broken(at, what, "keep one of them", "two-learning-rates", key=True)
    timeout = text_or_none(spec, "timeout")
    if timeout is not None and re.fullmatch(r"[0-9dhms]*", timeout) and not parse_duration(timeout):
        what = f"timeout is {timeout!r}, which is zero or empty"
        yield _Broken(("timeout",), what, "write e.g. 90s, 45m or 2h30m", "bad-duration")


def _data(data: Keys) -> Iterator[_Broken]:
    column = data.get("text_input", "text_input")
    if column == data.get("output", "output"):
        what = f"text_input and output are both read from {column!r}"
        fix = "name the column of the answers in output"
        yield _Broken(("training_data", "output"), what, fix, "same-column")
    encoding = text_or_none(data, "encoding")
    if encoding is not None and not is_text_encoding(encoding):
        what = f"{encoding!r} is not an encoding that can be read"
        fix = "save the file as UTF-8 and leave encoding out, or write e.g. cp1252"
        yield _Broken(("training_data", "encoding"), what, fix, "encoding")


def _evaluation(spec: Keys) -> Iterator[_Broken]:
    if not isinstance(spec.get("evaluation"), dict):
        return
    keys = mapping_or_empty(spec["evaluation"])
    has_share, has_path = keys.get("holdout") is not None, keys.get("path") is not None
    if has_share and has_path:
        what = "evaluation.holdout and evaluation.path exclude each other"
        yield _Broken(("evaluation", "path"), what, "keep one of them", "two-holdouts", key=True)
    if has_path and keys.get("stratify") is True:
        what = "evaluation.stratify splits training_data, but evaluation.path names held-out rows"
        fix = "drop it, or write holdout:"
        yield _Broken(("evaluation", "stratify"), what, fix, "two-holdouts", key=True)
    if not has_share and not has_path:
        fix = "add holdout: 0.1, or path: with a file of held-out examples"
        yield _Broken(("evaluation",), "evaluation has no rows", fix, "missing-key", key=True)
    metric = keys.get("metric")
    yield from _metric({"kind": metric} if isinstance(metric, str) else mapping_or_empty(metric))
    gate = mapping_or_empty(keys.get("require"))
    if gate.get("better_than_base") is not True:
        for key in ("better_by", "significant"):
            if gate.get(key):
                what = f"{key} compares with the base model, which needs better_than_base"
                at = ("evaluation", "require", key)
                fix = "add better_than_base: true, or drop it"
                yield _Broken(at, what, fix, "idle-key", key=True)


def _metric(keys: Keys) -> Iterator[_Broken]:
    kind = keys.get("kind", "exact_match")
    if not isinstance(kind, str) or not kind:
        return
    at = ("evaluation", "metric")
    if kind not in METRICS and not re.fullmatch(_FUNCTION, kind):
        near = nearest(kind, METRICS)
        fix = f"write one of {', '.join(METRICS)}, or module:function"
        fix = f"did you mean {near}?" if near else fix
        yield _Broken((*at, "kind"), f"there is no metric {kind!r}", fix, "unknown-value")
    for key, owner in _METRIC_OF_KEY.items():
        if keys.get(key) is not None and kind != owner:
            what = f"{key} is for metric {owner}, and this is {kind}"
            fix = f"drop it, or write kind: {owner}"
            yield _Broken((*at, key), what, fix, "idle-key", key=True)
    if kind == "regex":
        yield from _regex(at, keys.get("pattern"))
    if kind == "judge":
        yield from _judge(at, keys)


def _regex(at: KeyPath, pattern: object) -> Iterator[_Broken]:
    if pattern is None or pattern == "":
        fix = "add pattern:, e.g. '{expected}[.!]?'"
        yield _Broken(at, "metric regex has no pattern", fix, "missing-key")
    elif isinstance(pattern, str):
        try:
            re.compile(pattern.replace("{expected}", "x"))
        except (re.error, RecursionError, OverflowError) as error:
            what = f"{pattern!r} is not a regular expression: {error}"
            fix = "put a backslash before a character such as ( or * that stands for itself"
            yield _Broken((*at, "pattern"), what, fix, "bad-pattern")


def _judge(at: KeyPath, keys: Keys) -> Iterator[_Broken]:
    model = text_or_none(keys, "model")
    if not keys.get("model"):
        fix = "add model: models/ID; `tuner models list` has them"
        yield _Broken(at, "metric judge has no model", fix, "missing-key")
    elif model and not re.fullmatch(_MODEL, model) and not names.is_tuned_model(model):
        fix = "write models/ID or tunedModels/ID"
        yield _Broken((*at, "model"), f"{model!r} does not name a model", fix, "bad-name")
    if not keys.get("rubric"):
        fix = "add rubric:, e.g. 5 is right and polite, 3 right but curt, 1 wrong"
        yield _Broken(at, "metric judge has no rubric", fix, "missing-key")


def _permissions(spec: Keys, document: Document) -> Iterator[_Broken]:
    seen: dict[tuple[str, str], int] = {}
    for index, item in enumerate(list_or_empty(spec.get("permissions"))):
        at, keys = ("permissions", index), mapping_or_empty(item)
        yield from _grant(at, keys)
        address = keys.get("email_address", "")
        grantee = (str(keys.get("grantee_type", "USER")), str(address).casefold())
        if keys and grantee in seen:
            line = document.values["permissions", seen[grantee]].line
            what = f"{address or 'everyone'} already has a permission, on line {line}"
            yield _Broken(at, what, "keep the one with the wider role", "repeated-grantee")
        seen.setdefault(grantee, index)


def _grant(at: KeyPath, keys: Keys) -> Iterator[_Broken]:
    address = keys.get("email_address")
    if keys.get("role") == "OWNER":
        fix = "write transfer_ownership: and the address, at the top level"
        what = "ownership cannot be granted, only transferred"
        yield _Broken((*at, "role"), what, fix, "owner-granted")
    if keys.get("grantee_type") == "EVERYONE" and address:
        fix = "drop email_address, or write grantee_type: USER"
        what = "EVERYONE has no e-mail address"
        yield _Broken((*at, "email_address"), what, fix, "everyone-address", key=True)
    elif keys and keys.get("grantee_type") != "EVERYONE" and not address:
        fix = "add email_address:, or grantee_type: EVERYONE if everyone is meant"
        yield _Broken(at, "the e-mail address is missing", fix, "missing-key")
    elif isinstance(address, str):
        yield from _address((*at, "email_address"), address)


def _transfer(spec: Keys) -> Iterator[_Broken]:
    owner = text_or_none(spec, "transfer_ownership")
    if owner is None:
        return
    yield from _address(("transfer_ownership",), owner)
    for index, item in enumerate(list_or_empty(spec.get("permissions"))):
        keys = mapping_or_empty(item)
        is_user = keys.get("grantee_type", "USER") == "USER"
        if is_user and str(keys.get("email_address", "")).casefold() == owner.casefold():
            what = f"{owner} becomes the owner, who has every right already"
            fix = "drop this permission, or the transfer"
            yield _Broken(("permissions", index), what, fix, "owner-granted")


def _notify(spec: Keys) -> Iterator[_Broken]:
    for index, item in enumerate(list_or_empty(spec.get("notify"))):
        if isinstance(item, dict):
            yield from _receiver(("notify", index), item)


def _receiver(at: KeyPath, keys: Keys) -> Iterator[_Broken]:
    url, command, secret = (text_or_none(keys, key) for key in ("url", "command", "secret_env"))
    if keys.get("url") and keys.get("command"):
        fix = "write a list item for each"
        what = "url and command exclude each other"
        yield _Broken((*at, "command"), what, fix, "two-sinks", key=True)
    if not keys.get("url") and not keys.get("command"):
        fix = "add url: https://..., or command:"
        yield _Broken(at, f"notify[{at[-1]}] has no receiver", fix, "missing-key")
    if url:
        yield from _url((*at, "url"), url)
    if secret and command and not url:
        what = "secret_env applies to url, not to command"
        yield _Broken((*at, "secret_env"), what, "drop it", "idle-key", key=True)
    if secret and not re.fullmatch(_VARIABLE, secret):
        what = "secret_env does not name an environment variable"  # it may be the secret itself
        fix = "write the name of the variable that holds the key; never write the key itself"
        yield _Broken((*at, "secret_env"), what, fix, "bad-name")
    if keys.get("on") == []:
        fix = "drop it to send every event, or drop this item of notify"
        yield _Broken((*at, "on"), "on is empty: nothing is sent", fix, "empty")


def _url(at: KeyPath, url: str) -> Iterator[_Broken]:
    """Check a webhook; errors never quote it, as it may hold a token."""
    try:
        parts = urlsplit(url)
        host, secret, _ = parts.hostname, parts.password or parts.username, parts.port
    except ValueError:
        host, secret = None, None
    if not host or parts.scheme not in {"http", "https"}:
        fix = "write it as https://example.com/hook"
        yield _Broken(at, "this is not the URL of a webhook", fix, "bad-url")
    elif secret:
        fix = "remove them; the receiver can verify our signature instead, see secret_env"
        yield _Broken(at, "the URL contains a user or password", fix, "bad-url")
    elif parts.scheme == "http" and host not in _LOOPBACK:
        yield _Broken(at, "http is not encrypted", "write https://", "bad-url")


def _address(at: KeyPath, address: str | None) -> Iterator[_Broken]:
    if address is not None and not re.fullmatch(_ADDRESS, address):
        what = f"{address!r} is not an e-mail address"
        yield _Broken(at, what, "write it as name@example.com", "bad-address")
