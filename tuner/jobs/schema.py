"""Classes whose annotations declare the keys of a spec, made a schema for pydantic-core.

pydantic's own model classes cost every command 150 ms of import; pydantic-core, which does their
work, takes a fifth of that when it is handed the schema. ``json_schema`` gives the very same
schema to pydantic's generator, so that what an editor accepts is what we accept.
"""

from __future__ import annotations

import functools
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from pydantic_core import SchemaValidator, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Core = dict[str, Any]

_REQUIRED = object()
_SCALARS: dict[Any, Core] = {
    str: {"type": "str", "strict": True},
    int: {"type": "int", "strict": True},
    float: {"type": "float", "strict": True, "allow_inf_nan": False},
    bool: {"type": "bool", "strict": True},
}


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
        limits: In pydantic-core's words: ``ge``, ``gt``, ``le``, ``max_length``, ``pattern``...
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
        return self.kind not in _SCALARS and not _members(self.kind)

    @property
    def options(self) -> tuple[str, ...]:
        """The texts that are allowed, when only some are."""
        return self.key.options or tuple(_members(self.kind))


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


def validate(cls: type, value: object) -> tuple[Any, list[dict[str, Any]]]:
    """Make a ``cls`` of plain values: the instance and no errors, or None and all the errors."""
    try:
        return _validator(cls).validate_python(value), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
        return None, [{**item, "loc": _as_written(value, item["loc"])} for item in errors]


def json_schema(cls: type) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the keys that ``cls`` declares. Imports pydantic."""
    from pydantic.json_schema import GenerateJsonSchema

    generator: Any = GenerateJsonSchema()  # its argument is a TypedDict for every kind of schema
    schema: dict[str, Any] = generator.generate(_of_class(cls, cls), mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@functools.cache
def _validator(cls: type) -> SchemaValidator:
    schema: Any = _of_class(cls, cls)
    return SchemaValidator(schema)


def _declare(field: str, hint: Any, default: object) -> Declared:
    bare, key = get_args(hint)
    kind = key.written or (get_args(bare) or [bare])[0]  # of X | None and tuple[X, ...], X
    return Declared(key.name or field, field, kind, get_origin(bare) is tuple, default, key)


def _of_class(cls: type, build: Callable[..., object]) -> Core:
    """A mapping with the keys that ``cls`` declares, handed to ``build``."""
    keys = declared(cls)
    fields = {name: item.field for name, item in keys.items()}
    return _after(
        {
            "type": "typed-dict",
            "extra_behavior": "forbid",
            "fields": {name: _of_key(item) for name, item in keys.items()},
        },
        lambda values: build(**{fields[name]: value for name, value in values.items()}),
    )


def _of_key(item: Declared) -> Core:
    schema = _of_value(item)
    if item.many:
        many = {"type": "tuple", "items_schema": [schema], "variadic_item_index": 0}
        schema = _one_or_many(schema, many) if item.key.single else many
    notes: Core = {"description": item.key.text, "title": item.name}
    if isinstance(item.default, str | int | float) and item.default != "":
        notes["default"] = item.default
    if item.key.options and not item.many:
        notes["enum"] = list(item.key.options)
    return {
        "type": "typed-dict-field",
        "schema": schema,
        "required": item.is_required,
        "metadata": {"pydantic_js_updates": notes},
    }


def _of_value(item: Declared) -> Core:
    key, kind = item.key, item.kind
    if _members(kind):
        return {"type": "enum", "cls": kind, "members": _members(kind), "sub_type": "str"}
    if key.options:
        return {"type": "literal", "expected": list(key.options)}
    if item.has_keys:
        return _shortened(_of_class(kind, key.read or kind), item)
    schema = _SCALARS[kind] | key.limits
    return _after(schema, key.read) if key.read else schema


def _one_or_many(one: Core, many: Core) -> Core:
    """Let a value stand for a list of one."""
    return {
        "type": "json-or-python",
        "json_schema": {"type": "union", "choices": [one, many]},
        "python_schema": {
            "type": "function-before",
            "function": {
                "type": "no-info",
                "function": lambda value: value if isinstance(value, list | tuple) else [value],
            },
            "schema": many,
        },
    }


def _as_written(value: object, keys: Sequence[str | int]) -> tuple[str | int, ...]:
    """``keys`` without the index of a value that stands for a list of one."""
    found: list[str | int] = []
    for key in keys:
        if isinstance(key, int) and not isinstance(value, list | tuple):
            break
        found.append(key)
        inside = isinstance(value, dict | list | tuple)
        try:
            value = value[key] if inside else None  # type: ignore[index] # of a mapping or list
        except (LookupError, TypeError):
            value = None
    return tuple(found)


def _shortened(schema: Core, item: Declared) -> Core:
    """Let a bare text stand for a mapping with one key."""
    short = item.key.short
    if not short:
        return schema
    return {
        "type": "json-or-python",
        "json_schema": {
            "type": "union",
            "choices": [_of_value(declared(item.kind)[short]), schema],
        },
        "python_schema": {
            "type": "function-before",
            "function": {
                "type": "no-info",
                "function": lambda value: {short: value} if isinstance(value, str) else value,
            },
            "schema": schema,
        },
    }


def _after(schema: Core, function: Callable[..., object]) -> Core:
    return {
        "type": "function-after",
        "function": {"type": "no-info", "function": function},
        "schema": schema,
    }


def _members(kind: type) -> list[Any]:
    """Of an enumeration; none of another type."""
    return list(kind) if issubclass(kind, Enum) else []
