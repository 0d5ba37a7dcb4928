"""``--set key=value``: single values laid over a document from the command line."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tuner.errors import Problem, SpecError
from tuner.yaml_source.document import parse
from tuner.yaml_source.nodes import Builder, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tuner.yaml_source.document import Document
    from tuner.yaml_source.nodes import KeyPath, Value

_T = TypeVar("_T")


class Places(NamedTuple):
    """Where each key and each value stands, as in a Document."""

    keys: dict[KeyPath, Place]
    values: dict[KeyPath, Place]


def override(
    document: Document, settings: Sequence[str], environ: Mapping[str, str] = os.environ
) -> Document:
    """``document`` with every ``dotted.key=value`` laid over it, in order.

    The value is YAML; a number in the key counts the items of a list from 0. What is wrong with
    a setting is said among the problems, located at its ``--set``.
    """
    for setting in settings:
        try:
            document = _override(document, setting, environ)
        except SpecError as error:
            document = document._replace(problems=(*document.problems, *error.problems))
    return document


def key_path(dotted: str) -> KeyPath:
    """``permissions.0.role`` as a path; a number counts the items of a list."""
    return tuple(int(key) if key.isdecimal() else key for key in dotted.split("."))


def lay(document: Document, at: KeyPath, value: Value, places: Places) -> Document:
    """``document`` with ``value`` at ``at``, where ``places`` has its own places.

    Raises:
        SpecError: There is no place for it: exactly one problem.
    """
    own = places.keys[at]
    way = {at[:length]: own for length in range(1, len(at) + 1)}
    return document._replace(
        value=_put(document.value, at, value, own),
        keys=way | _without(document.keys, at) | places.keys,
        values=way | _without(document.values, at) | places.values,
    )


def _override(document: Document, setting: str, environ: Mapping[str, str]) -> Document:
    source = f"--set {setting}"
    dotted, equals, text = setting.partition("=")
    at = key_path(dotted)
    own = Place(source, 0, 0)
    if not equals or "" in at:
        fix = "write --set key=value, e.g. --set hyperparameters.epoch_count=3"
        raise _refused(own, "this is not of the form key=value", fix)
    builder = Builder(source, environ, has_lines=False)
    try:
        value = parse(builder, text, at)
    except SpecError as error:
        raise _refused(own, error.what, error.fix) from None
    places = Places(builder.keys | {at: own}, builder.values | {at: own})
    document = lay(document, at, value, places)
    return document._replace(problems=(*document.problems, *builder.problems))


def _put(holder: Value, at: KeyPath, value: Value, own: Place) -> Value:
    """A copy of ``holder`` with ``value`` at ``at``; mappings on the way are made."""
    if not at:
        return value
    key, rest = at[0], at[1:]
    if holder is None or isinstance(holder, dict):
        mapping = holder or {}
        return mapping | {str(key): _put(mapping.get(str(key)), rest, value, own)}
    if isinstance(holder, list) and isinstance(key, int) and key < len(holder):
        return [*holder[:key], _put(holder[key], rest, value, own), *holder[key + 1 :]]
    fix = "name a key that the spec may have; the items of a list are counted from 0"
    raise _refused(own, f"there is no place for {key!r}", fix)


def _without(places: dict[KeyPath, _T], at: KeyPath) -> dict[KeyPath, _T]:
    """What stood at ``at`` and below is gone."""
    return {path: place for path, place in places.items() if path[: len(at)] != at}


def _refused(own: Place, what: str, fix: str) -> SpecError:
    return SpecError([Problem(*own, what, fix, "bad-set")])


def made_of(overrides: Iterable[str]) -> list[str]:
    """Those of ``--set`` that say what is made; whom to tell of it may hold a receiver's token."""
    return [each for each in overrides if "notify" not in re.split(r"\W+", each.partition("=")[0])]
