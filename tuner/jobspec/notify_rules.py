"""What must hold between the keys that say whom to tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tuner.yaml_source.plain import items_of, keys_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tuner.errors import Problem
    from tuner.yaml_source.document import Document
    from tuner.yaml_source.nodes import KeyPath

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


def broken_notify(document: Document, spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Every such rule that the document breaks."""
    for index, item in enumerate(items_of(spec.get("notify"))):
        if isinstance(item, dict):
            yield from _sink(document, ("notify", index), keys_of(item))


def _sink(document: Document, at: KeyPath, keys: Mapping[str, Any]) -> Iterator[Problem]:
    url, command, secret = (text_of(keys, key) for key in ("url", "command", "secret_env"))
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
