"""Which model a stage tunes further, once the winner it waits for is in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.jobs.ledger import pipelines
from tuner.jobspec.prepared_job import with_source

if TYPE_CHECKING:
    from collections.abc import Collection

    from tuner.jobs.ledger import Ledger
    from tuner.jobs.planning.asked import Asked


def resolved(asked: Asked, grouping: Collection[str], ledger: Ledger) -> Asked | None:
    """The stage with the model that won in its source, as the ledger has it; None for not yet.

    Args:
        asked: A stage that waits for the winner of a grouping.
        grouping: The names of that grouping's stages.
        ledger: Read only.
    """
    known = pipelines.members(ledger.store, asked.pipeline)
    stages = [known[name] for name in grouping if name in known]
    won = [each for each in stages if each.state == "won"]
    if len(stages) == 1:
        won = stages
    if len(won) != 1 or not won[0].tuned_model:
        return None
    return asked._replace(work=with_source(asked.work, won[0].tuned_model), source="")
