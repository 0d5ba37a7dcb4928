"""`tuner serve`: run the tuning service on this machine."""

from __future__ import annotations

import os
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.server.settings import Limits, Settings
    from tuner.server.tls import Tls

    F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path)
_TLS = (
    click.option(
        "--tls",
        "pair",
        nargs=2,
        type=_FILE,
        metavar="CERT KEY",
        help="Use TLS with this certificate and key (PEM); renewed files are reloaded.",
    ),
    click.option(
        "--dev-tls",
        is_flag=True,
        help="Use TLS for localhost, with a certificate authority created in the service's folder.",
    ),
    click.option(
        "--client-ca",
        type=_FILE,
        metavar="CA",
        help="Require client certificates of this authority; the API key still identifies the user.",
    ),
)
_LIMITS = (
    click.option(
        "--max-message-mb",
        type=click.IntRange(1, 1024),
        default=64,
        show_default=True,
        help="Maximum size of a request in MiB.",
    ),
    click.option(
        "--max-in-flight",
        type=click.IntRange(1),
        default=256,
        show_default=True,
        help="Maximum concurrent calls per API key.",
    ),
    click.option(
        "--max-queued",
        type=click.IntRange(1),
        default=1000,
        show_default=True,
        help="Maximum queued and running tunings per API key.",
    ),
)


def tls_options(command: F) -> F:
    """Add ``--tls``, ``--dev-tls`` and ``--client-ca``; the command gets ``tls``, a function that loads them."""

    @wraps(command)
    def configured(
        *args: Any,
        pair: tuple[Path, Path] | None,
        dev_tls: bool,
        client_ca: Path | None,
        **rest: Any,
    ) -> Any:
        return command(*args, tls=lambda: _tls(pair, client_ca, dev=dev_tls), **rest)

    return _add_options(_TLS, configured)  # type: ignore[no-any-return] # click keeps the callable


def limit_options(command: F) -> F:
    """Add the limits; the command gets ``limits``, a function that returns them."""

    @wraps(command)
    def configured(
        *args: Any, max_message_mb: int, max_in_flight: int, max_queued: int, **rest: Any
    ) -> Any:
        def limits() -> Limits:
            from tuner.server.settings import MEBIBYTE, Limits

            return Limits(max_message_mb * MEBIBYTE, max_in_flight, max_queued)

        return command(*args, limits=limits, **rest)

    return _add_options(_LIMITS, configured)  # type: ignore[no-any-return] # as above


def _add_options(options: tuple[Callable[..., Any], ...], command: Callable[..., Any]) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


def _tls(pair: tuple[Path, Path] | None, client_ca: Path | None, *, dev: bool) -> Tls | None:
    """Return the checked certificate files; with ``dev`` create them. Raises InvalidInput."""
    if pair and dev:
        raise click.UsageError("--tls and --dev-tls are mutually exclusive: keep one of them")
    if client_ca and not (pair or dev):
        raise click.UsageError("--client-ca requires --tls CERT KEY or --dev-tls")
    if not (pair or dev):
        return None
    from dataclasses import replace
    from datetime import UTC, datetime

    from tuner.home import service_folder
    from tuner.server.tls import Tls, check_tls_files, ensure_dev_tls

    now = datetime.now(UTC)
    given = Tls(*(path.absolute() for path in pair)) if pair else None
    found = given or ensure_dev_tls(service_folder() / "tls", now)
    found = replace(found, client_ca=client_ca and client_ca.absolute())
    check_tls_files(found, now)
    return found


@click.command()
@click.option(
    "--grpc",
    "address",
    default="127.0.0.1:50051",
    show_default=True,
    metavar="HOST:PORT",
    help="Address for gRPC; port 0 chooses a free port.",
)
@click.option(
    "--rest",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Address for REST over HTTP, or off.",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the service's state, instead of TUNER_HOME or ~/.tuner.",
)
@tls_options
@limit_options
@click.option(
    "--database",
    envvar="TUNER_DATABASE",
    metavar="URL",
    help="postgresql://... instead of SQLite in that folder (or set TUNER_DATABASE).",
)
@click.option(
    "--base-model",
    "pairs",
    multiple=True,
    metavar="NAME=SOURCE",
    help="Add a base model: a folder in Hugging Face's format, a hub name, or builtin:tiny. Repeatable.",
)
@click.option(
    "--service-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="YAML file with more base models; default: service.yaml in the service's folder, if present.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Number of concurrent tunings.",
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between checkpoints of a tuning.",
)
@click.option(
    "--idle-exit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Exit after this time without a call and without a tuning.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Time that running calls get to finish when the service stops.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning"]),
    default="info",
    show_default=True,
    help="debug also logs every poll.",
)
@click.option(
    "--stop",
    is_flag=True,
    help="Stop the running service; its tunings resume when it starts again.",
)
def serve(home: Path | None, log_level: str, *, stop: bool, **options: Any) -> None:
    """Run the tuning service on this machine, until Ctrl-C or `tuner serve --stop`.

    It serves google.ai.generativelanguage.v1beta. Interrupted tunings resume from their last checkpoint.
    """
    use_home(home)
    if stop:
        _stop()
        return
    import sys

    # Do not log failed handshakes of clients; gRPC reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tuner.server import app, telemetry

    settings = _settings(**options)
    telemetry.configure_logging(sys.stderr, log_level)
    app.serve(settings)


def _settings(  # noqa: PLR0913 -- one parameter an option
    *,
    address: str,
    rest: str,
    database: str | None,
    pairs: tuple[str, ...],
    service_file: Path | None,
    workers: int,
    checkpoint_every: float,
    idle_exit: float | None,
    grace: float,
    tls: Callable[[], Tls | None],
    limits: Callable[[], Limits],
) -> Settings:
    from tuner.engine import KNOWN_BASE_MODELS
    from tuner.server.settings import Settings, add_base_models, parse_address, read_service_file

    declared = (
        read_service_file(service_file)
        if (service_file := service_file or _default_service_file())
        else {}
    )
    return Settings(
        grpc=parse_address(address, "--grpc"),
        rest=None if rest == "off" else parse_address(rest, "--rest"),
        base_models=add_base_models({**KNOWN_BASE_MODELS, **declared}, pairs),
        idle_exit_s=idle_exit,
        workers=workers,
        checkpoint_s=checkpoint_every,
        database=database,
        tls=tls(),
        limits=limits(),
        grace_s=grace,
    )


def use_home(home: Path | None) -> None:
    """Set TUNER_HOME for this process and its children."""
    if home is not None:
        os.environ["TUNER_HOME"] = str(home.expanduser().absolute())


def _default_service_file() -> Path | None:
    """Return service.yaml in the service's folder, if it exists."""
    from tuner.home import service_folder

    path = service_folder() / "service.yaml"
    return path if path.exists() else None


def _stop() -> None:
    from tuner.home import service_folder
    from tuner.server import lifecycle

    stopped = lifecycle.stop(service_folder())
    click.echo("stopped" if stopped else f"no service is running in {service_folder()}", err=True)
