"""What `import tuner` promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tuner
from tests.fakes.one_target import OneTarget
from tuner.errors import InvalidInput, Unavailable
from tuner.types import Phase


def test_the_public_names_are_these():
    assert sorted(tuner.__all__) == ["__version__", "run", "validate"]


def test_importing_it_loads_nothing_else():
    code = "import sys, tuner; print(*(name for name in sys.modules if name.startswith('tuner')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert out.stdout.split() == ["tuner"]


def test_run_returns_the_job_at_its_end(spec, capsys):
    outcome = tuner.run(spec)

    assert outcome.job.phase is Phase.DONE
    assert outcome.failure is None
    assert "lead@example.com" in {p.grant.email_address for p in outcome.permissions}
    assert capsys.readouterr() == ("", "")


def test_a_wrong_spec_is_an_exception_with_every_problem(spec):
    with pytest.raises(InvalidInput) as caught:
        tuner.run(spec, ["evaluation.metric=nonsense", "top_k=0"])

    assert len(caught.value.problems) == 2


def test_what_stopped_us_is_raised(spec):
    OneTarget.target.faults = {n: Unavailable("gone") for n in range(9)}

    with pytest.raises(Unavailable):
        tuner.run(spec)
