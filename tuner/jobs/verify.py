"""Compare a job's entry in ``tuner.lock`` with the current state on the service and on disk."""

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
    from tuner.types import TunedModel

    Entry = Mapping[str, Any]
    LoadPipeline = Callable[[Path, Sequence[str]], Any]
    """``load_pipeline`` of tuner.pipelines, which this layer does not import."""

MISSING = "missing"


class Fact(NamedTuple):
    """A locked value and its current value; ``same`` is None if they cannot be compared."""

    what: str
    lock: str
    now: str
    same: bool | None


class LockedJob(NamedTuple):
    """An entry of a ``tuner.lock``: the file, the entry's key, and its content."""

    path: Path
    key: str
    entry: Entry

    @property
    def spec(self) -> Path:
        """The spec or pipeline file of the job."""
        return self.path.parent / self.key.partition("#")[0]


def locked_jobs_of(spec: Path, path: Path) -> list[LockedJob]:
    """Return the entries of a spec's jobs, with all variants, in the lock file ``path``.

    Raises:
        TunerError: The lock file is damaged, or cannot be read.
    """
    return [
        LockedJob(path, key, entry)
        for key, entry in lockfile.entries(path).items()
        if key.partition("#")[0] == spec.name and "tuned_model" in entry
    ]


def find_locked_jobs(name: str, paths: Sequence[Path]) -> list[LockedJob]:
    """Return the entries with this job or model name, or model ID, in the first lock file with one.

    Raises:
        TunerError: A lock file is damaged, or cannot be read.
    """
    for path in paths:
        found = [
            LockedJob(path, key, entry)
            for key, entry in lockfile.entries(path).items()
            if entry.get("tuned_model") == tuned_model(name)
            or name in (entry.get("job", ""), f"{entry.get('job', '')}[{entry.get('label', '')}]")
        ]
        if found:
            return found
    return []


def load(locked: LockedJob, load_pipeline: LoadPipeline) -> PreparedJob | InvalidInput:
    """Return the job as its files describe it now, or why they cannot be read."""
    spec, entry = locked.spec, locked.entry
    try:
        if not is_pipeline(spec):
            return prepare_job(spec, entry["overrides"])
        name, label = entry["job"], entry["label"]
        for stage in load_pipeline(spec, entry["overrides"]).stages:
            if (stage.grouping, stage.label) == (name, label):
                work = cast("PreparedJob", stage.work)
                # the model that the stage was tuned from, which may be any variant of its source
                return with_source(work, entry["tuned_model_source"]) if stage.source else work
    except InvalidInput as error:
        return error
    what = f"the pipeline no longer has a job {f'{name}[{label}]' if label else name}"
    return InvalidInput([Problem(str(spec), 0, 0, what)])


def target_of(locked: LockedJob, now: PreparedJob | InvalidInput) -> TargetConfig:
    """Return the target of the spec if it is still the locked one, else the locked one."""
    spec = None
    if isinstance(now, PreparedJob):
        spec = now.spec
    else:  # the spec may be valid although its data is not
        try:
            spec = read_partial_spec(locked.spec, locked.entry["overrides"]).spec
        except InvalidInput:
            spec = None
    if spec and spec.target.where == locked.entry["target"]:
        return spec.target
    kind, _, endpoint = str(locked.entry["target"]).partition(":")
    return TargetConfig(kind, endpoint)


async def compare_with_service(entry: Entry, target: Target) -> list[Fact]:
    """Compare the model on the service with its entry.

    Raises:
        NotAllowed, Unavailable: The service as a whole refuses, or does not answer.
    """
    name = entry["tuned_model"]
    try:
        model = await target.tuned_model(name)
    except (NotAllowed, RequestRefused):
        if entry["handed_to"]:
            return [Fact("model", name, f"hidden since its transfer to {entry['handed_to']}", None)]
        if Phase(entry["phase"]) is Phase.NOT_SELECTED:
            return [Fact("model", name, f"{MISSING}; it was not selected and may be deleted", None)]
        return [Fact("model", name, MISSING, same=False)]
    facts = [*_model_facts(entry, model)]
    try:
        now = permission_facts(await target.permissions(name))
    except (NotAllowed, RequestRefused):
        return [*facts, Fact("permissions", _people(entry["permissions"]), "hidden from you", None)]
    return [*facts, _fact("permissions", entry["permissions"], now, _people)]


def _model_facts(entry: Entry, model: TunedModel) -> Iterator[Fact]:
    now = model_facts(model)
    yield Fact("model", entry["tuned_model"], model.state, model.state == "ACTIVE")
    for key in ("base_model", "tuned_model_source", "hyperparameters", "display_name"):
        if entry[key] or now[key]:
            yield _fact(key.replace("_", " "), entry[key], now[key])
    for key, value in now["tuned"].items():
        yield _fact(key.replace("_", " "), (entry["tuned"] or {}).get(key), value)


def compare_with_disk(locked: LockedJob, now: PreparedJob | InvalidInput) -> list[Fact]:
    """Compare the spec, its data and the job that they describe with the entry; see ``load``."""
    entry, spec = locked.entry, locked.spec
    facts = [_fact("spec sha256", entry["spec"], sha256(spec), _short)]
    facts += [_file_fact(each, spec.parent / each["path"]) for each in entry["data"]]
    if isinstance(now, InvalidInput):
        unreadable = f"cannot be read: {now.what}"
        return [*facts, Fact("content", _short(entry["content"]), unreadable, same=False)]
    facts.append(_fact("content", entry["content"], now.digest, _short))
    counts = {"tuned_on": len(now.examples), "held_out": len(now.holdout)}
    facts.append(_fact("examples", entry["examples"], counts))
    if entry["results"] and now.holdout:
        facts.append(_fact("held-out rows", entry["results"]["digest"], gate.digest(now), _short))
    return facts


def _file_fact(locked: Entry, path: Path) -> Fact:
    fact = _fact(f"{locked['path']} sha256", locked["sha256"], sha256(path), _short)
    if fact.same is False and path.is_file():
        more = path.stat().st_size - locked["bytes"]
        change = f"{abs(more)} bytes {'more' if more >= 0 else 'less'}"
        return fact._replace(now=f"{fact.now} ({change})")
    return fact


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in sorted(value.items()))
    return "" if value is None else str(value)


def _fact(what: str, locked: Any, now: Any, text: Callable[[Any], str] = _text) -> Fact:
    """Compare two values; one that was unknown when it was locked is no difference."""
    same = None if locked is None else locked == now
    return Fact(what, text(locked), text(now), same)


def _short(digest: str | None) -> str:
    return MISSING if digest is None else f"{digest[:12]}…"


def _people(rows: Sequence[Mapping[str, str]] | None) -> str:
    return ", ".join(
        f"{row['email_address'] or 'everyone'} ({row['role'].lower()})" for row in rows or []
    )
