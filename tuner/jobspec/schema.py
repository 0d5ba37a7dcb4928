"""Classes whose annotations declare the keys of a spec, once for all that asks for them.

``reading`` makes values of what a file holds, ``json_schema`` tells editors the same, ``complaints``
and ``reference`` tell people. No library of models does it: importing one takes longer than reading
a spec and its data.
"""

from __future__ import annotations

import functools
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

_REQUIRED = object()
_SCALARS = (str, int, float, bool)


class Key:
    """Says in an annotation what a field's type does not: ``Annotated[int, Key("...", ge=1)]``.

    Attributes:
        text: What it is, a sentence for the reference and for editors.
        name: The key in the file, where it is not the field's name.
        written: How the value, or each item of a tuple, stands in the file when that is not the
            field's type: a class that declares keys, or a scalar type.
        read: Makes what was written the field's value: called with the scalar, or with the keys
            as keyword arguments.
        single: Whether one value may stand in place of a list of one.
        short: The key for which a bare text may stand in place of the whole mapping.
        options: The texts that are allowed.
        example: A value as one would write it.
        limits: Of a number ``ge``, ``gt``, ``le`` and ``lt``; of a text ``min_length`` and
            ``max_length`` in characters, and ``pattern``, which all of it matches.
    """

    def __init__(  # noqa: PLR0913 -- a key can be told apart in that many ways
        self,
        text: str,
        *,
        name: str = "",
        written: type | None = None,
        read: Callable[..., Any] | None = None,
        single: bool = False,
        short: str = "",
        options: tuple[str, ...] = (),
        example: str = "",
        **limits: float | str,
    ) -> None:
        self.text = text
        self.name = name
        self.written = written
        self.read = read
        self.single = single
        self.short = short
        self.options = options
        self.example = example
        self.limits = limits


class Declared(NamedTuple):
    """One key of a class.

    Attributes:
        name: The key in the file.
        field: Where its value goes.
        kind: The class that declares the keys below it, or the type of the scalar.
        many: Whether it holds a list of them.
        default: The field's value without it.
        key: What its annotation says.
    """

    name: str
    field: str
    kind: type
    many: bool
    default: object
    key: Key

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is _REQUIRED

    @property
    def has_keys(self) -> bool:
        """Whether it is a mapping with keys of its own."""
        return self.kind not in _SCALARS and not self.members

    @property
    def members(self) -> tuple[Any, ...]:
        """Of an enumeration; none of another type."""
        return tuple(self.kind) if issubclass(self.kind, Enum) else ()

    @property
    def options(self) -> tuple[str, ...]:
        """The texts that are allowed, when only some are."""
        return self.key.options or self.members

    @property
    def plain_default(self) -> str | float | None:
        """The default as a file would have it; None where it has none to show."""
        plain = self.default if isinstance(self.default, str | int | float) else None
        return None if plain == "" else plain


@functools.cache
def declared(cls: type) -> dict[str, Declared]:
    """The keys that ``cls`` declares, in order, by their names in the file."""
    hints = get_type_hints(cls, include_extras=True)
    found = (
        _declare(field, hint, getattr(cls, field, _REQUIRED))
        for field, hint in hints.items()
        if get_origin(hint) is Annotated
    )
    return {item.name: item for item in found}


def _declare(field: str, hint: Any, default: object) -> Declared:
    bare, key = get_args(hint)
    kind = key.written or (get_args(bare) or [bare])[0]  # of X | None and tuple[X, ...], X
    return Declared(key.name or field, field, kind, get_origin(bare) is tuple, default, key)
