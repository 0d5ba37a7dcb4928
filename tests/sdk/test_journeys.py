"""Google's own clients, unmodified, each in an environment of its own, go the whole way against `tuner serve`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, partial

import pytest

from tests.sdk import table
from tests.sdk.journey import JOURNEYS, Place, run
from tests.sdk.process import serving
from tuner.server import access

pytestmark = [pytest.mark.slow, pytest.mark.model]
AT_A_TIME = 3  # while one waits for its tuning, another works
OPTIONS = ("--max-queued", "2", "--log-level", "warning")


@pytest.fixture(scope="module")
def travels(request, tmp_path_factory):
    """What comes of each journey that some test is about; all are under way at the first one's test."""
    asked = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = {each.params.get("journey") for each in asked if each}
    with ExitStack() as held:
        pool = held.enter_context(ThreadPoolExecutor(AT_A_TIME))
        start = cache(partial(_start, held, tmp_path_factory.mktemp("travels")))
        yield {
            journey: pool.submit(run, journey, _place(journey, *start(journey.door != "http")))
            for journey in JOURNEYS
            if journey in chosen
        }


def _start(held, folder, is_secured):
    home = folder / ("secured" if is_secured else "plain")
    (home / "service").mkdir(parents=True)
    whose = {
        journey: [
            access.create_key(home / "service", f"{who}@example.com")[1] for who in ("ana", "lead")
        ]
        for journey in JOURNEYS
    }
    options = ("--dev-tls", *OPTIONS) if is_secured else OPTIONS
    return held.enter_context(serving(home, *options)), whose


def _place(journey, service, whose):
    at = service.addresses()
    endpoint = at["grpc"] if journey.door == "grpcs" else f"{journey.door}://{at['rest']}"
    authority = service.home / "service" / "tls" / "ca.pem"
    return Place(endpoint, *whose[journey], authority if authority.exists() else None)


@pytest.mark.parametrize("journey", JOURNEYS, ids=str)
def test_a_client_of_googles_goes_the_whole_way(travels, journey):
    steps = travels[journey].result()
    failed = [f"{each.group}, {each.step}: {each.detail}" for each in steps if each.ok is False]
    assert not failed, "\n".join(failed)
    assert {each.group for each in steps} == set(table.GROUPS), "a part of the way was left out"


def test_the_documents_show_what_this_run_showed(travels):
    results = {journey: each.result() for journey, each in travels.items()}
    made, shown = table.section(results), table.shown()
    is_whole = len(results) == len(JOURNEYS)
    is_same = made == shown if is_whole else set(made.splitlines()) <= set(shown.splitlines())
    assert is_same, "docs/service.md is behind: make sdk-table"
