"""data tokens: how many tokens a tuning takes, how many steps, and how long or what price."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tuner.cli.data.given import data_options
from tuner.cli.options import output_option, target_options

if TYPE_CHECKING:
    from tuner.cli.data.given import Given
    from tuner.types import TargetConfig


@click.command()
@data_options
@click.option("--model", default="", metavar="MODEL", help="To be tuned: models/ID, or the ID.")
@click.option(
    "--epochs", type=click.IntRange(1), help="Passes over the rows; else the spec's, or 5."
)
@click.option(
    "--batch-size", type=click.IntRange(1), help="Rows a step; else the spec's, or 4 or 16."
)
@click.option(
    "--prices",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="What a million training tokens cost, by model; docs/prices.yaml is an example.",
)
@click.option(
    "--all", "every", is_flag=True, help="Ask the service for every row, not for a sample."
)
@click.option("--no-time", is_flag=True, help="Do not measure how fast this machine tunes.")
@click.option("--again", is_flag=True, help="Measure it again, in place of what is remembered.")
@target_options
@output_option
def tokens(  # noqa: PLR0913 -- what for, and how
    given: Given,
    *,
    config: TargetConfig,
    model: str,
    epochs: int | None,
    batch_size: int | None,
    prices: Path | None,
    every: bool,
    no_time: bool,
    again: bool,
    output: str,
) -> None:
    """Say how many tokens and steps a tuning takes, and how long or what price.

    Rows that are held out are not counted. The tokenizer on this machine counts, or else the
    service: then a sample of rows, and what it tells of all with the error that 95 of 100 such
    samples keep to. The time on this machine is measured with some real steps, at most some 15
    seconds, and remembered in TUNER_HOME.
    """
    from tuner.cli.data import needs
    from tuner.cli.data.needed import record, show_needs
    from tuner.cli.data.prices import read_price
    from tuner.cli.show import show

    job = needs.job_of(given, _config(given, config), model, epochs, batch_size)
    price = read_price(prices, job.model) if prices else None
    found = needs.counted(job, every=every)._replace(price=price)
    if job.counter and not no_time:
        found = needs.timed(found, again=again)
    if output == "table":
        show_needs(found)
    else:
        show(record(found), output)


def _config(given: Given, config: TargetConfig) -> TargetConfig:
    """The options', or the spec's where nothing was said."""
    source = click.get_current_context().get_parameter_source("kind")
    is_said = source is click.core.ParameterSource.COMMANDLINE or config.endpoint
    spec = given.draft.spec if given.draft else None
    return config if is_said or not spec else spec.target
