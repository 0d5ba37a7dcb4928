"""Many entries in one moment are one write; each is on the disk when its writer goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tuner.errors import TunerError
from tuner.jobs.records import lock
from tuner.jobs.records.bursts import REST, Bursts

FOLDER, OTHER = Path("specs"), Path("others")


class Disk:
    """Notes every write; each takes ``takes_s`` of a loop's time."""

    def __init__(self, loop, takes_s=0.0, error=None):
        self.writes, self.takes_s, self.error = [], takes_s, error
        self.now = loop.time()
        loop.time = lambda: self.now

    def write(self, folder, entries):
        self.writes.append((folder, dict(entries)))
        self.now += self.takes_s
        if self.error:
            raise self.error


def on_disk(work, **changes):
    """What ``work(bursts, disk)`` gives, and the disk after it."""

    async def main():
        disk = Disk(asyncio.get_running_loop(), **changes)
        return await work(Bursts(disk.write), disk), disk

    return asyncio.run(main())


def test_what_is_written_in_one_moment_is_one_write_a_folder():
    async def work(bursts, _disk):
        folders = [FOLDER] * 100 + [OTHER]
        await asyncio.gather(*(bursts.put(each, str(n), n) for n, each in enumerate(folders)))

    _, disk = on_disk(work)

    assert [(folder, len(entries)) for folder, entries in disk.writes] == [
        (FOLDER, 100),
        (OTHER, 1),
    ]


def test_an_entry_alone_is_written_at_once_and_those_behind_it_after_a_rest():
    async def work(bursts, disk):
        await bursts.put(FOLDER, "first", 1)
        behind = [asyncio.create_task(bursts.put(FOLDER, str(n), n)) for n in range(9)]
        for _ in range(5):
            await asyncio.sleep(0)
        before = len(disk.writes)
        disk.now += REST * disk.takes_s
        await asyncio.gather(*behind)
        return before

    before, disk = on_disk(work, takes_s=1.0)

    assert before == 1
    assert [len(entries) for _, entries in disk.writes] == [1, 9]


def test_who_is_cancelled_leaves_nothing_unwritten_and_disturbs_nobody():
    async def work(bursts, disk):
        await bursts.put(FOLDER, "first", 1)
        left, stays = [asyncio.create_task(bursts.put(FOLDER, name, 1)) for name in ("a", "b")]
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
        written = len(disk.writes)
        await stays
        return written, left.cancelled()

    found, disk = on_disk(work, takes_s=1000.0)

    assert found == (2, True)
    assert disk.writes[-1] == (FOLDER, {"a": 1, "b": 1})


def test_what_cannot_be_written_is_said_to_all_whom_it_concerns():
    async def work(bursts, _disk):
        puts = (bursts.put(FOLDER, str(n), n) for n in range(3))
        return await asyncio.gather(*puts, return_exceptions=True)

    found, _ = on_disk(work, error=TunerError("the disk is full"))

    assert [error.what for error in found] == ["the disk is full"] * 3


def test_a_failed_write_does_not_stop_the_next():
    async def work(bursts, disk):
        with pytest.raises(TunerError):
            await bursts.put(FOLDER, "first", 1)
        disk.error = None
        await bursts.put(FOLDER, "second", 2)

    _, disk = on_disk(work, error=TunerError("the disk is full"))

    assert [list(entries) for _, entries in disk.writes] == [["first"], ["second"]]


def test_a_lock_of_a_hundred_entries_in_one_moment_is_replaced_once(tmp_path, monkeypatch):
    replaced = []
    real = lock._replace
    monkeypatch.setattr(lock, "_replace", lambda *given: replaced.append(given) or real(*given))

    async def put_all():
        names = (lock.key(tmp_path / "a.yaml", str(n)) for n in range(100))
        await asyncio.gather(*(lock._bursts().put(tmp_path, name, {"n": 1}) for name in names))

    asyncio.run(put_all())

    assert len(lock.entries(tmp_path / lock.NAME)) == 100
    assert len(replaced) == 1
