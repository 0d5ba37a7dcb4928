"""`tuner ops`: the service's long-running operations."""

from __future__ import annotations

import asyncio
import time
from copy import copy
from typing import TYPE_CHECKING

import click

from tuner.cli.options import output_option, target_options
from tuner.errors import Cancelled, NotFinished, NotFound, RequestRefused, TuningFailed
from tuner.targets.retry import jittered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.targets import Target
    from tuner.types import Operation, TargetConfig

ALL_MODELS = "tunedModels/-"
POLL_S = 2.0
OPERATION = click.argument("operation", metavar="OPERATION|MODEL")


@click.group()
def ops() -> None:
    """List, show, wait for and cancel the service's operations.

    A tuned model in place of OPERATION means its newest operation.
    """


@ops.command("list")
@click.argument("model", required=False)
@target_options
@output_option
def list_(config: TargetConfig, model: str | None, output: str) -> None:
    """List operations, the newest first.

    Those of MODEL, or of every tuned model you may see.
    """
    from tuner.cli.output import show
    from tuner.cli.target_calls import call, operation_record

    found = call(config, lambda target: _listed(target, model))
    if found or output != "table":
        show([operation_record(each) for each in found], output)
    else:
        click.echo("no operations", err=True)


async def _listed(target: Target, model: str | None) -> Sequence[Operation]:
    """List in one call if the service accepts a wildcard, else one call per model."""
    from tuner.cli.target_calls import find_tuned_model

    if model:
        return await target.operations((await find_tuned_model(target, model)).name)
    try:
        return await target.operations(ALL_MODELS)
    except RequestRefused:
        names = [each.name for each in await target.tuned_models()]
        return [each for name in names for each in await target.operations(name)]


@ops.command()
@OPERATION
@target_options
@output_option
def get(config: TargetConfig, operation: str, output: str) -> None:
    """Show an operation and its progress."""
    from tuner.cli.output import show
    from tuner.cli.target_calls import call, operation_record

    show(operation_record(call(config, lambda target: find_operation(target, operation))), output)


@ops.command()
@OPERATION
@target_options
def cancel(config: TargetConfig, operation: str) -> None:
    """Request the cancellation of an operation."""
    from tuner.cli.target_calls import call

    click.echo(call(config, lambda target: _cancelled(target, operation)), err=True)


async def _cancelled(target: Target, text: str) -> str:
    from tuner.cli.target_calls import operation_status

    found = await find_operation(target, text)
    if found.done:
        return f"nothing to do: {found.name} has {operation_status(found)} already"
    await target.cancel(found.name)
    return (
        f"cancellation of {found.name} requested; `tuner ops wait {found.name}` waits for its end"
    )


@ops.command()
@OPERATION
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), metavar="SECONDS")
@target_options
@output_option
def wait(config: TargetConfig, operation: str, timeout_s: float | None, output: str) -> None:
    """Wait until an operation ends.

    Exit codes: 0 succeeded, 1 failed, 7 cancelled, 6 not finished within --timeout.
    """
    from tuner.cli.output import show
    from tuner.cli.target_calls import call, operation_record

    ended = call(config, lambda target: _ended(target, operation, timeout_s))
    show(operation_record(ended), output)
    if ended.error:
        raise (Cancelled if ended.cancelled else TuningFailed)(f"{ended.name}: {ended.error}")


async def _ended(target: Target, text: str, timeout_s: float | None) -> Operation:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    found = await find_operation(target, text)
    while not found.done:
        if deadline is not None and time.monotonic() > deadline:
            raise NotFinished(
                f"{found.name} is still running", "wait again; the operation continues"
            )
        await asyncio.sleep(jittered(POLL_S))
        found = await target.operation(found.name)
    return found


async def find_operation(target: Target, text: str) -> Operation:
    """Return the operation with this name, or the newest of this tuned model. Raises NotFound."""
    from tuner.cli.target_calls import find_tuned_model

    if "/operations/" in text:
        return await target.operation(text)
    name = (await find_tuned_model(target, text)).name
    found = await target.operations(name)
    if not found:
        raise NotFound(f"{name} has no operation", f"`tuner models get {name}` shows its state")
    return found[0]


_hidden = copy(list_)
_hidden.hidden = True
ops.add_command(_hidden, "ls")
