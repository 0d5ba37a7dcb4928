"""Options shared by many commands, as decorators."""

from __future__ import annotations

import sys
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tuner.types import TargetConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS = ("table", "json", "jsonl", "yaml")
TARGETS = ("local", "gemini")  # a test compares it with tuner.targets.TARGETS, whose import is slow
_JSON = "tuner.cli.options.json"


def set_option(
    example: str = "hyperparameters.epoch_count=3", of: str = "spec"
) -> Callable[[F], F]:
    """Add ``--set KEY=VALUE``; the command gets ``overrides``."""
    text = f"Set a key of the {of}, e.g. {example}. Repeatable."
    return click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=text)


def output_option(command: F) -> F:
    """Add ``-o table|json|jsonl|yaml`` and ``--json``; the command gets ``output``."""
    return output_among(OUTPUTS)(command)


def output_among(outputs: Sequence[str]) -> Callable[[F], F]:
    """Like ``output_option``, with other formats."""
    choose = click.option(
        "-o",
        "--output",
        type=click.Choice(outputs),
        callback=_output_format,
        help="Format of the result; default: table.",
    )
    return lambda command: choose(_json_flag(command))


def target_options(command: F) -> F:
    """Add the options of a target; the command gets one TargetConfig, ``config``."""

    @wraps(command)
    def configured(*args: Any, **options: Any) -> Any:
        fields: dict[str, Any] = {name: options.pop(name) or "" for name, _, _ in _TARGET_FIELDS}
        config = TargetConfig(options.pop("kind"), **fields)
        return command(*args, config=config, **options)

    for name, metavar, text in reversed(_TARGET_FIELDS):
        flag = f"--{name.replace('_', '-')}"
        configured = click.option(flag, name, metavar=metavar, help=text)(configured)
    return _TARGET(configured)  # type: ignore[return-value] # click's decorators keep the callable


_TARGET = click.option(
    "--target",
    "kind",
    type=click.Choice(TARGETS),
    default="local",
    envvar="TUNER_TARGET",
    show_default=True,
    show_envvar=True,
    help="The service to use.",
)
_TARGET_FIELDS = (
    ("endpoint", "HOST:PORT", "Address, instead of the target's default."),
    ("credentials_file", "FILE", "A service account or authorized-user JSON file."),
    ("api_key_env", "NAME", "The environment variable that holds the API key."),
    ("quota_project", "PROJECT", "The project that calls are billed to."),
    ("impersonate", "ACCOUNT", "A service account to impersonate."),
)

yes_option = click.option("-y", "--yes", is_flag=True, help="Skip the confirmation prompt.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation on a terminal, unless ``yes``.

    Raises:
        click.Abort: The answer was no.
        click.UsageError: Standard input is not a terminal, and ``yes`` is False.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Standard input is not a terminal: add -y to confirm")
    click.confirm(question, abort=True, err=True)


def _json_flag(command: F) -> F:
    return click.option(
        "--json",
        is_flag=True,
        is_eager=True,  # processed before -o
        expose_value=False,
        callback=_store_json_flag,
        help="Same as -o json.",
    )(command)


def _store_json_flag(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_JSON] = value


def _output_format(ctx: click.Context, _: click.Parameter, value: str | None) -> str:
    if value not in (None, "json") and ctx.meta.get(_JSON):
        raise click.UsageError(f"--json and -o {value} are mutually exclusive", ctx)
    return value or ("json" if ctx.meta.get(_JSON) else "table")


def timeout_option(command: F) -> F:
    """Add ``--timeout TIME``; the command gets ``timeout_s``, seconds or None."""
    return click.option(
        "--timeout",
        "timeout_s",
        metavar="TIME",
        callback=_seconds,
        help="Stop waiting after this time (90s, 20m, 2h30m) with exit code 6; the job continues.",
    )(command)


def _seconds(ctx: click.Context, _: click.Parameter, value: str | None) -> float | None:
    from tuner.jobspec.rules import parse_duration

    if value is None:
        return None
    if not parse_duration(value):
        raise click.UsageError(f"--timeout {value}: write a time such as 90s, 20m or 2h30m", ctx)
    return parse_duration(value)
