"""The group ``tuner data``, whose commands are imported when they are called."""

from __future__ import annotations

import click

from tuner.cli import LazyGroup

COMMANDS = {
    "check": ("tuner.cli.data_check:check", "Say everything that is wrong with examples."),
    "split": (
        "tuner.cli.data_export:split",
        "Write rows to tune on and rows to evaluate with to two files.",
    ),
    "fix": (
        "tuner.cli.data_fix:fix",
        "Write a cleaned copy of a CSV or JSON Lines file, and say what was done to each row.",
    ),
    "dedupe": (
        "tuner.cli.data_export:dedupe",
        "Write a copy without the rows that only repeat another.",
    ),
    "convert": (
        "tuner.cli.data_export:convert",
        "Write examples of any format as a file of another.",
    ),
    "stats": (
        "tuner.cli.data_stats:stats",
        "Show how long examples are, and what their outputs are.",
    ),
    "preview": (
        "tuner.cli.data_preview:preview",
        "Show examples exactly as the model will see them.",
    ),
    "rules": ("tuner.cli.data_check:rules", "List what examples are checked for."),
    "tokens": (
        "tuner.cli.data_tokens:tokens",
        "Say how many tokens and steps a tuning takes, and how long or what price.",
    ),
}
"""Each command's location and help."""


@click.group(cls=LazyGroup, table=COMMANDS)
def data() -> None:
    """Check, fix, split and measure tuning examples.

    FILE is a data file in any format a job accepts, or a job spec, whose training_data, instruction and
    target are used unless an option overrides them. No input is ever changed.
    """
