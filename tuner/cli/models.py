"""`tuner models`: list, show, try, update, delete and fetch models."""

from __future__ import annotations

import sys
from copy import copy
from typing import TYPE_CHECKING

import click

from tuner.cli.options import confirm, output_option, target_options, yes_option
from tuner.errors import RequestRefused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tuner.targets import Target
    from tuner.types import Answer, GenerationConfig, Model, TargetConfig, TunedModel

MODEL = click.argument("model")
PROBABILITY = click.FloatRange(0, 1)


@click.group()
def models() -> None:
    """List, show, try, update and delete models.

    MODEL is a full name (models/ID, tunedModels/ID) or the ID alone.
    """


@models.command("list")
@click.option("--base", "only", flag_value="base", help="Base models only.")
@click.option("--tuned", "only", flag_value="tuned", help="Tuned models only.")
@click.option(
    "--filter",
    "query",
    default="",
    metavar="TEXT",
    help="Tuned models only, with this text in their display name or description; also "
    "owner:me, writers:me, readers:me, readers:everyone.",
)
@target_options
@output_option
def list_(config: TargetConfig, only: str | None, query: str, output: str) -> None:
    """List base models and the tuned models you may see."""
    from tuner.cli.output import show
    from tuner.cli.target_calls import call, model_record, model_row

    found = call(config, lambda target: _listed(target, "tuned" if query else only, query))
    if output != "table":
        show([model_record(each) for each in found], output)
    elif found:
        show([model_row(each) for each in found], output)
    else:
        click.echo("no models", err=True)


async def _listed(target: Target, only: str | None, query: str) -> list[Model | TunedModel]:
    base = [] if only == "tuned" else await target.models()
    tuned = [] if only == "base" else await target.tuned_models(query)
    return [*base, *tuned]


@models.command()
@MODEL
@target_options
@output_option
def get(config: TargetConfig, model: str, output: str) -> None:
    """Show one base or tuned model."""
    from tuner.cli.output import show
    from tuner.cli.target_calls import call, find_model, model_record

    show(model_record(call(config, lambda target: find_model(target, model))), output)


@models.command()
@MODEL
@click.argument("prompt", required=False)
@click.option("--max-output-tokens", type=click.IntRange(1), help="Maximum tokens of the answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 is greedy.")
@click.option(
    "--top-p",
    type=PROBABILITY,
    help="Sample from the most likely tokens with a total probability of P.",
)
@click.option("--top-k", type=click.IntRange(1), help="Sample from the K most likely tokens.")
@click.option("--seed", type=int, help="Equal seeds give equal answers.")
@target_options
@output_option
def generate(
    config: TargetConfig, model: str, prompt: str | None, output: str, **sampling: float | None
) -> None:
    """Answer PROMPT, streamed as it is generated.

    Without PROMPT, or with -, the prompt is read from stdin.
    """
    from tuner.cli.output import show
    from tuner.cli.target_calls import answer_record, call
    from tuner.types import GenerationConfig

    chosen = GenerationConfig(**sampling)  # type: ignore[arg-type] # click has checked each
    text = _prompt(prompt)
    if output == "table":
        call(config, lambda target: _stream(target, model, text, chosen))
        return
    show(answer_record(call(config, lambda target: _answer(target, model, text, chosen))), output)


def _prompt(argument: str | None) -> str:
    """Return the argument, or stdin without its final line break."""
    if argument is not None and argument != "-":
        return argument
    if sys.stdin.isatty():
        click.echo("type the prompt, then Ctrl-D:", err=True)
    try:
        text = sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not {error.encoding} text: {error.reason}") from error
    if not text:
        raise click.UsageError("the prompt is empty: give it as an argument or on stdin")
    return text


async def _stream(target: Target, model: str, prompt: str, config: GenerationConfig) -> None:
    from tuner.cli.target_calls import find_model

    name = (await find_model(target, model)).name
    reason = ""
    async for piece in target.stream(name, prompt, config):
        click.echo(piece.text, nl=False)
        reason = piece.finish_reason or reason
    click.echo()
    if reason not in ("", "STOP"):
        click.echo(f"(ended early: {reason})", err=True)


async def _answer(target: Target, model: str, prompt: str, config: GenerationConfig) -> Answer:
    from tuner.cli.target_calls import find_model

    return await target.generate((await find_model(target, model)).name, prompt, config)


@models.command()
@MODEL
@click.option("--display-name", help="At most 40 characters.")
@click.option("--description")
@click.option("--temperature", type=PROBABILITY, help="Default for requests without one.")
@click.option("--top-p", type=PROBABILITY, help="Default for requests without one.")
@click.option("--top-k", type=click.IntRange(1), help="Default for requests without one.")
@target_options
@output_option
def update(config: TargetConfig, model: str, output: str, **fields: str | float | None) -> None:
    """Change a tuned model's display name or sampling defaults."""
    from tuner.cli.output import show
    from tuner.cli.target_calls import call, find_tuned_model, model_record

    changes = {name: value for name, value in fields.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to change: give at least one option")

    async def changed(target: Target) -> TunedModel:
        return await target.update((await find_tuned_model(target, model)).name, changes)

    show(model_record(call(config, changed)), output)


@models.command()
@click.argument("model", nargs=-1, required=True)
@yes_option
@target_options
def delete(config: TargetConfig, model: Sequence[str], *, yes: bool) -> None:
    """Delete tuned models.

    This cannot be undone. A running tuning is cancelled first.
    """
    from tuner.cli.target_calls import call, find_tuned_model
    from tuner.jobs.audit_log import audited_by_hand

    async def found(target: Target) -> list[str]:
        return [(await find_tuned_model(target, each)).name for each in model]

    async def deleted(target: Target) -> None:
        for name in names:
            with audited_by_hand(config, target, name, "delete", name):
                await target.delete(name)
            click.echo(f"deleted {name}")

    names = list(dict.fromkeys(call(config, found)))
    confirm(f"Delete {', '.join(names)}? This cannot be undone.", yes=yes)
    call(config, deleted)


@models.command("pull")
@click.argument("name")
@click.pass_context
def pull_(ctx: click.Context, name: str) -> None:
    """Fetch and convert a base model now, and print its folder.

    The local target does this automatically at the model's first use. NAME is models/ID or the ID alone.
    """
    click.echo(pull(name, quiet=bool(ctx.obj and ctx.obj["quiet"])))


for _alias, _command in (("ls", list_), ("rm", delete)):
    _hidden = copy(_command)
    _hidden.hidden = True
    models.add_command(_hidden, _alias)


def pull_missing(names: Iterable[str], *, quiet: bool = False) -> None:
    """Fetch the known base models that are not on this machine yet, with a progress bar.

    Raises:
        Unavailable: A model cannot be fetched or stored now.
    """
    from tuner.engine import KNOWN_BASE_MODELS, base_models
    from tuner.home import models_folder

    for name in names:
        model = KNOWN_BASE_MODELS.get(name)
        if model and not base_models.is_fetched(model, models_folder()):
            pull(name, quiet=quiet)


def pull(name: str, *, quiet: bool = False) -> Path:
    """Fetch and convert a base model, with a progress bar on stderr.

    Args:
        name: ``models/ID`` or the ID alone, of ``tuner.engine.KNOWN_BASE_MODELS``.
        quiet: Show no progress bar.

    Returns:
        The model's folder, in Hugging Face's format.

    Raises:
        RequestRefused: The model is unknown, or the extra ``local`` is not installed.
        Unavailable: The model cannot be fetched or stored now.
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
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

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
