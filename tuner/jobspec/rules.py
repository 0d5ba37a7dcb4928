"""What must hold between the keys of a spec, and the forms of names and addresses.

Rules look at the plain values, so that they speak even where another key is wrong.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

from tuner import names
from tuner.data.formats.encodings import is_of_text
from tuner.jobspec.durations import seconds
from tuner.jobspec.evaluation_rules import broken_evaluation
from tuner.jobspec.notify_rules import broken_notify
from tuner.yaml_source.plain import items_of, keys_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuner.errors import Problem
    from tuner.yaml_source.document import Document

_ADDRESS = r"[^@\s]+@([^@\s]+\.[^@\s]+|localhost)"
_ENDPOINT = r"(?:https?://)?(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):\d{1,5}"

_UNSHOWN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's control characters, halves of characters, and ends of lines and paragraphs."""


def broken_rules(document: Document) -> list[Problem]:
    """Every rule that the document breaks, in the order of its keys."""
    spec = keys_of(document.value)
    return [
        *_sources(document, spec),
        *_identity(document, spec),
        *_target(document, keys_of(spec.get("target"))),
        *_data(document, keys_of(spec.get("training_data"))),
        *_hyperparameters(document, keys_of(spec.get("hyperparameters"))),
        *broken_evaluation(document, spec),
        *_permissions(document, spec),
        *_transfer(document, spec),
        *broken_notify(document, spec),
        *_timeout(document, spec),
    ]


def _sources(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    base, source = text_of(spec, "base_model"), text_of(spec, "tuned_model_source")
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
    job, model_id = text_of(spec, "job"), text_of(spec, "tuned_model_id")
    if job is not None and any(unicodedata.category(each) in _UNSHOWN for each in job):
        what = f"{job!r} holds a control character, and stands on screens and in logs"
        yield document.problem(("job",), what, "write it in words, on one line", "bad-name")
    if model_id is not None and not names.is_tuned_model_id(model_id):
        what = f"{model_id!r} cannot be a tuned model's id"
        near = names.slug(model_id.removeprefix("tunedModels/"))
        fix = f"use a-z, 0-9 and hyphens, 40 at most, a letter first, e.g. {near}"
        yield document.problem(("tuned_model_id",), what, fix, "bad-name")


def _target(document: Document, target: Mapping[str, Any]) -> Iterator[Problem]:
    endpoint, account = text_of(target, "endpoint"), text_of(target, "impersonate")
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
    encoding = text_of(data, "encoding")
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
    for index, item in enumerate(items_of(spec.get("permissions"))):
        keys = keys_of(item)
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
    heir = text_of(spec, "transfer_ownership")
    if heir is None:
        return
    yield from _address(document, ("transfer_ownership",), heir)
    for index, item in enumerate(items_of(spec.get("permissions"))):
        keys = keys_of(item)
        is_user = keys.get("grantee_type", "USER") == "USER"
        if is_user and str(keys.get("email_address", "")).casefold() == heir.casefold():
            what = f"{heir} is to be the owner, and an owner has every right already"
            fix = "drop this permission, or the transfer"
            yield document.problem(("permissions", index), what, fix, "owner-granted")


def _timeout(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    timeout = text_of(spec, "timeout")
    if timeout is not None and re.fullmatch(r"[0-9dhms]*", timeout) and not seconds(timeout):
        what = f"timeout is {timeout!r}, which is no time at all"
        yield document.problem(("timeout",), what, "write e.g. 90s, 45m or 2h30m", "bad-duration")


def _address(document: Document, at: tuple[str | int, ...], address: str) -> Iterator[Problem]:
    if not re.fullmatch(_ADDRESS, address):
        what = f"{address!r} is not an e-mail address"
        yield document.problem(at, what, "write it as name@example.com", "bad-address")
