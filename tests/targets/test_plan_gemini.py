"""What a plan says of an endpoint that speaks the API and tunes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import pytest
from google.ai import generativelanguage_v1beta as gl

from tests.fakes.grpc_server import Refusal, Script, serving
from tests.fakes.planning import asked
from tests.fakes.work import WORK, with_spec
from tuner.jobs.store import Store
from tuner.jobs.target_pool import Connections
from tuner.pipelines.plan import Action, plan
from tuner.types import TargetConfig

CHAINED = with_spec(base_model="", tuned_model_source="tunedModels/first")


@pytest.fixture
def ledger(tmp_path):
    with Store(tmp_path / "ledger.db", lambda: 0.0) as opened:
        yield opened


@pytest.mark.slow
def test_an_endpoint_that_tunes_nothing_says_so_before_anything_is_sent(ledger, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "k")
    fixed = gl.Model(name="models/gemini", supported_generation_methods=["generateContent"])
    script = Script(
        {
            "ListModels": [gl.ListModelsResponse(models=[fixed])],
            "ListTunedModels": [Refusal(grpc.StatusCode.UNAUTHENTICATED)],
        }
    )

    async def ask():
        async with serving(script) as endpoint, Connections() as connections:
            there = TargetConfig("gemini", endpoint)
            specs = (with_spec(base_model="models/gemini").spec, WORK.spec, CHAINED.spec)
            works = [replace(WORK, spec=replace(spec, target=there)) for spec in specs]
            given = [asked(work) for work in works]
            return await plan(given, ledger, connections.get, lambda _: None)

    fixed, gone, chained = asyncio.run(ask())

    assert [each.action for each in (fixed, gone, chained)] == [
        Action.CANNOT,
        Action.NOT_FOUND,
        Action.CANNOT,
    ]
    assert "this service has no base model to tune" in fixed.fix
    assert "has no base model models/tiny" in gone.reasons[0]
    assert "it tunes base models only" in chained.reasons[0]
    assert {call.method for call in script.calls} == {"ListModels", "ListTunedModels"}
