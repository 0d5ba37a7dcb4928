"""The command line: one module per group of commands, imported when a command of it is called."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from tuner import __version__

COMMANDS = {
    "run": (
        "tuner.cli.run:run",
        "Tune a model, evaluate it, share it and transfer it, as SPEC says.",
    ),
    "plan": ("tuner.cli.plan:plan", "Show what `tuner run SPEC` would do for each job, and why."),
    "init": ("tuner.cli.init:init", "Create a spec from examples or from another vendor's job."),
    "validate": ("tuner.cli.plan:validate", "Report every error in SPEC and its data."),
    "submit": ("tuner.cli.run:submit", "Submit SPEC and exit; `tuner resume` continues."),
    "resume": ("tuner.cli.run:resume", "Continue unfinished jobs."),
    "retry": ("tuner.cli.run:retry", "Tune failed and cancelled jobs again, and continue them."),
    "status": ("tuner.cli.status:status", "Show the state of every job, from the local store."),
    "watch": ("tuner.cli.status:watch", "Watch tunings until they finish; changes nothing."),
    "cancel": ("tuner.cli.status:cancel", "Cancel tunings."),
    "eval": (
        "tuner.cli.evaluate:evaluate",
        "Evaluate a tuned model and its base model on held-out rows.",
    ),
    "compare": ("tuner.cli.evaluate:compare", "Compare several models on the same held-out rows."),
    "pipeline": ("tuner.cli.pipeline:pipeline", "Validate pipelines and draw their graph."),
    "logs": ("tuner.cli.logs:logs", "Show the events of jobs, from the local log."),
    "verify": (
        "tuner.cli.verify:verify",
        "Check a tuned model, its spec and its data against tuner.lock.",
    ),
    "data": ("tuner.cli.data_commands:data", "Check, fix, split and measure tuning examples."),
    "models": ("tuner.cli.models:models", "List, show, try, update and delete models."),
    "permissions": (
        "tuner.cli.permissions:permissions",
        "List and change who may use a tuned model.",
    ),
    "transfer": ("tuner.cli.permissions:transfer", "Transfer a tuned model to a new owner."),
    "ops": ("tuner.cli.ops:ops", "List, show, wait for and cancel the service's operations."),
    "serve": (
        "tuner.cli.serve:serve",
        "Run the tuning service on this machine, until Ctrl-C or `tuner serve --stop`.",
    ),
    "keys": (
        "tuner.cli.keys:keys",
        "Create, list and revoke API keys of the service on this machine.",
    ),
    "groups": ("tuner.cli.keys:groups", "Create, change and list groups of users."),
    "schema": ("tuner.cli.init:schema", "Print the JSON Schema of a job spec."),
}
"""Each command's location and help, so that ``tuner --help`` imports none of them."""


class LazyGroup(click.Group):
    """A command group that imports a command when it is called, and lists commands in table order."""

    def __init__(self, table: dict[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Return the names, in table order."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's signature
        """Import a command."""
        if cmd_name not in self._table:
            return None
        module, _, name = self._table[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for an unknown one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            path = ctx.command_path
            near = get_close_matches(args[0], self._table, n=1)
            hint = f"did you mean `{path} {near[0]}`?" if near else f"`{path} --help` lists them"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's signature
        """Write the table, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._table.items()])


@click.group(
    cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")
@click.option("-v", "--verbose", is_flag=True, help="Print more, including tracebacks.")
@click.option(
    "--no-color", is_flag=True, envvar="NO_COLOR", help="Disable colours (or set NO_COLOR)."
)
@click.version_option(__version__, prog_name="tuner", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, *, quiet: bool, verbose: bool, no_color: bool) -> None:
    """Tune a model from a YAML job spec, check that it improved, share it and transfer it.

    Start with `tuner run configs/quickstart.yaml`; it needs no account.

    Exit codes: 0 ok, 1 job failed, 2 invalid spec, data or command line, 3 gate not met, 4 permission
    denied, 5 target unavailable, 6 not finished, 7 cancelled, 130 detached.
    """
    ctx.obj = {"quiet": quiet, "verbose": verbose}
    if no_color:
        ctx.color = False
