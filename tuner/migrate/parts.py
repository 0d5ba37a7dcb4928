"""The parts of a spec that every vendor's file has: name, model, data, held-out rows, numbers."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tuner import names
from tuner.jobspec.scaffold import SpecLine

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from tuner.migrate.theirs import Theirs
    from tuner.yaml_source import KeyPath

    Fetch: TypeAlias = Callable[[str, str], str]

BASE_MODEL = "models/smollm2-135m-instruct"
_BASE_MODEL_THERE = "huggingfacetb/smollm2-135m-instruct"
HOLDOUT = 0.1
DEFAULT = "their default"
UNNAMED = "examples.jsonl"

_FILE = re.compile(r".*\.(jsonl?|ndjson|csv|tsv|parquet|arrow)(\.gz)?", re.IGNORECASE)


def write_name(theirs: Theirs, *sources: KeyPath) -> None:
    """``job``, from the first of ``sources`` that says something, or else from the file's name."""
    for at in sources:
        text = theirs.text(*at)
        if text:
            theirs.write("job", names.slug(text.rstrip("/").rpartition("/")[2]), at)
            return
    theirs.write("job", names.slug(theirs.document.path.stem))


def write_model(theirs: Theirs, at: KeyPath, why: str) -> None:
    """``target`` and ``base_model``: seldom theirs, which is remarked with ``why``."""
    theirs.write("target", "local")
    if theirs.text(*at).lower() == _BASE_MODEL_THERE:
        theirs.write("base_model", BASE_MODEL, at)
        return
    theirs.write("base_model", BASE_MODEL)
    theirs.lines[-1] = SpecLine(
        "base_model", BASE_MODEL, f"in place of {theirs.text(*at) or 'theirs'}"
    )
    theirs.remark(at, why)


class Unsaid(NamedTuple):
    """What theirs does where the file says nothing; ours would do something else."""

    epochs: int | None = None
    rate: float | None = None


def write_numbers(
    theirs: Theirs,
    epochs: KeyPath,
    batch: KeyPath | None,
    rate: KeyPath | None,
    unsaid: Unsaid = Unsaid(),  # noqa: B008 -- frozen
) -> None:
    """The hyperparameters that the tuning API has too, but for multipliers."""
    count = theirs.whole(*epochs)
    if count is not None:
        theirs.write("hyperparameters.epoch_count", count, epochs)
    elif unsaid.epochs is not None and theirs.get(*epochs) is None:
        theirs.lines.append(SpecLine("hyperparameters.epoch_count", unsaid.epochs, DEFAULT))
    size = theirs.whole(*batch) if batch else None
    if size is not None and batch:
        theirs.write("hyperparameters.batch_size", size, batch)
    number = theirs.number(*rate) if rate else None
    if number is not None and rate:
        theirs.write("hyperparameters.learning_rate", number, rate)
    elif rate and unsaid.rate is not None and theirs.get(*rate) is None:
        theirs.lines.append(SpecLine("hyperparameters.learning_rate", unsaid.rate, DEFAULT))


class Place(NamedTuple):
    """A file of a spec: its path as the spec names it, and what is to be said of it."""

    path: str
    note: str = ""


def write_file(theirs: Theirs, key: str, at: KeyPath, fetch: Fetch) -> None:
    """A path of the spec, ``training_data.path`` or ``evaluation.path``, from what ``at`` names."""
    place = find_place(theirs, theirs.text(*at), fetch)
    theirs.write(key, place.path, at, note=place.note)


def find_place(theirs: Theirs, name: str, fetch: Fetch, folder: str = "") -> Place:
    """Where a file of theirs is or will be; one that is not here gives a step to take.

    Args:
        theirs: Gets the step.
        name: A file, seen from theirs or from here; otherwise something to download.
        fetch: Makes of that name and the file to save it as the command that fetches it.
        folder: Where local names begin.
    """
    found = find(theirs, name, folder)
    if found:
        return Place(relative(theirs, found))
    if not name:
        theirs.step(
            f"save the examples as {theirs.spec_folder / UNNAMED}, or change the path in the spec"
        )
        return Place(UNNAMED, "theirs names no file")
    if _FILE.fullmatch(name):
        there = theirs.document.path.parent / folder / name
        theirs.step(f"save the examples as {there}, or change the path in the spec")
        return Place(relative(theirs, there), "not there yet")
    saved = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name).strip('-.') or 'examples'}.jsonl"
    theirs.step(fetch(name, os.path.relpath(theirs.spec_folder / saved)))
    return Place(saved, "to be downloaded")


def write_held(theirs: Theirs, at: KeyPath, fetch: Fetch) -> None:
    """``evaluation.path``, from what ``at`` names, or else the share that we hold out."""
    if theirs.get(*at):
        write_file(theirs, "evaluation.path", at, fetch)
    else:
        write_holdout(theirs)


def write_holdout(theirs: Theirs, *at: str | int) -> None:
    """``evaluation.holdout``, from a share or a number of rows, or else ours."""
    size = theirs.number(*at, zero=True) if at else None
    if size and size < 1:
        theirs.write("evaluation.holdout", size, at)
    elif size:
        theirs.write("evaluation.holdout", HOLDOUT, at, note="a share, not a number of rows")
        theirs.remark(at, "a number of rows there, a share of them here: write the share you want")
    else:
        if at:
            theirs.same(
                at, "no rows were held out there; here a tenth is, unless you say otherwise"
            )
        theirs.lines.append(SpecLine("evaluation.holdout", HOLDOUT, _OURS))


def write_gate(theirs: Theirs) -> None:
    """The gate, which none of them has, as a comment."""
    above = ("The gate, if you want one: below it the model is not shared.",)
    value = {"better_than_base": True}
    theirs.lines.append(SpecLine("evaluation.require", value, above=above, is_active=False))


def find(theirs: Theirs, name: str, folder: str = "") -> Path | None:
    """A file that exists, seen from theirs or from here, as such tools look from where they run."""
    beside = theirs.document.path.parent
    places = (beside / folder / name, Path(folder) / name) if name else ()
    return next((place for place in places if place.is_file()), None)


def relative(theirs: Theirs, path: Path) -> str:
    """``path`` as the spec names it."""
    return Path(os.path.relpath(path, theirs.spec_folder)).as_posix()


_OURS = "ours: theirs holds out none; leave evaluation out to tune on every row"
