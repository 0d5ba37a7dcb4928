"""The group ``tuner data``, whose commands are imported when they are called."""

from __future__ import annotations

import click

from tuner.cli import LazyGroup

COMMANDS = {
    "check": ("tuner.cli.data_check:check", "Report every error in examples."),
    "split": (
        "tuner.cli.data_export:split",
        "Split rows into a training file and a held-out file.",
    ),
    "fix": (
        "tuner.cli.data_fix:fix",
        "Write a cleaned copy of a CSV or JSON Lines file, and report the change of each row.",
    ),
    "dedupe": ("tuner.cli.data_export:dedupe", "Write a copy without duplicate rows."),
    "convert": ("tuner.cli.data_export:convert", "Convert examples to another format."),
    "stats": ("tuner.cli.data_stats:stats", "Show the lengths and outputs of examples."),
    "preview": (
        "tuner.cli.data_preview:preview",
        "Show examples exactly as the model will see them.",
    ),
    "rules": ("tuner.cli.data_check:rules", "List the rules that examples are checked for."),
    "tokens": (
        "tuner.cli.data_tokens:tokens",
        "Show the tokens, steps, time and price of a tuning.",
    ),
}
"""Each command's location and help."""


@click.group(cls=LazyGroup, table=COMMANDS)
def data() -> None:
    """Check, fix, split and measure tuning examples.

    FILE is a data file in any format a job accepts, or a job spec, whose training_data, instruction and
    target are used unless an option overrides them. No input is ever changed.
    """
