"""Google's REST routes, and the request message of an HTTP request by the rules of google.api.http.

Every route is served under /v1beta and /v1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from tuner.server import protojson
from tuner.server.api_errors import ApiError, Code
from tuner.server.messages import PACKAGE
from tuner.server.methods import METHODS, unimplemented

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.server.api_errors import Violation
    from tuner.server.messages import Message
    from tuner.server.methods import Method

    Query = Sequence[tuple[str, str]]

VERSIONS = ("v1beta", "v1")
VERBS = ("GET", "POST", "PATCH", "DELETE")
MAX_SEGMENTS = 10
MAX_SHOWN = 100
MAX_PARAMETERS = 100

# As in google.api.http: the verb, the path's template, and the body's field, * for the whole request.
_RULES = """
ListModels             GET    models
GetModel               GET    {name=models/*}
CreateTunedModel       POST   tunedModels                                          tuned_model
ListTunedModels        GET    tunedModels
GetTunedModel          GET    {name=tunedModels/*}
UpdateTunedModel       PATCH  {tuned_model.name=tunedModels/*}                     tuned_model
DeleteTunedModel       DELETE {name=tunedModels/*}
CreatePermission       POST   {parent=tunedModels/*}/permissions                   permission
ListPermissions        GET    {parent=tunedModels/*}/permissions
GetPermission          GET    {name=tunedModels/*/permissions/*}
UpdatePermission       PATCH  {permission.name=tunedModels/*/permissions/*}        permission
DeletePermission       DELETE {name=tunedModels/*/permissions/*}
TransferOwnership      POST   {name=tunedModels/*}:transferOwnership               *
GenerateContent        POST   {model=models/*}:generateContent                     *
GenerateContent        POST   {model=tunedModels/*}:generateContent                *
GenerateContent        POST   {model=dynamic/*}:generateContent                    *
StreamGenerateContent  POST   {model=models/*}:streamGenerateContent               *
StreamGenerateContent  POST   {model=tunedModels/*}:streamGenerateContent          *
StreamGenerateContent  POST   {model=dynamic/*}:streamGenerateContent              *
CountTokens            POST   {model=models/*}:countTokens                         *
CountTokens            POST   {model=tunedModels/*}:countTokens                    *
EmbedContent           POST   {model=models/*}:embedContent                        *
EmbedContent           POST   {model=tunedModels/*}:embedContent                   *
BatchEmbedContents     POST   {model=models/*}:batchEmbedContents                  *
BatchEmbedContents     POST   {model=tunedModels/*}:batchEmbedContents             *
GenerateAnswer         POST   {model=models/*}:generateAnswer                      *
GenerateAnswer         POST   {model=tunedModels/*}:generateAnswer                 *
GetOperation           GET    {name=tunedModels/*/operations/*}
GetOperation           GET    {name=models/*/operations/*}
ListOperations         GET    {name=tunedModels/*}/operations
ListOperations         GET    {name=models/*}/operations
ListOperations         GET    {name=operations}
WaitOperation          POST   {name=tunedModels/*/operations/*}:wait               *
CancelOperation        POST   {name=tunedModels/*/operations/*}:cancel             *
CancelOperation        POST   {name=tunedModels/*}:cancel                          *
DeleteOperation        DELETE {name=tunedModels/*/operations/*}
"""  # google-genai cancels by the tuned model's name
_RULE = re.compile(r"(?:\{([\w.]+)=([\w*/]+)\})?([\w/]*(?::\w+)?)")

_NOT_OFFERED = {
    name: service
    for service, names in {
        "FileService": ["files", "generatedFiles"],
        "CacheService": ["cachedContents"],
        "RetrieverService": ["corpora"],
        "BatchService": ["batches", ":batchGenerateContent", ":asyncBatchEmbedContent"],
        "PredictionService": [":predict", ":predictLongRunning"],
        "DiscussService": [":generateMessage", ":countMessageTokens"],
        "TextService": [":generateText", ":countTextTokens", ":embedText", ":batchEmbedText"],
    }.items()
    for name in names
}
# Parameters of Google's front end. Only alt and the keys mean something here.
_SYSTEM_PARAMETERS = frozenset(
    {
        *("alt", "key", "access_token", "oauth_token", "fields", "callback", "prettyPrint"),
        *("quotaUser", "userIp", "uploadType", "upload_protocol", "xgafv"),
    }
)
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Route:
    """One way to call a method.

    Attributes:
        path: Without a version, each name a ``*``: ``tunedModels/*/operations``.
        field: The request's field that takes the start of the path, ``tuned_model.name``, or "".
        body: The request's field that is the body; ``*`` is the whole request, "" has no body.
    """

    verb: str
    path: str
    method: Method
    field: str
    field_segments: int
    body: str


@lru_cache(1024)
def find_route(verb: str, raw_path: str) -> tuple[Route, tuple[str, ...]]:
    """Return the route and the decoded segments of the path, without version and custom verb.

    Raises ApiError: NOT_FOUND, or UNIMPLEMENTED for what only Google's API has.
    """
    segments, custom_verb = _split(raw_path)
    path = _pattern(segments, custom_verb)
    route = _BY_PATH.get((verb, path))
    if route is None:
        service = _NOT_OFFERED.get(custom_verb) or _NOT_OFFERED.get(segments[0] if segments else "")
        if service is not None:
            raise unimplemented(f"{PACKAGE}.{service}/{verb} {path[:MAX_SHOWN]}")
        known = [other for other in VERBS if (other, path) in _BY_PATH]
        hint = f"it answers {', '.join(known)}" if known else "/openapi.json lists all paths"
        what = f"{verb} {path[:MAX_SHOWN] or 'on this path'}"
        raise ApiError(Code.NOT_FOUND, f"{what} is not found; {hint}.", "NO_ROUTE")
    return route, tuple(segments)


def allowed_verbs(raw_path: str) -> list[str]:
    """Return the verbs that have a route on this path."""
    path = _pattern(*_split(raw_path))
    return [verb for verb in VERBS if (verb, path) in _BY_PATH]


def parse_query(text: bytes) -> Query:
    """Return the parameters of a query string in order. Raises ApiError."""
    try:
        return parse_qsl(
            text.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        what = f"The query has more than {MAX_PARAMETERS} parameters."
        raise ApiError(Code.INVALID_ARGUMENT, what, "INVALID_QUERY") from error


def build_request(route: Route, segments: tuple[str, ...], query: Query, body: Any) -> Message:
    """Return the request message: the body, then the query's fields, then the name in the path.

    ``body`` is the parsed JSON. Raises ApiError with every invalid field.
    """
    if not route.body:
        message = route.method.request()
    else:
        content = body if route.body == "*" else {route.body: body}
        message = protojson.to_message(route.method.request, content)
    fields = [
        pair for pair in query if not pair[0].startswith("$") and pair[0] not in _SYSTEM_PARAMETERS
    ]
    if fields:
        message.MergeFrom(_message_from_query(route.method.request, fields))
    if route.field:
        *parents, last = route.field.split(".")
        holder = message
        for each in parents:
            holder = getattr(holder, each)
        setattr(holder, last, "/".join(segments[: route.field_segments]))
    if route.verb == "PATCH" and not message.HasField("update_mask"):
        changed = getattr(message, route.body)
        message.update_mask.paths.extend(_default_mask(changed, body or {}))
    return message


def _split(raw_path: str) -> tuple[list[str], str]:
    """Return the segments after the version, and the custom verb ``:verb`` at their end."""
    # Clients upload files to /upload/v1beta/files and should get the error about files there too.
    _, version, *rest = [*raw_path.removeprefix("/upload").split("/", MAX_SEGMENTS), ""]
    segments = [unquote(each) for each in rest[:-1]]
    if version not in VERSIONS or not segments:
        return [], ""
    segments[-1], colon, custom_verb = segments[-1].partition(":")
    return segments, colon + custom_verb


def _pattern(segments: list[str], custom_verb: str) -> str:
    return "/".join("*" if at % 2 else each for at, each in enumerate(segments)) + custom_verb


def _message_from_query(kind: Any, pairs: Query) -> Message:
    """Read ``a.b=1&c=2&c=3`` like the JSON ``{"a": {"b": "1"}, "c": ["2", "3"]}``."""
    tree: dict[str, Any] = {}
    invalid: list[Violation] = []
    for name, value in pairs:
        path = _field_path(kind.DESCRIPTOR, name)
        if path:
            _insert(tree, path, value)
        else:
            why = f"Cannot bind query parameter. Field '{name}' could not be found in request message."
            invalid.append(protojson.unknown_name(name, protojson.ROOT, why))
    if invalid:
        raise protojson.invalid_json(invalid)
    return protojson.to_message(kind, tree)


def _field_path(descriptor: Any, name: str) -> list[Any]:
    """Return the fields that ``a.b`` names; empty if there is none."""
    path = []
    for each in name.split("."):
        known = protojson.fields_by_name(descriptor).get(each) if descriptor is not None else None
        if known is None:
            return []
        path.append(descriptor.fields_by_name[known.name])
        descriptor = path[-1].message_type
    return path


def _insert(tree: dict[str, Any], path: list[Any], value: str) -> None:
    *parents, leaf = path
    for each in parents:
        if not isinstance(tree.get(each.name), dict):
            tree[each.name] = {}
        tree = tree[each.name]
    if leaf.is_repeated:
        tree.setdefault(leaf.name, []).append(value)
    else:
        tree[leaf.name] = _BOOLEANS.get(value, value) if leaf.type == leaf.TYPE_BOOL else value


def _default_mask(changed: Message, body: dict[str, Any]) -> list[str]:
    """Return the fields that the body names, if the message alone does not show them.

    google-genai sends no mask, and in a message an empty text looks like a missing one.
    """
    known = protojson.fields_by_name(changed.DESCRIPTOR)
    named = [known[key].name for key, value in body.items() if value is not None]
    is_set = {field.name for field, _ in changed.ListFields()}
    return [] if is_set.issuperset(named) else named


def _parse_rule(line: str) -> Route:
    name, verb, template, *body = line.split()
    found = _RULE.fullmatch(template)
    if found is None:
        raise ValueError(line)
    field, start, rest = (part or "" for part in found.groups())
    segments = len(start.split("/")) if start else 0
    return Route(verb, start + rest, _BY_NAME[name], field, segments, "".join(body))


_BY_NAME = {method.short_name: method for method in METHODS.values()}
ROUTES = tuple(map(_parse_rule, _RULES.strip().splitlines()))
_BY_PATH = {(route.verb, route.path): route for route in ROUTES}
