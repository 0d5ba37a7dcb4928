"""What must be written down of a gate that was overruled: by whom, in the ledger and in the audit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tuner.jobs.audit_log import user_at_host
from tuner.types import Phase

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.stories import Story
    from tests.crash.storm import Storm
    from tuner.job import Job

FORCED = f"forced by --force-share by {user_at_host()}: "


def unsigned(story: Story, jobs: list[Job]) -> list[str]:
    """What the ledger says is done though it missed its gate, without who overruled that."""
    done = {job.tuned_model: job.allowed for job in jobs if job.phase is Phase.DONE}
    nameless = [model for model, why in done.items() if not why.startswith(FORCED)]
    found = sorted(story.unworthy().intersection(nameless))
    return [f"the ledger has no name for why {model} was given away" for model in found]


def unaudited(storm: Storm, file: Path) -> list[str]:
    """What was given away though it missed its gate, and has no line that says who overruled that."""
    lines = map(json.loads, file.read_text().splitlines() if file.exists() else ())
    named = {
        (line["action"], line["tuned_model"]) for line in lines if line["why"].startswith(FORCED)
    }
    given = {each[:2] for each in storm.ours if each[0] in ("grant", "change_role", "transfer")}
    found = sorted(each for each in given - named if each[1] in storm.story.unworthy())
    return [f"{action} {model} has no line in the audit that names who" for action, model in found]
