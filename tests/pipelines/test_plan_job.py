"""What a run would do about a job, for every state that its target and the store may be in."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.planning import asked
from tests.fakes.target import ME, TUNABLE, UNTUNABLE
from tests.fakes.work import WORK, job_of, with_spec
from tuner.evaluation import gate
from tuner.job import Evaluation
from tuner.jobs.store import Store
from tuner.pipelines.dry_run import TargetState
from tuner.pipelines.plan import Action, plan_job
from tuner.types import (
    Feature,
    Grant,
    GranteeType,
    Hyperparameters,
    Permission,
    Phase,
    Role,
    Snapshot,
    State,
    TunedModel,
)

NAME = job_of(WORK).tuned_model
MODEL = TunedModel(NAME, State.ACTIVE, "models/tiny", hyperparameters=Hyperparameters(2, 4))
ALL = ("grant everyone (reader)", "grant ml@example.com (writer)", "transfer to lead@example.com")
BASES = {each.name: each for each in (TUNABLE, UNTUNABLE)}
EVERYONE = Grant(Role.READER, GranteeType.EVERYONE)


def user(address, role=Role.WRITER):
    return Grant(role, GranteeType.USER, address)


SHARED = (user("lead@example.com", Role.OWNER), user(ME), user("ml@example.com"), EVERYONE)


def world(*grants, model=MODEL, **changes):
    """One with this model, held by these; ours when we are its owner."""
    held = [Permission(f"{NAME}/permissions/{n}", grant) for n, grant in enumerate(grants)]
    made = TargetState(
        address="fake",
        lacks={},
        bases=BASES,
        models={NAME: model} if model else {},
        mine=frozenset([NAME] if user(ME, Role.OWNER) in grants else []),
        permissions={NAME: held} if held else {},
        wanted=frozenset([NAME]),
    )
    return made._replace(**changes)


MINE = world(user(ME, Role.OWNER))
DONE = world(*SHARED)
EMPTY = world(model=None)


def evaluation(work=WORK, tuned=1.0, base=0.0):
    return Evaluation(
        gate.digest(work), "exact_match", *({"exact_match": n} for n in (tuned, base)), 2
    )


def known(phase=Phase.DONE, work=WORK, **changes):
    changes = {"evaluation": evaluation(work), "allowed": "passed"} | changes
    return replace(job_of(work), phase=phase, **changes)


BAD = evaluation(tuned=0.0)
MISSED = "; ".join(gate.shortfalls(BAD, WORK.spec.evaluation))
PLAIN = with_spec(evaluation=None, grants=(), transfer_ownership="")
CHAINED = with_spec(base_model="", tuned_model_source="tunedModels/first")

CASES = [
    # -- it is not there
    ("nobody knows it", WORK, None, EMPTY, Action.CREATE, "no such model yet", ("tune", "evaluate", *ALL)),
    ("nothing beside tuning", PLAIN, None, EMPTY, Action.CREATE, "no such model yet", ("tune",)),
    ("deleted since", WORK, known(), EMPTY, Action.CREATE, "gone from the service", ("tune", "evaluate", *ALL)),
    ("begun, never sent", WORK, known(Phase.SUBMIT), EMPTY, Action.CREATE, "no such model yet", ("tune", "evaluate", *ALL)),
    ("handed over and hidden", WORK, known(handed_to="lead@example.com"), EMPTY, Action.OWNER, "transferred to lead@example.com", ()),
    ("beaten and deleted", WORK, known(Phase.NOT_SELECTED), EMPTY, Action.UNCHANGED, "another variant of its matrix", ()),
    ("no such base", with_spec(base_model="models/tinny"), None, EMPTY, Action.NOT_FOUND, "has no base model models/tinny", ()),
    ("no base at all", WORK, None, EMPTY._replace(bases={}), Action.NOT_FOUND, "has no base model", ()),
    ("base cannot be tuned", with_spec(base_model="models/fixed"), None, EMPTY, Action.CANNOT, "createTunedModel is not among its methods", ()),
    ("source is gone", CHAINED, None, EMPTY, Action.NOT_FOUND, "tunedModels/first does not exist", ()),
    ("source is there", CHAINED, None, EMPTY._replace(models={"tunedModels/first": MODEL}), Action.CREATE, "no such model yet", ("tune", "evaluate", *ALL)),
    ("source comes first", CHAINED, None, EMPTY._replace(wanted=frozenset(["tunedModels/first"])), Action.CREATE, "once that exists", ("tune", "evaluate", *ALL)),
    ("no chaining", CHAINED, None, EMPTY._replace(lacks={Feature.CHAINING: "base models only"}), Action.CANNOT, "tuned_model_source is not possible: base models only", ()),
    ("no transfer", WORK, None, EMPTY._replace(lacks={Feature.TRANSFER: "a key is nobody"}), Action.CANNOT, "transfer_ownership is not possible: a key is nobody", ()),
    ("no sharing", WORK, None, EMPTY._replace(lacks={Feature.SHARING: "a key is nobody"}), Action.CANNOT, "permissions is not possible", ()),
    ("what it lacks is not asked for", PLAIN, None, EMPTY._replace(lacks=dict.fromkeys(Feature, "no")), Action.CREATE, "no such model yet", ("tune",)),
    # -- it is there
    ("another base", WORK, None, world(model=MODEL._replace(base_model="models/big")), Action.CANNOT, "base_model is models/big, the spec says models/tiny", ()),
    ("other epochs", with_spec(hyperparameters=Hyperparameters(epoch_count=4), tuned_model_id=NAME.removeprefix("tunedModels/")), None, MINE, Action.CANNOT, "epoch_count is 2, the spec says 4", ()),
    ("failed", WORK, known(Phase.FAILED, error="it diverged"), world(model=MODEL._replace(state=State.FAILED)), Action.FAILED, "it diverged", ()),
    ("failed, unknown", WORK, None, world(model=MODEL._replace(state=State.FAILED)), Action.FAILED, "lists the model as FAILED", ()),
    ("failed, to be tried again", WORK, known(Phase.SUBMIT, retry=True), world(model=MODEL._replace(state=State.FAILED)), Action.RESUME, "a retry was requested", ("delete", "tune", "evaluate", *ALL)),
    ("tuning", WORK, known(Phase.TUNE, evaluation=None), world(model=MODEL._replace(state=State.CREATING, snapshots=(Snapshot(3, 1, 1.0, 0.0),))), Action.RESUME, "tuning, step 3 of 6", ("evaluate", *ALL)),
    ("tuned elsewhere", WORK, None, MINE, Action.ADOPT, "unknown to the local store", ("evaluate", *ALL)),
    ("all done elsewhere", PLAIN, None, MINE, Action.ADOPT, "unknown to the local store", ()),
    ("the id was chosen", with_spec(tuned_model_id=NAME.removeprefix("tunedModels/")), None, MINE, Action.ADOPT, "the spec sets its id", ("evaluate", *ALL)),
    ("the id stands for other examples", with_spec(tuned_model_id=NAME.removeprefix("tunedModels/")), known(content="capitals-0123456789"), DONE, Action.CANNOT, "tuned on other examples", ()),
    ("it was tuned anew under its id", WORK, known(evaluation=replace(evaluation(), model="another")), DONE, Action.ADOPT, "or the model are new", ("evaluate",)),
    ("killed before the evaluation", WORK, known(Phase.EVALUATE, evaluation=None), MINE, Action.RESUME, "not evaluated yet", ("evaluate", *ALL)),
    ("other held-out rows", WORK, known(evaluation=replace(BAD, digest="other")), DONE, Action.ADOPT, "held-out rows, their metric", ("evaluate",)),
    ("killed while it was shared", WORK, known(Phase.SHARE), world(user(ME, Role.OWNER), EVERYONE), Action.RESUME, "not finished", ALL[1:]),
    ("killed before the last note", WORK, known(Phase.TRANSFER), DONE, Action.RESUME, "not finished", ()),
    ("a grant is missing", WORK, known(), world(*SHARED[:2], EVERYONE), Action.DRIFT, "differ from the spec", ALL[1:2]),
    ("another role", WORK, known(), world(*SHARED[:2], user("ml@example.com", Role.READER), EVERYONE), Action.DRIFT, "differ", ("change ml@example.com from reader to writer",)),
    ("not handed over yet", WORK, known(), world(user(ME, Role.OWNER), *SHARED[2:]), Action.DRIFT, "differ", ALL[2:]),
    ("sharing is wanted where there is none", WORK, known(), world(*SHARED[:2])._replace(lacks={Feature.SHARING: "no"}), Action.CANNOT, "permissions is not possible: no", ()),
    ("another owner", WORK, known(), world(user("x@example.com", Role.OWNER), user(ME)), Action.OWNER, "owner is x@example.com, the spec says lead@example.com", ()),
    ("hidden permissions", WORK, known(), world(), Action.OWNER, "hidden", ()),
    ("hidden since it was handed over", WORK, known(handed_to="lead@example.com"), world(), Action.UNCHANGED, "only the owner sees its permissions", ()),
    ("all as it should be", WORK, known(), DONE, Action.UNCHANGED, "tuned from the same content", ()),
    ("a stranger", WORK, known(), world(*SHARED, user("bob@example.com", Role.READER)), Action.UNCHANGED, "bob@example.com (reader) is not in the spec", ()),
    ("a reader who is owner by now", with_spec(grants=(user("lead@example.com", Role.READER),)), known(), DONE, Action.UNCHANGED, "tuned from", ()),
    ("beaten", WORK, known(Phase.NOT_SELECTED), MINE, Action.UNCHANGED, "another variant of its matrix", ()),
    ("rejected", WORK, known(Phase.REJECTED, evaluation=BAD, allowed=""), MINE, Action.REJECTED, "misses its gate: exact_match is 0.000", ()),
    ("rejected, and forced", WORK, known(Phase.REJECTED, evaluation=BAD, force=True), MINE, Action.RESUME, "its gate is overridden", ALL),
    ("rejected, and the gate is lower now", with_spec(evaluation=replace(WORK.spec.evaluation, require=type(WORK.spec.evaluation.require)())), known(Phase.REJECTED, evaluation=BAD), MINE, Action.RESUME, "passes the gate now", ALL),
    ("done, and the gate is higher now", WORK, known(evaluation=evaluation(tuned=0.4)), DONE, Action.REJECTED, "required; what was granted before stays", ()),
    ("handed over and hidden, and the gate is higher now", WORK, known(evaluation=evaluation(tuned=0.4), handed_to="lead@example.com"), world(), Action.REJECTED, "misses its gate", ()),
    ("forced through its gate", WORK, known(evaluation=BAD, allowed=gate.forced(MISSED, "ana@host")), DONE, Action.UNCHANGED, f"tuned from the same content, shared as the spec says; its gate was not met: {gate.forced(MISSED, 'ana@host')}", ()),
    ("forced through its gate, and hidden since", WORK, known(evaluation=BAD, allowed=gate.forced(MISSED, "ana@host"), handed_to="lead@example.com"), world(), Action.UNCHANGED, "only the owner sees its permissions; its gate was not met: forced by --force-share by ", ()),
    ("shared already where sharing is not possible now", WORK, known(), DONE._replace(lacks=dict.fromkeys(Feature, "no")), Action.UNCHANGED, "tuned from", ()),
    ("a setting differs", with_spec(display_name="Capitals"), known(), DONE, Action.UNCHANGED, "display_name differs: `tuner models update`", ()),
]  # fmt: skip


def plan_of(work, job, state):
    with Store(Path(tempfile.mkdtemp()) / "store.db", float) as store:
        if job:
            store.save(job)
        return asyncio.run(plan_job(asked(work, force=bool(job and job.force)), store, state))


BARRED = (Action.CANNOT, Action.NOT_FOUND, Action.OWNER, Action.FAILED, Action.REJECTED)


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_every_state_of_target_and_store_has_its_action(case):
    _, work, job, found, action, why, changes = case

    said = plan_of(work, job, found)

    assert said.action is action
    assert why in "; ".join(said.reasons)
    assert said.changes == changes
    assert said.fix or action not in BARRED


def test_a_setting_sent_as_32_bits_is_the_same():
    work = with_spec(temperature=0.7)
    same = world(*SHARED, model=MODEL._replace(temperature=0.699999988079071))
    other = world(*SHARED, model=MODEL._replace(temperature=0.6))

    assert "temperature" not in str(plan_of(work, known(), same).reasons)
    assert "temperature differs" in str(plan_of(work, known(), other).reasons)


def test_the_former_owner_is_expected_but_of_several_writers_each_is_named():
    one = plan_of(WORK, known(), DONE)
    two = plan_of(WORK, known(), world(*SHARED, user("bob@example.com")))

    assert ME not in str(one.reasons)
    assert ME in str(two.reasons)
    assert "bob@example.com (writer)" in str(two.reasons)
