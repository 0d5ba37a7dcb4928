"""The settings of `tuner serve`: addresses and who may reach them, limits, base models.

A service file declares more base models:

    base_models:
      qwen3-0.6b:
        source: Qwen/Qwen3-0.6B      # a hub name, a folder (relative to this file), package:NAME
        display_name: Qwen3 0.6B     # optional, like all keys that follow
"""

from __future__ import annotations

import ipaddress
import re
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.engine import CHECKPOINT_S, KNOWN_BASE_MODELS, TINY, BaseModel
from tuner.errors import InvalidInput, Problem
from tuner.server.store import open_store, permissions
from tuner.yaml_source import mapping_or_empty, read_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tuner.server.tls import Tls
    from tuner.yaml_source import Document

MEBIBYTE = 1024 * 1024
MAX_PORT = 65535
DEFAULT_METHODS = ("generateContent", "countTokens", "createTunedModel")
SOURCES = "a folder, a hub name as Qwen/Qwen3-0.6B, or builtin:tiny"
MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_ADDRESS = re.compile(r"(?:(\[[0-9a-fA-F:]+\]|[^:\s\[\]]+):)?(\d{1,5})")
_HOST = re.compile(r"\[?([^\[\]]*?)\]?(:\d*)?")
_ALL_INTERFACES = ("0.0.0.0", "[::]")  # noqa: S104  (compared with, not bound)
_FILE_KEYS: dict[str, type | tuple[type, ...]] = {
    "source": str,
    "display_name": str,
    "description": str,
    "version": str,
    "input_token_limit": int,
    "output_token_limit": int,
    "methods": list,
    "temperature": (int, float),
    "top_p": (int, float),
    "top_k": int,
}
_TYPE_NAMES = {str: "text", int: "a whole number", list: "a list", (int, float): "a number"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may use; a caller is an API key, and all callers without keys are one."""

    message_bytes: int = 64 * MEBIBYTE
    in_flight: int = 256
    queued: int = 1000


@dataclass(frozen=True, slots=True)
class Settings:
    """What a service is started with.

    Attributes:
        grpc: ``host:port``; port 0 takes a free one.
        rest: The same for REST; None serves none.
        idle_exit_s: Exit after so many seconds without a call or a tuning; None never does.
        workers: Tunings at a time.
        checkpoint_s: Seconds of a tuning that a kill may cost.
        grace_s: How long calls in flight may go on when the service stops.
        database: A SQLAlchemy URL; None is SQLite in the service's folder.
        tls: None serves without TLS, on loopback only.
    """

    grpc: str = "127.0.0.1:50051"
    rest: str | None = None
    base_models: Mapping[str, BaseModel] = field(default_factory=lambda: KNOWN_BASE_MODELS)
    idle_exit_s: float | None = None
    workers: int = 1
    checkpoint_s: float = CHECKPOINT_S
    grace_s: float = 10.0
    database: str | None = None
    tls: Tls | None = None
    limits: Limits = field(default_factory=Limits)


def parse_address(address: str, option: str) -> str:
    """Return ``host:port``; a port alone means 127.0.0.1. Raises InvalidInput, naming ``option``."""
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found[2]) > MAX_PORT:
        fix = "write host:port, as in 127.0.0.1:50051 or [::]:50051"
        raise InvalidInput([Problem("", 0, 0, f"{option} {address}: not an address", fix)])
    return f"{found[1] or '127.0.0.1'}:{found[2]}"


def local_address(address: str) -> str:
    """Return how this machine reaches an address that the service listens on."""
    host, _, port = address.rpartition(":")
    return f"localhost:{port}" if host in _ALL_INTERFACES else address


def is_loopback(address: str) -> bool:
    """Return whether only this machine can reach a host, with or without a port.

    Names other than localhost count as reachable by others: they may resolve differently tomorrow.
    """
    found = _HOST.fullmatch(address)
    host = found[1].lower() if found else ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def exposed_addresses(settings: Settings) -> list[str]:
    """Return the options and addresses that other machines can reach: ``--grpc 0.0.0.0:50051``."""
    addresses = {"--grpc": settings.grpc, "--rest": settings.rest}
    return [
        f"{option} {address}"
        for option, address in addresses.items()
        if address and not is_loopback(address)
    ]


def check_exposure(settings: Settings, folder: Path) -> None:
    """Require TLS and a valid API key if other machines can reach the service.

    Raises InvalidInput or StoreFailed.
    """
    exposed = exposed_addresses(settings)
    what = "others could read keys and examples on the network, because the service is without TLS"
    fix = "add --tls CERT KEY; or listen on 127.0.0.1 and connect through `ssh -L`"
    in_clear = exposed if settings.tls is None else []
    problems = [Problem("", 0, 0, f"{address}: {what}", fix) for address in in_clear]
    has_valid_key = False
    if exposed and (settings.database or (folder / "service.db").exists()):
        with closing(open_store(folder, settings.database)) as store:
            has_valid_key = store.run(permissions.count_valid_keys) > 0
    if exposed and not has_valid_key:
        what = f"{' and '.join(exposed)}: others could reach the service, and it has no valid key"
        problems.append(Problem("", 0, 0, what, "create one first: tuner keys create EMAIL"))
    if problems:
        raise InvalidInput(problems)


def add_base_models(known: Mapping[str, BaseModel], pairs: Sequence[str]) -> dict[str, BaseModel]:
    """Return ``known`` and the base models given as ``NAME=SOURCE``. Raises InvalidInput."""
    problems, models = [], dict(known)
    for pair in pairs:
        name, _, source = pair.partition("=")
        model_id = name.removeprefix("models/")
        if not source or not MODEL_ID.fullmatch(model_id):
            what = f"--base-model {pair}: not of the form NAME=SOURCE"
            fix = "e.g. qwen3-0.6b=Qwen/Qwen3-0.6B; NAME has lower-case letters, digits, . _ -"
            problems.append(Problem("", 0, 0, what, fix))
        elif problem := _source_problem(source):
            problems.append(Problem("", 0, 0, f"--base-model {pair}: {problem}", SOURCES))
        else:
            models[f"models/{model_id}"] = _new_base_model(model_id, source)
    if problems:
        raise InvalidInput(problems)
    return models


def read_service_file(path: Path) -> dict[str, BaseModel]:
    """Return the base models that a service file declares, by name. Raises InvalidInput."""
    document = read_document(path, environ=None)
    problems = list(document.problems)
    models: dict[str, BaseModel] = {}
    _check_mapping(document, (), document.value, problems)
    for key, value in mapping_or_empty(document.value).items():
        if key != "base_models":
            what, fix = f"unknown key {key!r}", "the only key is base_models"
            problems.append(document.problem((key,), what, fix, key=True))
            continue
        _check_mapping(document, (key,), value, problems)
        for name in mapping_or_empty(value):
            model = _declared_model(document, name, problems)
            if model is not None:
                models[model.name] = model
    if problems:
        raise InvalidInput(sorted(problems, key=lambda each: (each.line, each.column)))
    return models


def _declared_model(document: Document, name: str, problems: list[Problem]) -> BaseModel | None:
    at = ("base_models", name)
    before = len(problems)
    model_id = name.removeprefix("models/")
    if not MODEL_ID.fullmatch(model_id):
        fix = "use lower-case letters, digits, . _ -, and begin with a letter or digit"
        what = f"{model_id!r} is not a valid model name"
        problems.append(document.problem(at, what, fix, key=True))
    value = mapping_or_empty(document.value)["base_models"][name]
    _check_mapping(document, at, value, problems)
    fields: dict[str, Any] = {}
    for key, each in mapping_or_empty(value).items():
        kind = _FILE_KEYS.get(key)
        fields[key] = each
        if kind is None:
            what, fix = f"unknown key {key!r}", f"the keys are {', '.join(_FILE_KEYS)}"
            problems.append(document.problem((*at, key), what, fix, key=True))
        elif kind is str and isinstance(each, int | float):
            fields[key] = str(each)
        elif not isinstance(each, kind) or isinstance(each, bool):
            problems.append(document.problem((*at, key), f"{key} must be {_TYPE_NAMES[kind]}"))
    if not fields.get("source"):
        fix = "add source: a folder, a hub name, or package:NAME"
        problems.append(document.problem(at, f"{model_id} has no source", fix, key=True))
    if len(problems) > before:
        return None
    source = fields.pop("source")
    folder = document.path.parent / source
    source = str(folder.resolve()) if folder.is_dir() else source
    if problem := _source_problem(source):
        problems.append(document.problem(at, f"{model_id}: {problem}", SOURCES, key=True))
    if "methods" in fields:
        fields["methods"] = tuple(fields["methods"])
    return replace(_new_base_model(model_id, source), **fields)


def _check_mapping(
    document: Document, at: tuple[str, ...], value: object, problems: list[Problem]
) -> None:
    if value is not None and not isinstance(value, dict):
        fix = "write `base_models: {NAME: {source: FOLDER or hub name}}`"
        problems.append(document.problem(at, "must be keys with values", fix))


def _source_problem(source: str) -> str:
    """Return why no model can be loaded from there, without network access; empty if it may."""
    if source.startswith("builtin:") and source != TINY.source:
        return f"{source} is not built in; {TINY.source} is"
    if source.startswith(("/", ".", "~")) and not Path(source).expanduser().is_dir():
        return f"there is no folder {source}"
    return ""


def _new_base_model(model_id: str, source: str) -> BaseModel:
    name = f"models/{model_id}"
    if source == TINY.source:
        return replace(TINY, name=name)
    return BaseModel(name, source, display_name=model_id, methods=DEFAULT_METHODS)
