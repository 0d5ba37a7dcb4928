"""The command line: one file a group of commands, loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from tuner import __version__

COMMANDS = {
    "run": ("tuner.cli.run:run", "Tune, evaluate, share and hand over what SPEC asks for."),
    "plan": ("tuner.cli.plan:plan", "Say what `tuner run SPEC` would do about each job, and why."),
    "init": (
        "tuner.cli.init:init",
        "Write a first spec, from examples or from another vendor's job.",
    ),
    "validate": (
        "tuner.cli.plan:validate",
        "Say everything that is wrong with SPEC and its data.",
    ),
    "submit": ("tuner.cli.run:submit", "Submit SPEC and leave; `tuner resume` goes on."),
    "resume": ("tuner.cli.run:resume", "Go on with unfinished jobs, from the ledger."),
    "retry": (
        "tuner.cli.run:retry",
        "Tune again what failed or was cancelled, and go on from there.",
    ),
    "status": ("tuner.cli.status:status", "Show where every job stands, from the ledger alone."),
    "watch": ("tuner.cli.status:watch", "Follow tunings until they are finished; changes nothing."),
    "cancel": ("tuner.cli.status:cancel", "Cancel tunings."),
    "eval": (
        "tuner.cli.evaluate:evaluate",
        "Ask a tuned model and its base the held-out rows, and score what they answer.",
    ),
    "compare": ("tuner.cli.evaluate:compare", "Ask several models the same held-out rows."),
    "pipeline": ("tuner.cli.pipeline:pipeline", "Check and draw pipelines."),
    "logs": (
        "tuner.cli.logs:logs",
        "Show what happened to jobs, from the log on this disk.",
    ),
    "verify": (
        "tuner.cli.verify:verify",
        "Hold a tuned model, its spec and its data against tuner.lock.",
    ),
    "data": ("tuner.cli.data_commands:data", "Check, mend, part and measure tuning examples."),
    "models": ("tuner.cli.models:models", "List, look at, try, change and delete models."),
    "permissions": (
        "tuner.cli.permissions:permissions",
        "See and change who may use a tuned model.",
    ),
    "transfer": ("tuner.cli.permissions:transfer", "Hand a tuned model over to a new owner."),
    "ops": ("tuner.cli.ops:ops", "List, look at and cancel the service's operations."),
    "serve": (
        "tuner.cli.serve:serve",
        "Run the tuning service on this machine, until Ctrl-C or `tuner serve --stop`.",
    ),
    "keys": (
        "tuner.cli.keys:keys",
        "Make, list and revoke the API keys of the service on this machine.",
    ),
    "groups": (
        "tuner.cli.groups:groups",
        "Make, change and list groups of people.",
    ),
    "schema": ("tuner.cli.init:schema", "Print the JSON Schema of a job spec."),
}
"""Name: where the command is, and its help, so that ``tuner --help`` loads none of them."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, listed in the table's order."""

    def __init__(self, table: dict[str, tuple[str, str]], **attributes: Any) -> None:
        """``table`` is as ``COMMANDS``."""
        super().__init__(**attributes)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """The names, in reading order."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's signature
        """Import one command."""
        if cmd_name not in self._table:
            return None
        module, _, name = self._table[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is no such one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            me = ctx.command_path
            near = get_close_matches(args[0], self._table, n=1)
            hint = f"did you mean `{me} {near[0]}`?" if near else f"`{me} --help` lists them"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's signature
        """The table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._table.items()])


@click.group(
    cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("-q", "--quiet", is_flag=True, help="Show results and errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Show more, and tracebacks.")
@click.option(
    "--no-color", is_flag=True, envvar="NO_COLOR", help="No colours; NO_COLOR says the same."
)
@click.version_option(__version__, prog_name="tuner", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, *, quiet: bool, verbose: bool, no_color: bool) -> None:
    """Tune a model from a YAML job spec, see that it got better, share it, hand it over.

    Start with `tuner run configs/quickstart.yaml`: it needs no account.

    Exit codes: 0 ok, 1 a job failed, 2 spec, data or command line wrong, 3 gate not met, 4 not allowed,
    5 target unavailable, 6 not finished, 7 cancelled, 130 detached.
    """
    ctx.obj = {"quiet": quiet, "verbose": verbose}
    if no_color:
        ctx.color = False
