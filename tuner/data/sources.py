"""Which files a path means: itself, or those that a pattern matches."""

from __future__ import annotations

from glob import glob, has_magic
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SAVED = ("state.json", "dataset_dict.json")
"""What is in a folder that `datasets` saved."""


def matching(path: Path) -> list[Path]:
    """The file itself when it is there, else those it matches as a pattern, sorted.

    ``*``, ``?`` and ``[...]`` stand for parts of a name, ``**`` for folders at any depth. Of what a
    pattern matches, folders are left out but those that `datasets` saved.
    """
    if path.exists():
        return [path]
    if not has_magic(str(path)):
        return []
    found = (Path(each) for each in sorted(glob(str(path), recursive=True)))  # noqa: PTH207 -- Path's own takes no absolute pattern
    return [each for each in found if is_readable(each)]


def is_readable(path: Path) -> bool:
    """Whether it is a file, or a folder that can be read like one."""
    return path.is_file() or any((path / name).is_file() for name in SAVED)


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """Every file that the paths mean, in order, once; a path that means none, as it is."""
    seen: set[str] = set()
    for path in paths:
        for each in matching(path) or [path]:
            place = realpath(each)  # Path's own raises where links go in a circle
            if place not in seen:
                seen.add(place)
                yield each


def absent(path: Path) -> tuple[str, str]:
    """What to say of a path that means no file, and a way out."""
    if path.is_dir():
        return f"{path} is a folder, not a file", f"name a file in it, or {path / '*.jsonl'}"
    if path.exists():
        return f"{path} is not an ordinary file", "copy what it gives into a file and name that"
    what = f"{path} matches no file" if has_magic(str(path)) else f"{path} does not exist"
    near = _nearest(path)
    return what, f"did you mean {near}?" if near else "paths are relative to the spec"


def _nearest(path: Path) -> Path | None:
    from difflib import get_close_matches

    names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, names, n=1)
    return path.parent / near[0] if near else None
