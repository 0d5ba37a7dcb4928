"""What was locked of a job, held against what the service and the disk show now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tuner.errors import InvalidInput, NotAllowed, Problem, RequestRefused
from tuner.evaluation import gate
from tuner.jobs import lockfile
from tuner.jobs.lockfile import model_facts, permission_facts, sha256
from tuner.jobspec.files import is_pipeline
from tuner.jobspec.load import read_partial_spec
from tuner.jobspec.prepared_job import PreparedJob, prepare_job, with_source
from tuner.names import tuned_model
from tuner.types import Phase, TargetConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tuner.targets import Target
    from tuner.types import Permission, TunedModel

    Entry = Mapping[str, Any]
    LoadPipeline = Callable[[Path, Sequence[str]], Any]
    """``load_pipeline`` of tuner.pipelines, which this layer does not import."""

MISSING = "is not there"


class Row(NamedTuple):
    """One fact: as it was locked and as it is now; ``same`` is None when nobody can say."""

    what: str
    lock: str
    now: str
    same: bool | None


class Found(NamedTuple):
    """An entry of a ``tuner.lock``: the file, its key there, and what it holds."""

    path: Path
    key: str
    entry: Entry


def of_spec(spec: Path, path: Path) -> list[Found]:
    """What is locked of a spec file's jobs, all its variants.

    Raises:
        TunerError: The lock is damaged, or cannot be read.
    """
    return [
        Found(path, key, entry)
        for key, entry in lockfile.entries(path).items()
        if key.partition("#")[0] == spec.name and "tuned_model" in entry
    ]


def named(text: str, paths: Sequence[Path]) -> list[Found]:
    """What is locked of a job or model by that name, or model by that id, in the first such file.

    Raises:
        TunerError: A lock is damaged, or cannot be read.
    """
    for path in paths:
        found = [
            Found(path, key, entry)
            for key, entry in lockfile.entries(path).items()
            if entry.get("tuned_model") == tuned_model(text) or text in _titles(entry)
        ]
        if found:
            return found
    return []


def _titles(entry: Entry) -> tuple[str, str]:
    name, label = entry.get("job", ""), entry.get("label", "")
    return name, f"{name}[{label}]"


def spec_of(found: Found) -> Path:
    """The spec file that an entry is about."""
    return found.path.parent / found.key.partition("#")[0]


def load(found: Found, load_pipeline: LoadPipeline) -> PreparedJob | InvalidInput:
    """Return what the entry's job would be made of now, or why that cannot be read."""
    spec, entry = spec_of(found), found.entry
    try:
        if is_pipeline(spec):
            return _of_stage(entry, load_pipeline(spec, entry["overrides"]))
        return prepare_job(spec, entry["overrides"])
    except InvalidInput as error:
        return error


def _of_stage(entry: Entry, pipeline: Any) -> PreparedJob:
    """Return the job of the entry's stage, tuned further from the model that it was tuned from."""
    for stage in pipeline.stages:
        if (stage.grouping, stage.label) == (entry["job"], entry["label"]):
            if not stage.source:
                return cast("PreparedJob", stage.work)
            return with_source(stage.work, entry["tuned_model_source"])
    what = f"the pipeline has no job {_titles(entry)[bool(entry['label'])]} any more"
    raise InvalidInput([Problem(str(pipeline.path), 0, 0, what)])


def target_of(found: Found, now: PreparedJob | InvalidInput) -> TargetConfig:
    """Where to ask: as the spec says it by now, if it is the same place, else where the job ran."""
    kind, _, endpoint = str(found.entry["target"]).partition(":")
    asked = [now.spec.target] if isinstance(now, PreparedJob) else _of_spec(found)
    same = [each for each in asked if each.where == found.entry["target"]]
    return same[0] if same else TargetConfig(kind, endpoint)


def _of_spec(found: Found) -> list[TargetConfig]:
    """The target of a spec whose data cannot be read."""
    try:
        spec = read_partial_spec(spec_of(found), found.entry["overrides"]).spec
    except InvalidInput:
        return []
    return [spec.target] if spec else []


async def on_service(entry: Entry, target: Target) -> list[Row]:
    """The model as the service shows it, against its lock.

    Raises:
        NotAllowed, Unavailable: The service as a whole refuses, or is away.
    """
    name = entry["tuned_model"]
    try:
        model = await target.tuned_model(name)
    except (NotAllowed, RequestRefused):
        heir = entry["handed_to"]
        if heir:
            now = f"hidden from you since it was handed over to {heir}"
            return [Row("model", name, now, None)]
        if Phase(entry["phase"]) is Phase.NOT_SELECTED:
            return [
                Row("model", name, f"{MISSING}, as is allowed for one that was not selected", None)
            ]
        return [Row("model", name, MISSING, same=False)]
    try:
        permissions: Sequence[Permission] | None = await target.permissions(name)
    except (NotAllowed, RequestRefused):
        permissions = None
    return [*_of_model(entry, model), _of_access(entry, permissions)]


def _of_model(entry: Entry, model: TunedModel) -> Iterator[Row]:
    now = model_facts(model)
    is_there = model.state == "ACTIVE"
    yield Row("model", entry["tuned_model"], f"there, {model.state}", is_there)
    for key in ("base_model", "tuned_model_source", "hyperparameters", "display_name"):
        if entry[key] or now[key]:
            yield _row(key, entry[key], now[key])
    for key, value in now["tuned"].items():
        yield _row(key, (entry["tuned"] or {}).get(key), value)


def _of_access(entry: Entry, permissions: Sequence[Permission] | None) -> Row:
    if permissions is None:
        return Row("permissions", _people(entry["permissions"]), "hidden from you", None)
    return _row("permissions", entry["permissions"], permission_facts(permissions), _people)


def on_disk(found: Found, now: PreparedJob | InvalidInput) -> list[Row]:
    """The spec, its data and what they make, against their lock; ``now`` is as ``load`` gave it."""
    entry, spec = found.entry, spec_of(found)
    rows = [_row("spec sha256", entry["spec"], sha256(spec), _short)]
    rows += [_of_file(each, spec.parent / each["path"]) for each in entry["data"]]
    return [*rows, *_of_content(entry, now)]


def _of_file(locked: Entry, path: Path) -> Row:
    row = _row("", locked["sha256"], sha256(path), _short)._replace(what=f"{locked['path']} sha256")
    if row.same is False and path.is_file():
        more = path.stat().st_size - locked["bytes"]
        return row._replace(now=f"{row.now} ({abs(more)} bytes {'more' if more >= 0 else 'less'})")
    return row


def _of_content(entry: Entry, work: PreparedJob | InvalidInput) -> Iterator[Row]:
    if isinstance(work, InvalidInput):
        now = f"cannot be read: {work.what}"
        yield Row("content", _short(entry["content"]), now, same=False)
        return
    yield _row("content", entry["content"], work.digest, _short)
    counts = {"tuned_on": len(work.examples), "held_out": len(work.holdout)}
    yield _row("examples", entry["examples"], counts)
    if entry["results"] and work.holdout:
        yield _row("held-out rows", entry["results"]["digest"], gate.digest(work), _short)


def _row(what: str, locked: Any, now: Any, said: Any = None) -> Row:
    """What was not known when it was locked is no difference."""
    words = said or _text
    same = None if locked is None else locked == now
    return Row(what.replace("_", " "), words(locked), words(now), same)


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case dict():
            return " ".join(f"{key}={each}" for key, each in sorted(value.items()))
    return str(value)


def _short(digest: str | None) -> str:
    return MISSING if digest is None else f"{digest[:12]}…"


def _people(rows: Sequence[Mapping[str, str]] | None) -> str:
    return ", ".join(
        f"{row['email_address'] or 'everyone'} ({row['role'].lower()})" for row in rows or []
    )
