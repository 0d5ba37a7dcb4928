"""The keys of a pipeline file, and the entries of ``jobs``: specs with their variants."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import StrictBool, StrictInt  # noqa: TC002  (pydantic evaluates annotations)
from pydantic.dataclasses import dataclass

from tuner.errors import SpecError
from tuner.jobspec.load import resolve_beside
from tuner.jobspec.messages import check_section, described
from tuner.jobspec.reference import json_schema, key_tables
from tuner.jobspec.rules import nearest
from tuner.jobspec.schema import SECTION, JobSpec, ListOrOne, key
from tuner.pipelines.matrix import Setting, Variant, variants
from tuner.yaml_source import (
    Document,
    Locations,
    parse_key_path,
    put_value,
    read_document,
    subdocument,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tuner.errors import Problem
    from tuner.yaml_source import KeyPath

    Specs = dict[Path, Document | SpecError]

CHAINED = "jobs/"
"""Prefix of a job's name in ``tuned_model_source``: use the model of that job."""
NO_MATRIX = Variant("", ())
"""The one variant of an entry without a matrix."""


@dataclass(frozen=True, config=SECTION)
class PipelineKeys:
    """The top level; the entries of ``jobs`` are read one by one."""

    pipeline: Annotated[str, key("Names the pipeline.", examples=["reviews-grid"], min_length=1)]
    jobs: Annotated[
        tuple[str, ...],
        key(
            "What to tune: a list of spec files, or of keys with values, see below.",
            examples=["with a list of spec files below it"],
        ),
    ]
    max_parallel: Annotated[
        StrictInt | None, key("Tunings at a time; default: as many as the target accepts.", ge=1)
    ] = None
    fail_fast: Annotated[
        StrictBool,
        key(
            "Whether to start nothing more after the first failure; jobs that are running are finished."
        ),
    ] = False


@dataclass(frozen=True, config=SECTION)
class EntryKeys:
    """One of ``jobs``, without ``set`` and ``matrix``, which hold keys of specs."""

    name: Annotated[
        str,
        key("Unique name in the pipeline; default: the spec's `job`.", min_length=1),
    ] = ""
    spec: Annotated[
        str,
        key(
            "The job spec, relative to this file; or write the keys of a spec here instead.",
            examples=["quickstart.yaml"],
            min_length=1,
        ),
    ] = ""
    after: Annotated[
        tuple[str, ...],
        ListOrOne(),
        key(
            "Names of jobs here that must succeed first. A spec with neither base_model nor "
            "tuned_model_source tunes the model of that job further; if several are named, "
            "tuned_model_source: jobs/NAME chooses one."
        ),
    ] = ()
    keep: Annotated[
        Literal["all", "best"],
        key(
            "For a matrix: share and transfer each variant that passes its gate, or only the best "
            "by its metric."
        ),
    ] = "all"
    losers: Annotated[
        Literal["keep", "delete"],
        key(
            "With keep: best, what happens to the other models. Only models that this pipeline "
            "created and that no one else can access are deleted."
        ),
    ] = "keep"


ENTRY_KEYS = tuple(each.name for each in fields(EntryKeys))

FREE = {
    "set": "Keys of the spec, nested ones with dots, and their values, as in --set.",
    "matrix": (
        "Variants of the spec. grid: keys and lists of values, every combination; "
        "list: one item per variant; random: count, seed, and from, with a list of values, "
        "{log: [least, most]} or {range: [least, most]} for each key. Without any of the three "
        "words it is a grid."
    ),
}
"""The keys of an entry of ``jobs`` whose values are keys of a spec."""


def pipeline_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline file."""
    free = {name: {"description": d, "title": name, "type": "object"} for name, d in FREE.items()}
    spec, own = json_schema(JobSpec)["properties"], json_schema(EntryKeys)["properties"]
    keys = {"additionalProperties": False, "properties": spec | own | free, "type": "object"}
    path = {"description": "A job spec file, relative to this file.", "type": "string"}
    schema = json_schema(PipelineKeys)
    schema["properties"]["jobs"] |= {"items": {"anyOf": [path, keys]}, "minItems": 1}
    return schema


def pipeline_tables() -> str:
    """Return the keys of a pipeline file as Markdown tables, for docs/pipelines.md."""
    free = [f"| `{name}` | keys of the spec |  | {text} |" for name, text in FREE.items()]
    top = (
        row.replace("a list of text", "a list, below")
        for row in key_tables("", json_schema(PipelineKeys))
    )
    return (
        "\n".join([*top, "\n### `jobs[]`\n", *key_tables("", json_schema(EntryKeys)), *free]) + "\n"
    )


class Entry(NamedTuple):
    """One of ``jobs``.

    Attributes:
        document: The entry in the pipeline's file, to locate problems.
        base: Its spec, with the changes of ``set``.
        name: Unique in the pipeline, unless problems were found.
        variants: Those of its matrix, or ``NO_MATRIX``.
        is_on_disk: Whether its spec is a separate file.
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
        """Whether it has a matrix, even one with a single variant."""
        return self.variants != (NO_MATRIX,)

    def stage(self, variant: Variant) -> str:
        """The name of the stage that a variant becomes."""
        return f"{self.name}[{variant.label}]" if self.has_matrix else self.name

    def changed(self, document: Document, settings: Iterable[Setting]) -> Document:
        """Apply settings to a spec's document, located in the pipeline's file. Raises SpecError."""
        for setting in settings:
            at = parse_key_path(setting.dotted)
            document = put_value(document, at, setting.value, self._places(setting, at))
        return document

    def _places(self, setting: Setting, at: KeyPath) -> Locations:
        own, length = self.document, len(setting.where)
        key = own.keys.get(setting.key, own.values[()])
        value = own.values.get(setting.where, key)
        keys, values = (
            {
                (*at, *path[length:]): place
                for path, place in places.items()
                if path[:length] == setting.where
            }
            if isinstance(setting.value, dict | list)
            else {}
            for places in (own.keys, own.values)
        )
        return Locations(keys | {at: key}, values | {at: value})


def read_entries(document: Document) -> tuple[list[Entry], list[Problem]]:
    """Read the entries of a pipeline's document as far as possible, and collect all problems.

    Missing and repeated names are replaced, so that every entry can be checked further.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    specs: Specs = {}
    are_all_known = True
    value: Any = document.value
    for index in range(len(value["jobs"])):
        entry, found = _entry(subdocument(document, ("jobs", index)), specs)
        problems += found
        are_all_known = are_all_known and entry is not None
        entries += [entry] if entry else []
    problems += _repeated_names(entries)
    problems += _unknown_after(entries) if are_all_known else []
    names = [entry.name for entry in entries]
    unique = [
        entry if entry.name and entry.name not in names[:n] else entry._replace(name=f"[{n}]")
        for n, entry in enumerate(entries)
    ]
    return unique, problems


def _entry(document: Document, specs: Specs) -> tuple[Entry | None, list[Problem]]:
    value = {"spec": document.value} if isinstance(document.value, str) else document.value
    if not isinstance(value, dict):
        what = f"a job must be a spec file or keys with values, not {described(value)}"
        return None, [document.problem((), what, "write - quickstart.yaml", "wrong-type")]
    own = {key: each for key, each in value.items() if key in ENTRY_KEYS}
    rest = {key: each for key, each in value.items() if key not in own and key not in FREE}
    keys, problems = check_section(EntryKeys, document._replace(value=own))
    if keys is None:
        return None, problems
    problems += _unused_keys(document, keys, value)
    changes, found = _changes(document, value.get("set"))
    problems += found
    all_variants = [NO_MATRIX]
    if "matrix" in value:
        all_variants, found = variants(value["matrix"], document)
        problems += found
    base = document._replace(value=rest)
    if keys.spec:
        for key in rest:
            near = nearest(key, [*ENTRY_KEYS, *FREE])
            fix = (
                f"did you mean {near}?" if near else f"write set: {{{key}: ...}} to change the spec"
            )
            what = f"{key} cannot be used together with spec"
            problems.append(document.problem((key,), what, fix, "unknown-key", key=True))
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
    name = name if isinstance(name, str) else ""
    if any(character in name for character in "[],"):  # they mark variants
        what = f"{name!r} cannot name a job of a pipeline"
        fix = "leave brackets and commas out of name"
        problems.append(document.problem(("name",), what, fix, "bad-name"))
    return entry._replace(base=base, name=name), problems


def _spec(document: Document, spec: str, specs: Specs) -> Document:
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
    return tuple(Setting(key, each, ("set", key), ("set", key)) for key, each in value.items()), []


def _unused_keys(document: Document, keys: EntryKeys, value: dict[str, Any]) -> list[Problem]:
    problems = []
    if keys.keep == "best" and "matrix" not in value:
        what = "keep: best selects one of the variants of a matrix, and there is no matrix"
        problems.append(
            document.problem(("keep",), what, "add matrix:, or remove keep", "idle-key")
        )
    if keys.keep != "best" and "losers" in value:
        what = "losers has no effect: all variants are kept"
        fix = "add keep: best, or remove losers"
        problems.append(document.problem(("losers",), what, fix, "idle-key", key=True))
    return problems


def _repeated_names(entries: list[Entry]) -> list[Problem]:
    seen: dict[str, Entry] = {}
    problems = []
    for entry in entries:
        if entry.name and entry.name in seen:
            line = seen[entry.name].document.values[()].line
            where = f", on line {line}" if line else ""
            what = f"another job already has the name {entry.name}{where}"
            fix = f"add name:, e.g. name: {entry.name}-2"
            problems.append(entry.document.problem(("name",), what, fix, "repeated-name"))
        seen.setdefault(entry.name, entry)
    return problems


def _unknown_after(entries: list[Entry]) -> list[Problem]:
    known = {entry.name for entry in entries if entry.name}
    problems = []
    for entry in entries:
        for index, name in enumerate(entry.keys.after):
            if name not in known:
                at: KeyPath = ("after", index)
                near = nearest(name, known) or nearest(name.partition("[")[0], known)
                others = f"the jobs here are {', '.join(sorted(known))}"
                fix = f"did you mean {near}?" if near else others
                what = f"there is no job {name!r} in this pipeline"
                problems.append(entry.document.problem(at, what, fix, "unknown-job"))
    return problems
