"""``tuner models pull``: fetch a base model before it is needed, with a bar that shows how far it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tuner.errors import RequestRefused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def pull_missing(names: Iterable[str], *, quiet: bool = False) -> None:
    """Fetch those of the named base models that the service would have to fetch first, and show it.

    Raises:
        Unavailable: One cannot be fetched or kept now.
    """
    from tuner.engine import KNOWN_BASE_MODELS, base_models
    from tuner.home import models_folder

    for name in names:
        model = KNOWN_BASE_MODELS.get(name)
        if model and not base_models.is_fetched(model, models_folder()):
            pull(name, quiet=quiet)


def pull(name: str, *, quiet: bool = False) -> Path:
    """Fetch and convert a base model, once; the bar goes to standard error.

    Args:
        name: ``models/ID`` or the id alone, of ``tuner.engine.KNOWN_BASE_MODELS``.
        quiet: Draw no bar.

    Returns:
        The model's folder, in Hugging Face's format.

    Raises:
        RequestRefused: No such model is known, or the extra ``local`` is not installed.
        Unavailable: It cannot be fetched or kept now.
    """
    try:
        from tuner.engine import EngineError, base_models
    except ImportError as error:
        raise _not_installed(error) from error
    from tuner.home import models_folder

    try:
        model = base_models.known_base_model(name)
    except EngineError as error:
        raise RequestRefused(str(error)) from error
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    bar = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), disable=quiet)
    with bar:
        task = bar.add_task(f"pulling {model.name}", total=None)

        def show(what: str, done: int, total: int, /) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        try:
            return base_models.pull(model, models_folder(), show)
        except EngineError as error:
            raise Unavailable(str(error)) from error
        except ImportError as error:
            raise _not_installed(error) from error


def _not_installed(error: ImportError) -> RequestRefused:
    return RequestRefused(
        f"base models need {error.name}, which is not installed",
        "install it with `pip install 'tuner[local]'`",
    )
