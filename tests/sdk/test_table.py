"""The table of clients says yes only where every step went well."""

from __future__ import annotations

import pytest

from tests.sdk import table
from tests.sdk.journey import JOURNEYS, Step

WELL, NOTED = Step("create", "a", True, ""), Step("create", "b", True, "so and so")
BADLY, ABSENT = Step("create", "c", False, "line 7"), Step("create", "", None, "no such method")


@pytest.mark.parametrize(
    ("steps", "cell"),
    [
        ([WELL], "yes"),
        ([WELL, NOTED], "yes*"),
        ([WELL, ABSENT], "yes*"),
        ([ABSENT], "none*"),
        ([], "none"),
        ([NOTED, BADLY], "fails"),
    ],
)
def test_a_cell_tells_the_worst_of_its_steps(steps, cell):
    row = table.section({JOURNEYS[0]: steps}).splitlines()[2]
    assert row.split(" | ")[2 + table.GROUPS.index("create")] == cell


def test_a_note_is_told_once_for_all_ways_of_a_client():
    section = table.section({JOURNEYS[0]: [NOTED], JOURNEYS[1]: [NOTED]})
    assert section.count(f"- {JOURNEYS[0].client}, create: so and so.") == 1


def test_the_page_has_a_row_for_every_client_and_no_other():
    rows = [line.split(" | ")[:2] for line in table.shown().splitlines() if line.startswith("| ")]
    assert rows[1:] == [[f"| {each.client}", each.over] for each in JOURNEYS]
