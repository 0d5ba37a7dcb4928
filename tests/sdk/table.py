"""The table of clients in docs/service.md, from what the last run of each journey showed.

python -m tests.sdk.table      # or: make sdk-table, which makes the journeys first
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.sdk.journey import JOURNEYS, RESULTS, Step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.sdk.journey import Journey

PAGE = Path(__file__).parents[2] / "docs" / "service.md"
BEGIN, END = "<!-- clients: made by `make sdk-table` -->\n", "<!-- clients: end -->\n"
GROUPS = (
    "models",
    "create",
    "watch",
    "list",
    "update",
    "generate",
    "stream",
    "count",
    "embed",
    "operations",
    "permissions",
    "transfer",
    "delete",
    "errors",
)


def section(results: Mapping[Journey, Sequence[Step]]) -> str:
    """The table and its notes."""
    notes = [note for journey, steps in results.items() for note in _notes(journey, steps)]
    return "\n".join(
        [
            f"| client | over | {' | '.join(GROUPS)} |",
            f"|---|---|{'---|' * len(GROUPS)}",
            *(_row(journey, steps) for journey, steps in results.items()),
            "",
            *dict.fromkeys(notes),
            "",
        ]
    )


def shown() -> str:
    """What the page shows now."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def last_results() -> dict[Journey, list[Step]]:
    """What the last run of every journey showed."""
    return {
        journey: [Step(**step) for step in json.loads((RESULTS / f"{journey}.json").read_text())]
        for journey in JOURNEYS
    }


def _row(journey: Journey, steps: Sequence[Step]) -> str:
    cells = [_cell([step for step in steps if step.group == group]) for group in GROUPS]
    return f"| {journey.client} | {journey.over} | {' | '.join(cells)} |"


def _cell(steps: Sequence[Step]) -> str:
    if any(step.ok is False for step in steps):
        return "fails"
    has_some = any(step.ok for step in steps)
    noted = "*" if any(step.detail for step in steps) else ""
    return ("yes" if has_some else "none") + noted


def _notes(journey: Journey, steps: Sequence[Step]) -> list[str]:
    return [
        f"- {journey.client}, {step.group}: {step.detail}."
        for step in steps
        if step.ok is not False and step.detail
    ]


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}{section(last_results())}{END}{after}", "utf-8")
