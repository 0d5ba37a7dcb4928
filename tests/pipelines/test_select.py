"""Which of a matrix is kept: by score, by steps, by place; or by what was kept before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes.work import GRANTS, WORK, job_of, with_spec
from tuner.job import Evaluation
from tuner.pipelines.select import Candidate, best, comparison_digest, shared_before
from tuner.types import Grant, Permission, Role

ME = Grant(Role.OWNER, email_address="me@example.com")
HEIR = Grant(Role.OWNER, email_address="LEAD@example.com")


def candidate(name, score=0.5, steps=10, work=WORK):
    scores = {"exact_match": 0.0, "token_f1": score}
    evaluation = Evaluation("rows", "token_f1", scores, scores, 2)
    job = replace(job_of(work), evaluation=evaluation, total_steps=steps, tuned_model=name)
    return Candidate(name, job, work)


def held(*grants):
    return [Permission(f"permissions/{n}", grant) for n, grant in enumerate(grants)]


@pytest.mark.parametrize(
    ("scored", "winner"),
    [
        ([("a", 0.5, 10), ("b", 0.6, 90)], "b"),
        ([("a", 0.6, 90), ("b", 0.6, 10)], "b"),
        ([("a", 0.6, 10), ("b", 0.6, 10)], "a"),
        ([("a", 0.0, 10)], "a"),
    ],
)
def test_the_highest_score_is_selected_then_fewer_steps_then_the_first(scored, winner):
    found = best([candidate(*each) for each in scored])

    assert found.stage == winner


SHARING = with_spec(transfer_ownership="")
BARE = with_spec(transfer_ownership="", grants=())


@pytest.mark.parametrize(
    ("work", "first", "second", "winner"),
    [
        (WORK, [HEIR, *GRANTS], [ME], "a"),
        (WORK, [ME, *GRANTS], [ME], None),
        (WORK, [HEIR], [HEIR], None),
        (SHARING, [ME, *GRANTS], [ME], "a"),
        (SHARING, [ME, GRANTS[0]], [ME], None),
        (SHARING, [ME, *GRANTS], [ME, GRANTS[0]], None),
        (SHARING, [ME], [ME], None),
        (BARE, [ME, GRANTS[0]], [ME], None),
        (SHARING, [], [ME, *GRANTS], "b"),
    ],
)
def test_the_only_candidate_with_all_grants_was_selected_before(work, first, second, winner):
    found = shared_before(
        [candidate("a", work=work), candidate("b", work=work)],
        {"a": held(*first), "b": held(*second)},
    )

    assert (found and found.stage) == winner


def test_the_digest_of_a_comparison_does_not_depend_on_the_order():
    a, b = candidate("a").job, candidate("b").job
    other = replace(b, evaluation=replace(b.evaluation, digest="other rows"))

    assert comparison_digest([a, b]) == comparison_digest([b, a])
    assert (
        len({comparison_digest([a, b]), comparison_digest([a]), comparison_digest([a, other])}) == 3
    )
