"""A journal that stays open writes where its name is, whatever others do to the file."""

from __future__ import annotations

import os

from tuner.jobs.records import journal
from tuner.jobs.records.journal import Journal


def test_lines_go_on_in_a_new_file_once_another_has_rotated_it(tmp_path):
    path = tmp_path / "logs" / "events.jsonl"
    kept_open = Journal(path)
    kept_open.append({"n": 1})

    journal.rotate(path, 1)
    kept_open.append({"n": 2})

    assert (journal.older(path).read_text(), path.read_text()) == ('{"n": 1}\n', '{"n": 2}\n')


def test_a_file_that_was_removed_is_made_again(tmp_path):
    path = tmp_path / "audit.jsonl"
    kept_open = Journal(path)
    kept_open.append({"n": 1})

    path.unlink()
    kept_open.append({"n": 2}, durable=True)

    assert path.read_text() == '{"n": 2}\n'


def test_what_another_left_torn_is_ended_before_the_next_line(tmp_path):
    path = tmp_path / "audit.jsonl"
    kept_open = Journal(path)
    kept_open.append({"n": 1})

    with path.open("a") as other:
        other.write('{"n": ')
    kept_open.append({"n": 2})

    assert path.read_text() == '{"n": 1}\n{"n": \n{"n": 2}\n'


def test_a_child_of_this_process_takes_a_lock_of_its_own(tmp_path):
    path = tmp_path / "audit.jsonl"
    kept_open = Journal(path)
    kept_open.append({"n": 1})
    ours = kept_open._opened()

    reads, writes = os.pipe()
    if not os.fork():
        os.write(writes, b"own" if kept_open._opened() is not ours else b"shared")
        os._exit(0)
    os.wait()

    assert os.read(reads, 10) == b"own"
    os.close(reads)
    os.close(writes)
