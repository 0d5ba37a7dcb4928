"""What models answered survives a crash, and goes with its job."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.jobs.test_store import EVALUATION, JOB, opened
from tuner.job import ScoredRow

DONE = replace(JOB, evaluation=EVALUATION)
MODEL = f"{JOB.tuned_model}@1.5"


def test_answers_are_found_by_target_model_and_question(tmp_path):
    with opened(tmp_path / "l.db") as ledger:
        asyncio.run(ledger.answers("here").keep(MODEL, {"q1": "Lima", "q2": "東京\n🙂"}))
        asyncio.run(ledger.answers("here").keep(MODEL, {"q1": "Rome"}))

    with opened(tmp_path / "l.db") as ledger:
        kept = ledger.answers("here")
        assert kept.find(MODEL, ["q1", "q2", "q3"]) == {"q1": "Rome", "q2": "東京\n🙂"}
        assert kept.find("models/tiny", ["q1"]) == {}
        assert ledger.answers("there").find(MODEL, ["q1"]) == {}


def test_more_questions_than_one_statement_takes_are_all_found(tmp_path):
    many = {f"q{n}": f"a{n}" for n in range(1203)}
    with opened(tmp_path / "l.db") as ledger:
        asyncio.run(ledger.answers("here").keep(MODEL, many))

        assert ledger.answers("here").find(MODEL, many) == many


def test_the_rows_of_an_evaluation_are_kept_apart_from_its_bookmark(tmp_path):
    with opened(tmp_path / "l.db") as ledger:
        ledger.save(DONE)
        found = ledger.find(JOB.where, JOB.tuned_model)

        assert found.evaluation.rows == ()
        assert ledger.evaluation_rows(found) == EVALUATION.rows
        assert ledger.evaluation_rows(JOB) == ()


def test_a_later_save_without_the_rows_leaves_them(tmp_path):
    with opened(tmp_path / "l.db") as ledger:
        ledger.save(DONE)
        ledger.save(replace(DONE, evaluation=replace(EVALUATION, rows=())))

        assert ledger.evaluation_rows(DONE) == EVALUATION.rows


def test_only_the_rows_of_the_latest_evaluation_are_kept(tmp_path):
    other = replace(EVALUATION, digest="d2", rows=(ScoredRow("Italy", "Rome", "Rome", "?"),))
    with opened(tmp_path / "l.db") as ledger:
        ledger.save(DONE)
        ledger.save(replace(DONE, evaluation=other))

        assert ledger.evaluation_rows(replace(DONE, evaluation=other)) == other.rows
        assert ledger.evaluation_rows(DONE) == ()


def test_what_is_forgotten_takes_its_answers_along_and_leaves_those_of_its_base(tmp_path):
    with opened(tmp_path / "l.db") as ledger:
        ledger.save(DONE)
        kept = ledger.answers(JOB.where)
        for model in (MODEL, f"{JOB.tuned_model}-2@1.5", "models/tiny"):
            asyncio.run(kept.keep(model, {"q": "a"}))

        ledger.forget(DONE)

        assert ledger.evaluation_rows(DONE) == ()
        assert kept.find(MODEL, ["q"]) == {}
        assert kept.find(f"{JOB.tuned_model}-2@1.5", ["q"]) == {"q": "a"}
        assert kept.find("models/tiny", ["q"]) == {"q": "a"}
