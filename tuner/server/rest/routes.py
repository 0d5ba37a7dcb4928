"""Which method a REST request is for: Google's routes, the same under /v1beta and /v1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tuner.server.messages import PACKAGE
from tuner.server.methods import METHODS, why_not
from tuner.server.refusals import Code, Refused

if TYPE_CHECKING:
    from tuner.server.methods import Method

VERSIONS = ("v1beta", "v1")
MAX_SEGMENTS = 10
MAX_SHOWN = 100
VERBS = ("GET", "POST", "PATCH", "DELETE")

# A rule reads as in google.api.http: verb, template, and the body's field, * for all of the request.
_RULES = {
    "ListModels": ["GET models"],
    "GetModel": ["GET {name=models/*}"],
    "CreateTunedModel": ["POST tunedModels tuned_model"],
    "ListTunedModels": ["GET tunedModels"],
    "GetTunedModel": ["GET {name=tunedModels/*}"],
    "UpdateTunedModel": ["PATCH {tuned_model.name=tunedModels/*} tuned_model"],
    "DeleteTunedModel": ["DELETE {name=tunedModels/*}"],
    "CreatePermission": ["POST {parent=tunedModels/*}/permissions permission"],
    "ListPermissions": ["GET {parent=tunedModels/*}/permissions"],
    "GetPermission": ["GET {name=tunedModels/*/permissions/*}"],
    "UpdatePermission": ["PATCH {permission.name=tunedModels/*/permissions/*} permission"],
    "DeletePermission": ["DELETE {name=tunedModels/*/permissions/*}"],
    "TransferOwnership": ["POST {name=tunedModels/*}:transferOwnership *"],
    "GenerateContent": [
        "POST {model=models/*}:generateContent *",
        "POST {model=tunedModels/*}:generateContent *",
        "POST {model=dynamic/*}:generateContent *",
    ],
    "StreamGenerateContent": [
        "POST {model=models/*}:streamGenerateContent *",
        "POST {model=tunedModels/*}:streamGenerateContent *",
        "POST {model=dynamic/*}:streamGenerateContent *",
    ],
    "CountTokens": [
        "POST {model=models/*}:countTokens *",
        "POST {model=tunedModels/*}:countTokens *",
    ],
    "EmbedContent": [
        "POST {model=models/*}:embedContent *",
        "POST {model=tunedModels/*}:embedContent *",
    ],
    "BatchEmbedContents": [
        "POST {model=models/*}:batchEmbedContents *",
        "POST {model=tunedModels/*}:batchEmbedContents *",
    ],
    "GenerateAnswer": [
        "POST {model=models/*}:generateAnswer *",
        "POST {model=tunedModels/*}:generateAnswer *",
    ],
    "GetOperation": [
        "GET {name=tunedModels/*/operations/*}",
        "GET {name=models/*/operations/*}",
    ],
    "ListOperations": [
        "GET {name=tunedModels/*}/operations",
        "GET {name=models/*}/operations",
        "GET {name=operations}",
    ],
    "WaitOperation": ["POST {name=tunedModels/*/operations/*}:wait *"],
    "CancelOperation": [
        "POST {name=tunedModels/*/operations/*}:cancel *",
        "POST {name=tunedModels/*}:cancel *",  # google-genai's tunings.cancel
    ],
    "DeleteOperation": ["DELETE {name=tunedModels/*/operations/*}"],
}

_NOT_OFFERED = {
    "files": "FileService",
    "generatedFiles": "FileService",
    "cachedContents": "CacheService",
    "corpora": "RetrieverService",
    "batches": "BatchService",
    ":predict": "PredictionService",
    ":predictLongRunning": "PredictionService",
    ":batchGenerateContent": "BatchService",
    ":asyncBatchEmbedContent": "BatchService",
    ":generateMessage": "DiscussService",
    ":countMessageTokens": "DiscussService",
    ":generateText": "TextService",
    ":countTextTokens": "TextService",
    ":embedText": "TextService",
    ":batchEmbedText": "TextService",
}
_RULE = re.compile(r"(\w+) (?:\{([\w.]+)=([\w*/]+)\})?([\w/]*(?::\w+)?)(?: ([\w*]+))?")


@dataclass(frozen=True, slots=True)
class Route:
    """One way to call a method.

    Attributes:
        path: Without a version, each name a ``*``: ``tunedModels/*/operations``.
        field: The request's field that takes the path's beginning, ``tuned_model.name``; "" has none.
        length: How many of the path's segments that field takes.
        body: The field that is the body; ``*`` is the whole request, "" has no body.
    """

    verb: str
    path: str
    method: Method
    field: str
    length: int
    body: str

    def name(self, segments: tuple[str, ...]) -> str:
        """What the path says ``field`` is."""
        return "/".join(segments[: self.length])


@lru_cache(1024)
def find(verb: str, raw_path: str) -> tuple[Route, tuple[str, ...]]:
    """The route of a request and its path's segments, decoded, without version and custom verb.

    Raises:
        Refused: NOT_FOUND, or UNIMPLEMENTED for what Google's API has and this service has not.
    """
    segments, custom = _split(raw_path)
    path = _pattern(segments, custom)
    route = BY_PATH.get((verb, path))
    if route is None:
        raise _unknown(verb, path, segments, custom)
    return route, tuple(segments)


def verbs(raw_path: str) -> list[str]:
    """The verbs that a path has routes for."""
    path = _pattern(*_split(raw_path))
    return [verb for verb in VERBS if (verb, path) in BY_PATH]


def _split(raw_path: str) -> tuple[list[str], str]:
    """Its segments without the version, and ``:verb``, which stands at the end of the last one."""
    # Files would be sent to /upload/v1beta/files: that there are none is told there too.
    _, version, *rest = [*raw_path.removeprefix("/upload").split("/", MAX_SEGMENTS), ""]
    segments = [unquote(each) for each in rest[:-1]]
    if version not in VERSIONS or not segments:
        return [], ""
    segments[-1], colon, custom = segments[-1].partition(":")
    return segments, colon + custom


def _pattern(segments: list[str], custom: str) -> str:
    return "/".join("*" if at % 2 else each for at, each in enumerate(segments)) + custom


def _unknown(verb: str, path: str, segments: list[str], custom: str) -> Refused:
    service = _NOT_OFFERED.get(custom) or _NOT_OFFERED.get(segments[0] if segments else "")
    if service is not None:
        text = why_not(f"{PACKAGE}.{service}/{verb} {path[:MAX_SHOWN]}")
        return Refused(Code.UNIMPLEMENTED, text, "NOT_OFFERED")
    known = [other for other in VERBS if (other, path) in BY_PATH]
    hint = f"it answers {', '.join(known)}" if known else "/openapi.json lists what there is"
    what = f"{verb} {path[:MAX_SHOWN] or 'on this path'}"
    return Refused(Code.NOT_FOUND, f"{what} is not found; {hint}.", "NO_ROUTE")


def _route(method: Method, rule: str) -> Route:
    found = _RULE.fullmatch(rule)
    if found is None:
        raise ValueError(rule)
    verb, field, start, rest, body = (part or "" for part in found.groups())
    length = len(start.split("/")) if start else 0
    return Route(verb, start + rest, method, field, length, body)


_BY_NAME = {method.short_name: method for method in METHODS.values()}
ROUTES = tuple(_route(_BY_NAME[name], rule) for name, rules in _RULES.items() for rule in rules)
BY_PATH = {(route.verb, route.path): route for route in ROUTES}
