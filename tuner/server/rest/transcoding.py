"""A request message from an HTTP request, by the rules of google.api.http: path, query, body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from tuner.server.refusals import Code, Refused
from tuner.server.rest import json_in
from tuner.server.rest.json_scalars import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.server.messages import Message
    from tuner.server.refusals import Violation
    from tuner.server.rest.routes import Route

    Query = Sequence[tuple[str, str]]

MAX_PARAMETERS = 100
# Parameters of Google's front end, not of the method; of these, alt and the keys mean something here.
_SYSTEM = frozenset(
    {
        *("alt", "key", "access_token", "oauth_token", "fields", "callback", "prettyPrint"),
        *("quotaUser", "userIp", "uploadType", "upload_protocol", "xgafv"),
    }
)
_WORDS = {"true": True, "false": False}


def query(text: bytes) -> Query:
    """The parameters of a query string in their order.

    Raises:
        Refused: There are too many.
    """
    try:
        return parse_qsl(
            text.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_PARAMETERS
        )
    except ValueError as error:
        what = f"The query has more than {MAX_PARAMETERS} parameters."
        raise Refused(Code.INVALID_ARGUMENT, what, "INVALID_QUERY") from error


@dataclass(frozen=True, slots=True)
class Form:
    """How the answer is written.

    Attributes:
        sse: A stream is server-sent events, not one array.
        enum_numbers: Enums are numbers, not names.
    """

    sse: bool
    enum_numbers: bool


def form(parameters: Query) -> Form:
    """What ``alt`` or ``$alt`` asks for, as in ``$alt=json;enum-encoding=int``.

    Raises:
        Refused: Something other than JSON.
    """
    asked = [value for name, value in parameters if name in {"alt", "$alt"}]
    kind, *options = asked[-1].lower().split(";") if asked else ["json"]
    if kind not in {"json", "sse"}:
        what = f"alt={kind}: answers are json, or sse for a stream."
        raise Refused(Code.INVALID_ARGUMENT, what, "INVALID_QUERY")
    return Form(kind == "sse", "enum-encoding=int" in options)


def credentials(parameters: Query) -> dict[str, str]:
    """``key`` and ``access_token`` as the headers that say the same."""
    shown = dict(parameters)
    found = {}
    if "key" in shown:
        found["x-goog-api-key"] = shown["key"]
    if "access_token" in shown:
        found["authorization"] = f"Bearer {shown['access_token']}"
    return found


def request(route: Route, segments: tuple[str, ...], parameters: Query, body: Any) -> Message:
    """The request: the body first, then what the query adds, then the name that the path gives.

    Args:
        route: What the request is for.
        segments: The path's, without version and custom verb.
        parameters: The query's.
        body: The parsed body; None where the route takes none.

    Raises:
        Refused: INVALID_ARGUMENT with every place that is wrong.
    """
    message = _with_body(route, body)
    asked = [(name, value) for name, value in parameters if not _is_system(name)]
    if asked:
        message.MergeFrom(_from_query(route, asked))
    if route.field:
        *parents, last = route.field.split(".")
        holder = message
        for each in parents:
            holder = getattr(holder, each)
        setattr(holder, last, route.name(segments))
    if route.verb == "PATCH" and not message.HasField("update_mask"):
        message.update_mask.paths.extend(_mask(getattr(message, route.body), body or {}))
    return message


def _is_system(name: str) -> bool:
    return name.startswith("$") or name in _SYSTEM


def _with_body(route: Route, body: Any) -> Message:
    kind = route.method.request
    if not route.body:
        return kind()
    return json_in.fill(kind, body if route.body == "*" else {route.body: body})


def _from_query(route: Route, asked: Query) -> Message:
    """``a.b=1&c=2&c=3`` as the message that ``{"a": {"b": "1"}, "c": ["2", "3"]}`` is."""
    kind = route.method.request
    tree: dict[str, Any] = {}
    wrong: list[Violation] = []
    for name, value in asked:
        way = _way(kind.DESCRIPTOR, name)
        if way:
            _put(tree, way, value)
        else:
            why = f"Cannot bind query parameter. Field '{name}' could not be found in request message."
            wrong.append(json_in.unknown(name, ROOT, why))
    if wrong:
        raise json_in.refusal(wrong)
    return json_in.fill(kind, tree)


def _way(descriptor: Any, name: str) -> list[Any]:
    """The fields that ``a.b`` leads through; empty where it leads nowhere."""
    way = []
    for each in name.split("."):
        known = json_in.fields(descriptor).get(each) if descriptor is not None else None
        if known is None:
            return []
        way.append(descriptor.fields_by_name[known.name])
        descriptor = way[-1].message_type
    return way


def _put(tree: dict[str, Any], way: list[Any], value: str) -> None:
    *parents, leaf = way
    for each in parents:
        if not isinstance(tree.get(each.name), dict):
            tree[each.name] = {}
        tree = tree[each.name]
    if leaf.is_repeated:
        tree.setdefault(leaf.name, []).append(value)
    else:
        tree[leaf.name] = _WORDS.get(value, value) if leaf.type == leaf.TYPE_BOOL else value


def _mask(filled: Message, body: dict[str, Any]) -> list[str]:
    """The fields a body names, where the message alone would not tell: they were set to nothing.

    google-genai sends no mask; in a message an empty text looks like one that is not there.
    """
    known = json_in.fields(filled.DESCRIPTOR)
    named = [known[key].name for key, value in body.items() if value is not None]
    is_set = {field.name for field, _ in filled.ListFields()}
    return [] if is_set.issuperset(named) else named
