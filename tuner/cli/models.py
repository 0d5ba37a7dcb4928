"""models: list, look at, try, change, delete and fetch models."""

from __future__ import annotations

import sys
from copy import copy
from typing import TYPE_CHECKING

import click

from tuner.cli.options import confirm, output_option, target_options, yes_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.targets import Target
    from tuner.types import Answer, GenerationConfig, Model, TargetConfig, TunedModel

MODEL = click.argument("model")
PROBABILITY = click.FloatRange(0, 1)


@click.group()
def models() -> None:
    """List, look at, try, change and delete models.

    MODEL is a full name (models/ID, tunedModels/ID) or the id alone.
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
    from tuner.cli.asking import ask
    from tuner.cli.records import model_record, model_row
    from tuner.cli.show import show

    found = ask(config, lambda target: _listed(target, "tuned" if query else only, query))
    if output != "table":
        show([model_record(each) for each in found], output)
    elif found:
        show([model_row(each) for each in found], output)
    else:
        click.echo("there are none", err=True)


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
    from tuner.cli.asking import ask, find_model
    from tuner.cli.records import model_record
    from tuner.cli.show import show

    show(model_record(ask(config, lambda target: find_model(target, model))), output)


@models.command()
@MODEL
@click.argument("prompt", required=False)
@click.option("--max-output-tokens", type=click.IntRange(1), help="Stop after so many tokens.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 is greedy.")
@click.option("--top-p", type=PROBABILITY, help="Sample from the likeliest tokens that add to P.")
@click.option("--top-k", type=click.IntRange(1), help="Sample from the K likeliest tokens.")
@click.option("--seed", type=int, help="The same seed gives the same answer.")
@target_options
@output_option
def generate(
    config: TargetConfig, model: str, prompt: str | None, output: str, **sampling: float | None
) -> None:
    """Answer PROMPT, word by word as it comes.

    Without PROMPT, or with -, stdin is the prompt.
    """
    from tuner.cli.asking import ask
    from tuner.cli.records import answer_record
    from tuner.cli.show import show
    from tuner.types import GenerationConfig

    chosen = GenerationConfig(**sampling)  # type: ignore[arg-type] # click has checked each
    text = _prompt(prompt)
    if output == "table":
        ask(config, lambda target: _stream(target, model, text, chosen))
        return
    show(answer_record(ask(config, lambda target: _answer(target, model, text, chosen))), output)


def _prompt(argument: str | None) -> str:
    """The argument, or all of stdin without the line break that ends it."""
    if argument is not None and argument != "-":
        return argument
    if sys.stdin.isatty():
        click.echo("type the prompt, then Ctrl-D:", err=True)
    try:
        text = sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is no {error.encoding} text: {error.reason}") from error
    if not text:
        raise click.UsageError("the prompt is empty: give it as an argument or on stdin")
    return text


async def _stream(target: Target, model: str, prompt: str, config: GenerationConfig) -> None:
    from tuner.cli.asking import find_model

    name = (await find_model(target, model)).name
    reason = ""
    async for piece in target.stream(name, prompt, config):
        click.echo(piece.text, nl=False)
        reason = piece.finish_reason or reason
    click.echo()
    if reason not in ("", "STOP"):
        click.echo(f"(ended early: {reason})", err=True)


async def _answer(target: Target, model: str, prompt: str, config: GenerationConfig) -> Answer:
    from tuner.cli.asking import find_model

    return await target.generate((await find_model(target, model)).name, prompt, config)


@models.command()
@MODEL
@click.option("--display-name", help="At most 40 characters.")
@click.option("--description")
@click.option("--temperature", type=PROBABILITY, help="Used when a request names none.")
@click.option("--top-p", type=PROBABILITY, help="Used when a request names none.")
@click.option("--top-k", type=click.IntRange(1), help="Used when a request names none.")
@target_options
@output_option
def update(config: TargetConfig, model: str, output: str, **fields: str | float | None) -> None:
    """Change a tuned model's name or sampling defaults."""
    from tuner.cli.asking import ask, find_tuned_model
    from tuner.cli.records import model_record
    from tuner.cli.show import show

    changes = {name: value for name, value in fields.items() if value is not None}
    if not changes:
        raise click.UsageError("nothing to change: name at least one of the options")

    async def changed(target: Target) -> TunedModel:
        return await target.update((await find_tuned_model(target, model)).name, changes)

    show(model_record(ask(config, changed)), output)


@models.command()
@click.argument("model", nargs=-1, required=True)
@yes_option
@target_options
def delete(config: TargetConfig, model: Sequence[str], *, yes: bool) -> None:
    """Delete tuned models for good.

    One that is tuning is cancelled first.
    """
    from tuner.cli.asking import ask, find_tuned_model
    from tuner.jobs.records.audit import by_hand

    async def found(target: Target) -> list[str]:
        return [(await find_tuned_model(target, each)).name for each in model]

    async def deleted(target: Target) -> None:
        for name in names:
            with by_hand(config, target, name, "delete", name):
                await target.delete(name)
            click.echo(f"deleted {name}")

    names = list(dict.fromkeys(ask(config, found)))
    confirm(f"Delete {', '.join(names)} for good?", yes=yes)
    ask(config, deleted)


@models.command("pull")
@click.argument("name")
@click.pass_context
def pull_(ctx: click.Context, name: str) -> None:
    """Fetch and convert a base model now.

    The local target does so by itself at the model's first use. NAME is models/ID, or the ID
    alone. Prints the folder of the converted model.
    """
    from tuner.cli.pull import pull

    click.echo(pull(name, quiet=bool(ctx.obj and ctx.obj["quiet"])))


for _alias, _command in (("ls", list_), ("rm", delete)):
    _hidden = copy(_command)
    _hidden.hidden = True
    models.add_command(_hidden, _alias)
