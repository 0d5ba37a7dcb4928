"""Options of `tuner serve` that belong together: TLS, and what one caller may ask for."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner.server.access.limits import Limits
    from tuner.server.access.tls import Tls

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

    return _with(_TLS, configured)  # type: ignore[no-any-return] # click keeps the callable


def limit_options(command: F) -> F:
    """Add the limits; the command gets ``limits``, to be called once."""

    @wraps(command)
    def configured(
        *args: Any, max_message_mb: int, max_in_flight: int, max_queued: int, **rest: Any
    ) -> Any:
        def limits() -> Limits:
            from tuner.server.access.limits import MEBIBYTE, Limits

            return Limits(max_message_mb * MEBIBYTE, max_in_flight, max_queued)

        return command(*args, limits=limits, **rest)

    return _with(_LIMITS, configured)  # type: ignore[no-any-return] # as above


def _with(options: tuple[Callable[..., Any], ...], command: Callable[..., Any]) -> Any:
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
    from tuner.server.access import certificates, dev_tls
    from tuner.server.access.tls import Tls

    now = datetime.now(UTC)
    made = Tls(*(path.absolute() for path in pair)) if pair else None
    found = made or dev_tls.ensure(service_folder() / "tls", now)
    found = replace(found, client_ca=client_ca and client_ca.absolute())
    certificates.check(found, now)
    return found
