"""What stands below ``jobs`` of a pipeline: a spec each, and what the pipeline says about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tuner.errors import SpecError
from tuner.jobspec.load import resolve_beside
from tuner.jobspec.messages import check_section, described
from tuner.jobspec.rules import nearest
from tuner.jobspec.schema import declared
from tuner.pipelines.keys import FREE, EntryKeys
from tuner.pipelines.matrix import Setting, Variant, variants
from tuner.yaml_source import Document, Locations, parse_key_path, put_value, read_document

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.errors import Problem
    from tuner.yaml_source import KeyPath, SourceLocation

    Specs = dict[Path, Document | SpecError]

AS_IT_IS = Variant("", ())
"""The one variant of an entry without a matrix."""


class Entry(NamedTuple):
    """One of ``jobs``.

    Attributes:
        document: What the pipeline's file says, to locate problems.
        base: Its spec, with what ``set`` changes.
        keys: Its own keys.
        name: Unique in the pipeline when nothing is wrong.
        changes: What ``set`` changes.
        variants: Those of its matrix, or ``AS_IT_IS``.
        is_on_disk: Whether its spec is a file of its own.
    """

    document: Document
    base: Document
    keys: EntryKeys
    name: str
    changes: tuple[Setting, ...]
    variants: tuple[Variant, ...]
    is_on_disk: bool

    @property
    def has_matrix(self) -> bool:
        """Whether it has variants, be it one."""
        return self.variants != (AS_IT_IS,)

    def stage(self, variant: Variant) -> str:
        """What the stage that a variant makes is called."""
        return f"{self.name}[{variant.label}]" if self.has_matrix else self.name

    def changed(self, document: Document, settings: Iterable[Setting]) -> Document:
        """A spec's document with these settings laid over it, located where they stand here.

        Raises:
            SpecError: One of them has no place there.
        """
        for setting in settings:
            at = parse_key_path(setting.dotted)
            document = put_value(document, at, setting.value, self._places(setting, at))
        return document

    def _places(self, setting: Setting, at: KeyPath) -> Locations:
        own, length = self.document, len(setting.where)
        top = self.document.values[()]
        key = own.keys.get(setting.key, top)
        value = own.values.get(setting.where, key)
        if not isinstance(setting.value, dict | list):
            return Locations({at: key}, {at: value})
        keys, values = (
            {
                (*at, *path[length:]): place
                for path, place in places.items()
                if path[:length] == setting.where
            }
            for places in (own.keys, own.values)
        )
        return Locations(keys | {at: key}, values | {at: value})


def read_entries(document: Document) -> tuple[list[Entry], list[Problem]]:
    """The entries that can be read of a pipeline's document, and what is wrong with any.

    Names that are missing or used twice are replaced, so that each entry can be looked into.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    specs: Specs = {}
    are_known = True
    for part in _parts(document):
        entry, found = _entry(part, specs)
        problems += found
        are_known = are_known and entry is not None
        entries += [entry] if entry else []
    problems += _named_twice(entries)
    problems += _unknown_after(entries) if are_known else []
    return _distinct(entries), problems


def _parts(document: Document) -> list[Document]:
    """Each entry as a document of its own; parted in one go, as there may be a thousand."""
    value: Any = document.value
    length = 2
    keys: list[dict[KeyPath, SourceLocation]] = [{} for _ in value["jobs"]]
    values: list[dict[KeyPath, SourceLocation]] = [{} for _ in value["jobs"]]
    for parts, places in ((keys, document.keys), (values, document.values)):
        for path, place in places.items():
            if len(path) >= length and path[0] == "jobs" and isinstance(path[1], int):
                parts[path[1]][path[length:]] = place
    top = document.values.get(("jobs",), document.values[()])
    return [
        Document(document.path, entry, keys[index], {(): top} | values[index])
        for index, entry in enumerate(value["jobs"])
    ]


def _entry(document: Document, specs: Specs) -> tuple[Entry | None, list[Problem]]:
    value = {"spec": document.value} if isinstance(document.value, str) else document.value
    if not isinstance(value, dict):
        what = f"a job must be a spec file or keys with values, not {described(value)}"
        return None, [document.problem((), what, "write - quickstart.yaml", "wrong-type")]
    own = {key: each for key, each in value.items() if key in declared(EntryKeys)}
    rest = {key: each for key, each in value.items() if key not in own and key not in FREE}
    keys, problems = check_section(EntryKeys, document._replace(value=own))
    if keys is None:
        return None, problems
    problems += _own_rules(document, keys, value)
    changes, found = _changes(document, value.get("set"))
    problems += found
    all_variants = [AS_IT_IS]
    if "matrix" in value:
        all_variants, found = variants(value["matrix"], document)
        problems += found
    base = document._replace(value=rest)
    if keys.spec:
        problems += [_beside_a_spec(document, key) for key in rest]
        try:
            base = _spec(document, keys.spec, specs)
        except SpecError as error:
            return None, [*problems, *error.problems]
    entry = Entry(document, base, keys, "", changes, tuple(all_variants), bool(keys.spec))
    try:
        base = entry.changed(base, changes)
    except SpecError as error:
        problems += error.problems
    name = keys.name or (base.value.get("job") if isinstance(base.value, dict) else None)
    entry = entry._replace(base=base, name=name if isinstance(name, str) else "")
    return entry, [*problems, *_name(entry)]


def _spec(document: Document, spec: str, specs: Specs) -> Document:
    """The document of a spec file, read once."""
    path = resolve_beside(document.path, Path(spec))
    if path not in specs:
        try:
            specs[path] = read_document(path)
        except SpecError as error:
            specs[path] = error
    found = specs[path]
    if isinstance(found, SpecError):
        if found.problems[0].rule == "unreadable":
            what = f"{spec} {found.what}"
            raise SpecError([document.problem(("spec",), what, found.fix, "no-file")])
        raise found
    return found


def _changes(document: Document, value: Any) -> tuple[tuple[Setting, ...], list[Problem]]:
    if value is None:
        return (), []
    if not isinstance(value, dict):
        what = f"set must be keys with values, not {described(value)}"
        fix = "write keys of the spec, e.g. hyperparameters.epoch_count: 3"
        return (), [document.problem(("set",), what, fix, "wrong-type")]
    settings = [
        Setting(dotted, each, ("set", dotted), ("set", dotted)) for dotted, each in value.items()
    ]
    return tuple(settings), []


def _beside_a_spec(document: Document, key: str) -> Problem:
    near = nearest(key, [*declared(EntryKeys), *FREE])
    fix = f"did you mean {near}?" if near else f"write set: {{{key}: ...}} to change the spec"
    what = f"{key} cannot stand beside spec"
    return document.problem((key,), what, fix, "unknown-key", key=True)


def _own_rules(document: Document, keys: EntryKeys, value: dict[str, Any]) -> list[Problem]:
    problems = []
    if keys.keep == "best" and "matrix" not in value:
        what = "keep: best chooses among the variants of a matrix, and there is none"
        problems.append(document.problem(("keep",), what, "add matrix:, or drop it", "idle-key"))
    if keys.keep != "best" and "losers" in value:
        what = "there are no losers where all are kept"
        fix = "add keep: best, or drop it"
        problems.append(document.problem(("losers",), what, fix, "idle-key", key=True))
    return problems


def _name(entry: Entry) -> list[Problem]:
    """A variant's brackets are told from the name by it."""
    if not any(character in entry.name for character in "[],"):
        return []
    what = f"{entry.name!r} cannot name a job of a pipeline"
    fix = "leave brackets and commas out of name"
    return [entry.document.problem(("name",), what, fix, "bad-name")]


def _named_twice(entries: list[Entry]) -> list[Problem]:
    seen: dict[str, Entry] = {}
    problems = []
    for entry in entries:
        if entry.name and entry.name in seen:
            line = seen[entry.name].document.values[()].line
            where = f", on line {line}" if line else ""
            what = f"{entry.name} is the name of a job already{where}"
            fix = f"add name:, e.g. name: {entry.name}-2"
            problems.append(entry.document.problem(("name",), what, fix, "repeated-name"))
        seen.setdefault(entry.name, entry)
    return problems


def _distinct(entries: list[Entry]) -> list[Entry]:
    names = [entry.name for entry in entries]
    return [
        entry
        if entry.name and entry.name not in names[:index]
        else entry._replace(name=f"[{index}]")
        for index, entry in enumerate(entries)
    ]


def _unknown_after(entries: list[Entry]) -> list[Problem]:
    known = {entry.name for entry in entries if entry.name}
    problems = []
    for entry in entries:
        for index, name in enumerate(entry.keys.after):
            if name in known:
                continue
            at: KeyPath = ("after", index)
            near = nearest(name, known) or nearest(name.partition("[")[0], known)
            fix = (
                f"did you mean {near}?" if near else f"the jobs here are {', '.join(sorted(known))}"
            )
            what = f"there is no job {name!r} in this pipeline"
            problems.append(entry.document.problem(at, what, fix, "unknown-job"))
    return problems
