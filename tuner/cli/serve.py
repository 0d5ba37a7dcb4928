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
        help="Speak TLS with this certificate and key, both PEM; renewed files are noticed.",
    ),
    click.option(
        "--dev-tls",
        is_flag=True,
        help="Speak TLS as localhost, with an authority made in the service's folder.",
    ),
    click.option(
        "--client-ca",
        type=_FILE,
        metavar="CA",
        help="Let in only who shows a certificate of this authority; the key still says who it is.",
    ),
)
_LIMITS = (
    click.option(
        "--max-message-mb",
        type=click.IntRange(1, 1024),
        default=64,
        show_default=True,
        help="Mebibytes of one request.",
    ),
    click.option(
        "--max-in-flight",
        type=click.IntRange(1),
        default=256,
        show_default=True,
        help="Calls of one key at a time.",
    ),
    click.option(
        "--max-queued",
        type=click.IntRange(1),
        default=1000,
        show_default=True,
        help="Tunings of one key that wait or run.",
    ),
)


def tls_options(command: F) -> F:
    """Add ``--tls``, ``--dev-tls``, ``--client-ca``; the command gets ``tls``, to be called once."""

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
    """Add the limits; the command gets ``limits``, to be called once."""

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
    """The files to use, made where they are ours to make, and checked. Raises InvalidInput."""
    if pair and dev:
        raise click.UsageError("--tls and --dev-tls exclude each other: keep one of them")
    if client_ca and not (pair or dev):
        raise click.UsageError("--client-ca goes with --tls CERT KEY or --dev-tls")
    if not (pair or dev):
        return None
    from dataclasses import replace
    from datetime import UTC, datetime

    from tuner.home import service_folder
    from tuner.server.tls import Tls, check_tls_files, ensure_dev_tls

    now = datetime.now(UTC)
    made = Tls(*(path.absolute() for path in pair)) if pair else None
    found = made or ensure_dev_tls(service_folder() / "tls", now)
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
    help="Where to listen for gRPC; port 0 takes a free one.",
)
@click.option(
    "--rest",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen for HTTP; off does not.",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the state is, in place of TUNER_HOME or ~/.tuner.",
)
@tls_options
@limit_options
@click.option(
    "--database",
    envvar="TUNER_DATABASE",
    metavar="URL",
    help="postgresql://..., in place of SQLite in that folder; TUNER_DATABASE says the same.",
)
@click.option(
    "--base-model",
    "pairs",
    multiple=True,
    metavar="NAME=SOURCE",
    help="Offer one more model: a folder or hub name of Hugging Face, builtin:tiny. Repeatable.",
)
@click.option(
    "--service-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="YAML that declares more base models; service.yaml in the service's folder unless named.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Tunings at a time.",
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="How much of a tuning a kill may cost.",
)
@click.option(
    "--idle-exit",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Leave after so long without a call and without a tuning.",
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long calls in flight may go on when the service stops.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning"]),
    default="info",
    show_default=True,
    help="debug also logs every poll.",
)
@click.option("--stop", is_flag=True, help="End the service of this home; tunings go on later.")
def serve(home: Path | None, log_level: str, *, stop: bool, **asked: Any) -> None:
    """Run the tuning service on this machine, until Ctrl-C or `tuner serve --stop`.

    It speaks google.ai.generativelanguage.v1beta. Tunings that were cut off go on from their
    last checkpoint.
    """
    use_home(home)
    if stop:
        _stop()
        return
    import sys

    # Strangers' broken handshakes are no log lines of ours; gRPC reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from tuner.server import app, telemetry

    settings = _settings(**asked)
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
    from tuner.server.settings import (
        Settings,
        add_base_models,
        parse_address,
        read_service_file,
    )

    declared = (
        read_service_file(service_file) if (service_file := service_file or _own_file()) else {}
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
    """Make ``home`` the home of this process and its children."""
    if home is not None:
        os.environ["TUNER_HOME"] = str(home.expanduser().absolute())


def _own_file() -> Path | None:
    """The file that a service started on demand reads too."""
    from tuner.home import service_folder

    path = service_folder() / "service.yaml"
    return path if path.exists() else None


def _stop() -> None:
    from tuner.home import service_folder
    from tuner.server import lifecycle

    stopped = lifecycle.stop(service_folder())
    click.echo("stopped" if stopped else f"no service runs in {service_folder()}", err=True)
