"""What is written down of a job is never older than what was written before."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.fakes.work import WORK
from tests.jobs.test_store import JOB
from tuner.jobs.lock import Leases, Times
from tuner.jobs.runner import Notes, Own
from tuner.jobs.store import Store
from tuner.types import Phase

NOTED = replace(JOB, phase=Phase.TUNE, operation="tunedModels/a/operations/1")
SAVED = replace(NOTED, phase=Phase.SHARE)


def test_notes_written_right_after_a_save_do_not_take_it_back(tmp_path):
    async def saved(ledger):
        notes = Notes(ledger, lambda: 0.0)
        leases = Leases(ledger, lambda: 0.0, notes.flush, Times())
        own = Own(ledger, leases, notes, await leases.begin(JOB), WORK)
        own.note(NOTED)
        own.note(replace(NOTED, completed_steps=1))  # the second one waits for its occasion
        saving = asyncio.create_task(own.save(SAVED))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(notes.flush)  # between the commit and who waits
        await saving
        await leases.close()

    with Store(tmp_path / "l.db", float) as ledger:
        asyncio.run(saved(ledger))
        assert ledger.find(JOB.where, JOB.tuned_model) == SAVED
