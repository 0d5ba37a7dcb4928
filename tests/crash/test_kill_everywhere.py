"""kill -9 at every moment: around every call, its effect, every commit and every line of the audit.

A real signal ends a real process. In the end there is one model of each, one of each grant, one
transfer, a whole report, exit code 0, and for each effect a line of the audit log older than it.
"""

from __future__ import annotations

import pytest

from tests.crash import shapes
from tests.crash.ends import KEPT, LOST, broken, what_is_wrong

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("what", ["job", pytest.param("pipeline", marks=pytest.mark.rest)])
@pytest.mark.timeout(600)
def test_a_kill_at_any_moment_changes_nothing_but_the_time(world, what):
    undisturbed = world(what, (), KEPT)
    moments = range(len(undisturbed.moments))

    assert what_is_wrong(undisturbed, what) == {}
    assert len(moments) >= shapes.MOMENTS[what]
    assert broken(world, what, [(moment,) for moment in moments]) == {}


@pytest.mark.parametrize("what", ["job", "pipeline"])
@pytest.mark.timeout(600)
def test_a_ledger_that_is_deleted_after_any_call_has_nothing_done_twice(world, what):
    moments = world(what, (), KEPT).moments
    called = [(number,) for number, name in enumerate(moments) if name.endswith(" done, not known")]

    assert broken(world, what, called, loses=LOST) == {}
