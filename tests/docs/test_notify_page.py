"""docs/notify.md: bodies, signatures and limits on the page match the code."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.fakes.work import WORK, job_of
from tests.jobs.test_store import EVALUATION
from tuner.events import notify
from tuner.events.notify import notifications
from tuner.jobs.audit_log import AuditLog, Change
from tuner.jobspec.schema import Notify
from tuner.types import Phase

PAGE = ROOT / "docs/notify.md"
JOB = replace(job_of(WORK), phase=Phase.DONE, handed_to="lead@example.com", evaluation=EVALUATION)


def shown(kind):
    return [block.text for block in blocks(PAGE) if block.kind == kind]


def test_the_body_on_the_page_has_the_fields_that_are_sent():
    notice = notifications(JOB, (Notify(url="https://x"),))[-1]

    theirs, ours = json.loads(shown("json")[0]), json.loads(notice.body)
    assert list(theirs) == list(ours)
    assert list(theirs["scores"]) == list(ours["scores"])


def test_the_audit_line_on_the_page_has_the_fields_that_are_written(tmp_path):
    AuditLog(tmp_path / "a").write("intended", Change("local", "m", "grant", "ana", "the gate"))

    assert list(json.loads(shown("json")[1])) == list(json.loads((tmp_path / "a").read_text()))


@pytest.mark.parametrize(
    ("key", "body", "age_s", "accepted"),
    [
        (b"key", b"{}", 0, True),
        (b"other", b"{}", 0, False),
        (b"key", b"{ }", 0, False),
        (b"key", b"{}", 301, False),
    ],
)
def test_the_receiver_on_the_page_accepts_our_signature_only(key, body, age_s, accepted):
    (code,) = shown("python")
    names = {}
    exec(code, names)  # noqa: S102 -- the page's own block
    now = int(names["time"].time()) - age_s

    headers = {"Tuner-Signature": notify.signature(b"key", now, b"{}")}

    assert names["is_from_tuner"](headers, body, key) is accepted


def test_the_numbers_on_the_page_are_those_of_the_code():
    text = re.sub(r"\s+", " ", PAGE.read_text())

    assert f"up to {notify.MAX_WEBHOOK_TRIES} tries in all" in text
    assert f"has {notify.WEBHOOK_TIMEOUT_S:.0f} seconds to answer" in text
    assert f"It has {notify.COMMAND_TIMEOUT_S:.0f} seconds" in text
    assert f"up to {notify.MAX_RETRY_AFTER_S / 60:.0f} minutes" in text


def test_the_lock_file_in_docs_provenance_has_the_keys_that_are_written(tmp_path):
    from tuner.jobs.lockfile import describe

    page = Path(ROOT / "docs/provenance.md")
    (block,) = [each.text for each in blocks(page) if each.kind == "json"]
    (entry,) = json.loads(block)["jobs"].values()
    job = replace(JOB, spec=str(tmp_path / "capitals.yaml"))

    assert set(entry) == set(describe(job, WORK, None, ()))
