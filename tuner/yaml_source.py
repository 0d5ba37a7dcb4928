"""YAML with the line and column of every key and value, and scalars as people mean them.

``true`` and ``false`` (also True, TRUE) are booleans; ``null``, ``~`` and an empty value are None;
``12``, ``-3``, ``0.1``, ``.5``, ``1e-4`` are numbers. Everything else is text as written: ``no``,
``yes``, ``on``, ``off``, ``2026-11-22``, ``12:30:45``, ``1_000``, ``0x1F``, ``0o17``, ``.inf``, and
numbers with leading zeros such as ``007``, which are identifiers. A repeated key is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

import yaml

from tuner.errors import Problem, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

KeyPath: TypeAlias = tuple[str | int, ...]
Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 50
MAX_NODES = 20_000
MAX_DIGITS = 300
"""Python refuses to convert integers of more than 4,300 digits because of the cost."""

PYTHON_SOURCE = "spec"
"""The file name shown in errors about a spec given as a dict."""

_PLAIN = "plain"
"""The tag of an unquoted scalar without an explicit tag."""
_KNOWN_TAGS = (_PLAIN, *(f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq")))
_WORDS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_VARIABLE = r"\$(\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>[^}]*))?\}|\{(?P<other>[^}]*))"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser is eleven times as fast, but PyYAML may have been built without it."""


class SourceLocation(NamedTuple):
    """1-based line and column; both are 0 where lines do not exist, as on the command line."""

    path: str
    line: int
    column: int


class Locations(NamedTuple):
    """The location of each key and each value, the whole document's at ``()``."""

    keys: dict[KeyPath, SourceLocation]
    values: dict[KeyPath, SourceLocation]


class Document(NamedTuple):
    """A YAML file with its ``--set`` overrides.

    Attributes:
        value: Plain dicts, lists and scalars; None when the file is empty.
        values: The location of each value, the whole document's at ``()``.
        problems: Errors found while reading: repeated keys, unset variables, tags.
    """

    path: Path
    value: Value
    keys: dict[KeyPath, SourceLocation]
    values: dict[KeyPath, SourceLocation]
    problems: tuple[Problem, ...] = ()

    def problem(
        self, at: KeyPath, what: str, fix: str = "", rule: str = "", *, key: bool = False
    ) -> Problem:
        """Return an error at the value (or the ``key``) at ``at``, or at the nearest parent."""
        locations = self.keys if key else self.values
        while at and at not in locations:
            at, locations = at[:-1], self.values
        location = locations.get(at) or SourceLocation(str(self.path), 1, 1)
        if not location.line:  # the location of a dict's value already names its key
            what = what.removeprefix(f"{location.path.rpartition(': ')[2]} ")
        return Problem(*location, what, fix, rule)


def read_document(path: Path, environ: Mapping[str, str] | None = os.environ) -> Document:
    """Read a YAML file; without ``environ``, ``${NAME}`` stays text.

    Raises SpecError with one problem if it cannot be read or is not one YAML document.
    """
    return parse_document(path, read_text(path), environ)


def read_text(path: Path) -> str:
    """Read a small UTF-8 file. Raises SpecError with one problem."""
    try:
        content = path.read_bytes()
    except OSError as error:
        what = f"cannot be read: {(error.strerror or str(error)).lower()}"
        problem = Problem(str(path), 0, 0, what, "check the path", "unreadable")
        raise SpecError([problem]) from None
    if len(content) > MAX_BYTES:
        what = f"{len(content):,} bytes are too many for a job; at most {MAX_BYTES:,} are read"
        fix = "examples belong in a file of their own, named by training_data.path"
        raise SpecError([Problem(str(path), 0, 0, what, fix, "too-big")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, start = before.count(b"\n") + 1, before.rfind(b"\n") + 1
        column = len(before[start:].decode("utf-8", "replace")) + 1
        what = f"is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}"
        problem = Problem(str(path), line, column, what, "save the file as UTF-8", "encoding")
        raise SpecError([problem]) from None


def parse_document(path: Path, text: str, environ: Mapping[str, str] | None = None) -> Document:
    """As ``read_document``, from the text of the file."""
    builder = _Builder(str(path), environ)
    value = builder.parse(text)
    return Document(path, value, builder.keys, builder.values, tuple(builder.problems))


def document_from_mapping(spec: Mapping[Any, Any]) -> Document:
    """Return the document of a dict with the keys of a spec file; its errors are in ``problems``.

    ``${NAME}`` stays text, and paths are relative to the current folder.
    """
    locations: dict[KeyPath, SourceLocation] = {}
    problems: list[Problem] = []
    value = _from_python(spec, (), locations, problems)
    return Document(Path(PYTHON_SOURCE), value, locations, locations, tuple(problems))


def subdocument(document: Document, at: KeyPath) -> Document:
    """Return the part at ``at`` as a document, without its problems."""
    value: Any = document.value
    for key in at:
        value = value[key]
    keys, values = (
        {path[len(at) :]: place for path, place in locations.items() if path[: len(at)] == at}
        for locations in (document.keys, document.values)
    )
    return Document(document.path, value, keys, values)


def apply_overrides(
    document: Document, settings: Sequence[str], environ: Mapping[str, str] = os.environ
) -> Document:
    """Return ``document`` with every ``dotted.key=value`` set, in order.

    The value is YAML; a number in the key is the index of a list item, from 0. Errors of a setting
    are added to the problems, located at its ``--set``.
    """
    for setting in settings:
        try:
            document = _apply_override(document, setting, environ)
        except SpecError as error:
            document = document._replace(problems=(*document.problems, *error.problems))
    return document


def parse_key_path(dotted: str) -> KeyPath:
    """Parse ``permissions.0.role``; a number is the index of a list item."""
    return tuple(int(key) if key.isdecimal() else key for key in dotted.split("."))


def put_value(document: Document, at: KeyPath, value: Value, locations: Locations) -> Document:
    """Return ``document`` with ``value`` at ``at``; ``locations`` are those of the new value.

    Raises SpecError if the value does not fit there.
    """
    own = locations.keys[at]
    keys, values = (
        {at[:length]: own for length in range(1, len(at) + 1)}
        | {path: place for path, place in old.items() if path[: len(at)] != at}
        | new
        for old, new in ((document.keys, locations.keys), (document.values, locations.values))
    )
    value = _put(document.value, at, value, own)
    return document._replace(value=value, keys=keys, values=values)


def without_receivers(overrides: Iterable[str]) -> list[str]:
    """Drop the ``--set`` options about ``notify``: they may hold a receiver's token."""
    return [each for each in overrides if "notify" not in re.split(r"\W+", each.partition("=")[0])]


def parse_scalar(text: str) -> Scalar:
    """Return the value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def mapping_or_empty(value: object) -> Mapping[str, Any]:
    """Return ``value`` if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_or_empty(value: object) -> Sequence[Any]:
    """Return ``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def text_or_none(keys: Mapping[str, Any], key: str) -> str | None:
    """Return the text at ``key``; None if there is none, or another type."""
    value = keys.get(key)
    return value if isinstance(value, str) else None


class _Builder:
    """Builds the values of one source and collects their locations and problems."""

    def __init__(
        self, path: str, environ: Mapping[str, str] | None, *, has_lines: bool = True
    ) -> None:
        self.path = path
        self.keys: dict[KeyPath, SourceLocation] = {}
        self.values: dict[KeyPath, SourceLocation] = {}
        self.problems: list[Problem] = []
        self._environ = environ
        self._has_lines = has_lines
        self._nodes = 0
        self._open: list[yaml.Node] = []

    def parse(self, text: str, at: KeyPath = ()) -> Value:
        try:
            self._refuse_depth(text)
            loader = _Loader(text)
            # Replaces YAML 1.1's types: only mark what is unquoted, parse_scalar does the rest.
            loader.yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}
            node = loader.get_single_node()
            return self._build(node, at) if node else None
        except yaml.YAMLError as error:
            raise SpecError([_syntax_problem(self.path, text, error)]) from None

    def _refuse_depth(self, text: str) -> None:
        """Composing recurses in C, where a document that is too deep would end the process."""
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    self._too_big(f"is nested more than {MAX_DEPTH} deep", event)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1

    def _build(self, node: yaml.Node, at: KeyPath) -> Value:
        self._count(node)
        self.values[at] = self._location(node)
        if node.tag not in _KNOWN_TAGS:
            fix = "remove the tag; to make a number text, put quotes around it"
            self._add(node, f"the tag {node.tag} is not understood", fix, "tag")
        if isinstance(node, yaml.ScalarNode):
            text = self._expand(node) if self._environ is not None else node.value
            return parse_scalar(text) if node.tag == _PLAIN else text
        self._open.append(node)
        value = (
            self._mapping(node, at)
            if isinstance(node, yaml.MappingNode)
            else [self._build(item, (*at, index)) for index, item in enumerate(node.value)]
        )
        self._open.pop()
        return value

    def _mapping(self, node: yaml.MappingNode, at: KeyPath) -> dict[str, Value]:
        mapping: dict[str, Value] = {}
        for key_node, value_node in self._pairs(node):
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                fix = "write a word before the colon; quote a value that begins with { or ["
                self._add(key_node, "a key must be a word", fix, "bad-key")
            elif key in mapping:
                what = f"{key} is already set on line {self.keys[*at, key].line}"
                self._add(key_node, what, "keep one of the two", "repeated-key")
            else:
                self.keys[*at, key] = self._location(key_node)
                mapping[key] = self._build(value_node, (*at, key))
        return mapping

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Yield a mapping's own pairs, then those that ``<<`` adds and it does not override."""
        own = [pair for pair in node.value if not _is_merge(pair[0])]
        yield from own
        taken = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
        for source in (value for key, value in node.value if _is_merge(key)):
            for mapping in source.value if isinstance(source, yaml.SequenceNode) else [source]:
                self._count(mapping)
                if not isinstance(mapping, yaml.MappingNode):
                    fix = "write <<: *name, where name is the anchor of a mapping"
                    self._add(mapping, "<< must name a mapping", fix, "bad-merge")
                    continue
                for key, value in self._pairs(mapping):
                    if not isinstance(key, yaml.ScalarNode) or key.value not in taken:
                        taken |= {key.value} if isinstance(key, yaml.ScalarNode) else set()
                        yield key, value

    def _expand(self, node: yaml.ScalarNode) -> str:
        """Replace ``${NAME}`` and ``${NAME:-default}``; ``$$`` and a lone ``$`` are a dollar sign.

        As in a shell the default also replaces an empty variable. Values are not expanded again.
        """
        environ = self._environ or {}

        def value(found: re.Match[str]) -> str:
            name, default, other = found["name"], found["default"], found["other"]
            if other is not None:
                what = f"${{{other} does not name an environment variable"
                fix = "write ${NAME} or ${NAME:-default}; for these very characters $${"
            elif name is None:
                return "$"
            elif default is not None:
                return environ.get(name) or default
            elif name in environ:
                return environ[name]
            else:
                what = f"the environment variable {name} is not set"
                fix = f"set it, or give it a default: ${{{name}:-default}}; or write $${{{name}}}"
            self._add(node, what, fix, "no-value")
            return found[0]

        return re.sub(_VARIABLE, value, node.value)

    def _count(self, node: yaml.Node) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._too_big(f"has more than {MAX_NODES:,} values", node)
        if node in self._open or len(self._open) > MAX_DEPTH:
            self._too_big("contains itself through an alias", node)

    def _too_big(self, what: str, at: yaml.Node | yaml.Event) -> NoReturn:
        fix = "write the values out: a spec needs few anchors and little depth"
        raise SpecError([Problem(*self._location(at), what, fix, "too-big")])

    def _location(self, at: yaml.Node | yaml.Event) -> SourceLocation:
        mark: Any = at.start_mark
        if not self._has_lines:
            return SourceLocation(self.path, 0, 0)
        return SourceLocation(self.path, mark.line + 1, mark.column + 1)

    def _add(self, node: yaml.Node, what: str, fix: str, rule: str) -> None:
        self.problems.append(Problem(*self._location(node), what, fix, rule))


def _is_merge(key: yaml.Node) -> bool:
    return key.tag == _PLAIN and key.value == "<<"


def _apply_override(document: Document, setting: str, environ: Mapping[str, str]) -> Document:
    source = f"--set {setting}"
    dotted, equals, text = setting.partition("=")
    at = parse_key_path(dotted)
    own = SourceLocation(source, 0, 0)
    if not equals or "" in at:
        fix = "write --set key=value, e.g. --set hyperparameters.epoch_count=3"
        raise _bad_override(own, "this is not of the form key=value", fix)
    builder = _Builder(source, environ, has_lines=False)
    try:
        value = builder.parse(text, at)
    except SpecError as error:
        raise _bad_override(own, error.what, error.fix) from None
    locations = Locations(builder.keys | {at: own}, builder.values | {at: own})
    document = put_value(document, at, value, locations)
    return document._replace(problems=(*document.problems, *builder.problems))


def _put(holder: Value, at: KeyPath, value: Value, own: SourceLocation) -> Value:
    if not at:
        return value
    key, rest = at[0], at[1:]
    if holder is None or isinstance(holder, dict):
        mapping = holder or {}
        return mapping | {str(key): _put(mapping.get(str(key)), rest, value, own)}
    if isinstance(holder, list) and isinstance(key, int) and key < len(holder):
        return [*holder[:key], _put(holder[key], rest, value, own), *holder[key + 1 :]]
    fix = "name a key that the spec may have; list items are counted from 0"
    raise _bad_override(own, f"{key!r} cannot be set here", fix)


def _bad_override(own: SourceLocation, what: str, fix: str) -> SpecError:
    return SpecError([Problem(*own, what, fix, "bad-set")])


def _from_python(
    value: Any, at: KeyPath, locations: dict[KeyPath, SourceLocation], problems: list[Problem]
) -> Value:
    """Return ``value`` with plain types only, and record the location of everything in it."""
    name = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at)
    own = locations[at] = SourceLocation(f"{PYTHON_SOURCE}: {name[1:]}".rstrip(": "), 0, 0)
    error = ""
    if len(at) >= MAX_DEPTH:
        value, error = None, f"is nested more than {MAX_DEPTH} deep"
    elif isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        error = f"has the key {wrong[0]!r}, which is not text" if wrong else ""
        value = {
            str(key): _from_python(item, (*at, str(key)), locations, problems)
            for key, item in value.items()
        }
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
        value = [_from_python(item, (*at, index), locations, problems) for index, item in pairs]
    elif hasattr(value, "dtype") and not getattr(value, "shape", ()):
        value = value.item()  # a NumPy number
    elif isinstance(value, str):
        value = str.__str__(value)
    elif isinstance(value, Path):
        value = str(value)
    elif value is not None and not isinstance(value, bool | int | float):
        value, error = None, f"is a {type(value).__name__}, which a spec cannot hold"
    if error:
        fix = "use dicts, lists, texts, numbers, True, False and None, as docs/spec.md has them"
        problems.append(Problem(*own, error, fix, "wrong-type"))
    return value  # type: ignore[no-any-return]


_SYNTAX = {
    "tab character": ("a tab cannot indent YAML", "indent with spaces"),
    "mapping values are not allowed": ("a key and a colon are not expected here",
        "check the indentation, and put quotes around a text that holds a colon and a space"),
    "could not find expected ':'": ("a key without a colon",
        "write key: value, with a space after the colon"),
    "unexpected end of stream": ("a quote opened here is never closed", "close it"),
    "unknown escape character": ("this escape is not known in double quotes",
        "use single quotes, or write the backslash twice"),
    "cannot start any token": ("a value cannot begin with this character",
        "put the value in quotes"),
    "another document": ("a second YAML document begins here",
        "keep one spec per file: `tuner run A.yaml B.yaml` takes several"),
    "undefined alias": ("no anchor above has this name", "define it with &name first"),
    "expected node content": ("a value or a closing bracket is missing before this",
        "close the bracket, or put the value in quotes"),
    "expected ',' or": ("a comma or a closing bracket is missing before this",
        "close the bracket; inside { } and [ ] a text with brackets or commas needs quotes"),
    "expected '-' indicator": ("a list ends here, but its indentation does not",
        "begin every item of the list with - in the same column"),
    "expected <block end>": ("the indentation does not fit the lines above",
        "begin every key of a mapping in the same column"),
}  # fmt: skip
"""Part of a message of libyaml: our error and fix."""
_REPORTED_AT_END = ("unexpected end of stream", "could not find expected ':'")


def _syntax_problem(path: str, text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        is_late = any(words in (error.problem or "") for words in _REPORTED_AT_END)
        mark = (error.context_mark if is_late else None) or error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    else:
        before = text.encode()[: getattr(error, "position", 0)].decode(errors="ignore")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    message = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
    for words, (what, fix) in _SYNTAX.items():
        if words in message:
            return Problem(path, line, column, what, fix, "syntax")
    fix = "check the indentation, quotes and brackets here and on the line above"
    return Problem(path, line, column, f"is not YAML: {message}", fix, "syntax")
