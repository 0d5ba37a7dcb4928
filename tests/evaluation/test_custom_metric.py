"""Custom metrics: their scores, their errors, and their time limit."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.target import FakeTarget
from tuner.errors import InvalidInput, SpecError
from tuner.evaluation import custom_metric
from tuner.evaluation.answering import EMPTY_CACHE
from tuner.evaluation.custom_metric import CustomMetric, NoScoreError
from tuner.evaluation.metrics import scorer
from tuner.evaluation.scorer import Scorer
from tuner.jobspec.prepared_job import prepare_job
from tuner.jobspec.schema import MetricSpec

pytestmark = pytest.mark.slow


ENDLESS = """\
import os, pathlib, signal

def grade(expected, answer):
    started = pathlib.Path(__file__).with_name("started")
    started.with_suffix(".new").write_text(str(os.getpid()))
    started.with_suffix(".new").rename(started)
    while True:
        signal.pause()
"""


def write_metric(folder, text, name="grading"):
    (folder / f"{name}.py").write_text(text)
    return lambda kind: scorer(MetricSpec(kind), folder)


def test_a_custom_metric_is_beside_the_spec_and_may_import_its_neighbours(tmp_path):
    (tmp_path / "lengths_of_texts.py").write_text("def near(a, b): return abs(len(a) - len(b)) < 2")
    code = "import lengths_of_texts\ndef grade(a, b): return lengths_of_texts.near(a, b)"

    path = list(sys.path)
    compare = write_metric(tmp_path, code)("grading:grade")

    assert sys.path == path
    assert [compare("ab", answer) for answer in ("a", "abcd")] == [1.0, 0.0]


def test_two_specs_may_have_modules_with_the_same_name(tmp_path):
    scores = []
    for given_score in (0.25, 0.75):
        folder = tmp_path / str(given_score)
        folder.mkdir()
        grade = write_metric(folder, f"def grade(a, b): return {given_score}")("grading:grade")
        scores.append(grade("", ""))

    assert scores == [0.25, 0.75]


def test_an_installed_function_can_be_a_metric(tmp_path):
    assert scorer(MetricSpec("operator:eq"), tmp_path)("a", "a") == 1


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("nowhere_at_all:grade", "cannot be imported"),
        ("grading:missing", "has no function missing"),
        ("grading:NUMBER", "has no function NUMBER"),
        ("broken:grade", "SyntaxError"),
    ],
)
def test_a_missing_metric_is_reported_with_its_folder(tmp_path, kind, what):
    write_metric(tmp_path, "NUMBER = 1\n")
    make = write_metric(tmp_path, "def", name="broken")

    with pytest.raises(SpecError, match=what) as caught:
        make(kind)("a", "b")

    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("1.5", "returned 1.5"),
        ("-0.1", "returned -0.1"),
        ("float('nan')", "returned nan"),
        ("'1'", "returned '1'"),
        ("None", "returned None"),
        ("1 / 0", "raised ZeroDivisionError"),
    ],
)
def test_a_value_that_is_no_score_is_shown(tmp_path, body, what):
    compare = write_metric(tmp_path, f"def grade(a, b): return {body}")("grading:grade")

    with pytest.raises(NoScoreError, match=f"grading:grade {what}"):
        compare("a", "b")


def test_output_of_a_metric_goes_to_stderr(tmp_path, capfd):
    code = "import sys\ndef grade(a, b):\n    print(a)\n    return sys.stdin.read() == ''"

    assert write_metric(tmp_path, code)("grading:grade")("seen", "b") == 1
    assert capfd.readouterr() == ("", "seen\n")


@pytest.mark.parametrize(
    ("body", "how"),
    [("os._exit(3)", "exit code 3"), ("os.kill(os.getpid(), 9)", "SIGKILL")],
)
def test_a_metric_that_ends_its_process_is_reported(tmp_path, body, how):
    compare = write_metric(tmp_path, f"import os\ndef grade(a, b): {body}")("grading:grade")

    with pytest.raises(NoScoreError, match=f"grading:grade ended its process: {how}"):
        compare("a", "b")


def test_an_endless_metric_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(custom_metric, "MAX_SCORE_S", 0.3)
    code = "def grade(a, b):\n    while a:\n        pass\n    return 1"
    compare = write_metric(tmp_path, code)("grading:grade")

    with pytest.raises(NoScoreError, match=r"grading:grade did not finish within 0\.3 s"):
        compare("a", "b")
    monkeypatch.setattr(custom_metric, "MAX_SCORE_S", 60.0)
    assert compare("", "b") == 1


def test_an_endless_import_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(custom_metric, "MAX_IMPORT_S", 0.3)
    compare = write_metric(tmp_path, "while True: pass")

    with pytest.raises(SpecError, match=r"import of module grading did not finish within 0\.3 s"):
        compare("grading:grade")("a", "b")


def test_the_row_of_a_failed_score_is_reported_with_file_and_line(spec):
    code = "def grade(a, b):\n    return {}[a]"
    (spec.parent / "grading.py").write_text(code)
    row_scorer, rows = scorer_of(spec)

    with pytest.raises(InvalidInput) as caught:
        asyncio.run(row_scorer.scores(rows, [["x"] * len(rows)]))

    [problem] = caught.value.problems
    assert problem.where == f"{spec.with_name('rows.csv')}:{rows[0].line}"
    what = f"grading:grade raised KeyError: {rows[0].output!r} in {spec.with_name('grading.py')}:2"
    assert problem.what == what


def test_cancelling_a_slow_metric_kills_its_process_at_once(spec, monkeypatch):
    monkeypatch.setattr(custom_metric, "MAX_SCORE_S", 200.0)
    (spec.parent / "grading.py").write_text(ENDLESS)
    row_scorer, rows = scorer_of(spec)

    async def stopped():
        scoring = asyncio.create_task(row_scorer.scores(rows, [["x"] * len(rows)]))
        pid = await wait_for_start(spec.parent)
        scoring.cancel()
        await asyncio.gather(scoring, return_exceptions=True)
        return pid

    pid = asyncio.run(stopped())

    assert is_gone(pid)


def test_a_metric_ends_when_its_parent_is_killed(tmp_path):
    (tmp_path / "grading.py").write_text(ENDLESS)
    code = "import sys; from pathlib import Path; from tuner.evaluation.custom_metric import CustomMetric"
    code = f"{code}; CustomMetric('grading:grade', Path(sys.argv[1]))('a', 'b')"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path]) as asking:
        pid = asyncio.run(wait_for_start(tmp_path))
        asking.send_signal(signal.SIGKILL)

    assert is_gone(pid)


def test_a_closed_metric_starts_no_process(tmp_path):
    with closing(CustomMetric("operator:eq", tmp_path)) as compare:
        pass

    with pytest.raises(SpecError, match="SIGKILL"):
        compare("a", "a")


def scorer_of(spec):
    text = spec.read_text().replace("holdout: 0.3,", "holdout: 0.3, metric: 'grading:grade',")
    spec.write_text(text)
    work = prepare_job(spec)
    kind = work.spec.evaluation.metric
    return Scorer(kind, work, FakeTarget(), EMPTY_CACHE), work.holdout


async def wait_for_start(folder):
    """Return the process ID of an endless metric."""
    for _ in range(6000):
        if (folder / "started").exists():
            return int((folder / "started").read_text())
        await asyncio.sleep(0.01)
    raise AssertionError("it did not start")


def is_gone(pid):
    """Wait until a process has ended; a zombie counts as ended."""
    for _ in range(3000):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        signal.sigtimedwait([], 0.01)
    return False
