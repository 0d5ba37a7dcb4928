"""A metric of one's own: what it gives, what it does instead, and that it may take its time."""

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
from tuner.evaluation.custom_metric import CustomMetric, NoScoreError, code_digest
from tuner.evaluation.metrics import scorer
from tuner.evaluation.scorer import Scorer
from tuner.jobspec.prepared_job import prepare_job
from tuner.jobspec.schema import MetricSpec

pytestmark = pytest.mark.slow

STUCK = """\
import os, pathlib, signal

def grade(expected, answer):
    begun = pathlib.Path(__file__).with_name("begun")
    begun.with_suffix(".new").write_text(str(os.getpid()))
    begun.with_suffix(".new").rename(begun)
    while True:
        signal.pause()
"""


def written(folder, text, name="grading"):
    (folder / f"{name}.py").write_text(text)
    return lambda kind: scorer(MetricSpec(kind), folder)


def test_a_metric_of_one_s_own_lies_beside_the_spec_and_may_import_what_lies_there(tmp_path):
    (tmp_path / "lengths_of_texts.py").write_text("def near(a, b): return abs(len(a) - len(b)) < 2")
    code = "import lengths_of_texts\ndef grade(a, b): return lengths_of_texts.near(a, b)"

    path = list(sys.path)
    compare = written(tmp_path, code)("grading:grade")

    assert sys.path == path
    assert [compare("ab", answer) for answer in ("a", "abcd")] == [1.0, 0.0]


def test_two_specs_may_have_modules_of_one_name(tmp_path):
    scores = []
    for given_score in (0.25, 0.75):
        folder = tmp_path / str(given_score)
        folder.mkdir()
        grade = written(folder, f"def grade(a, b): return {given_score}")("grading:grade")
        scores.append(grade("", ""))

    assert scores == [0.25, 0.75]


def test_an_installed_function_is_a_metric_as_well(tmp_path):
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
def test_a_metric_that_is_not_there_is_said_with_its_place(tmp_path, kind, what):
    written(tmp_path, "NUMBER = 1\n")
    make = written(tmp_path, "def", name="broken")

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
def test_a_metric_that_gives_no_share_says_what_it_gave(tmp_path, body, what):
    compare = written(tmp_path, f"def grade(a, b): return {body}")("grading:grade")

    with pytest.raises(NoScoreError, match=f"grading:grade {what}"):
        compare("a", "b")


def test_other_code_has_another_digest(tmp_path):
    digests = []
    for body in ("1", "0", "1"):
        written(tmp_path, f"def grade(a, b): return {body}")
        digests.append(code_digest("grading:grade", tmp_path))

    assert digests[0] == digests[2] != digests[1]
    assert code_digest("operator:eq", tmp_path) == ""


def test_what_a_metric_prints_or_reads_is_its_own_affair(tmp_path, capfd):
    code = "import sys\ndef grade(a, b):\n    print(a)\n    return sys.stdin.read() == ''"

    assert written(tmp_path, code)("grading:grade")("seen", "b") == 1
    assert capfd.readouterr() == ("", "seen\n")


def test_the_code_as_it_is_now_gives_the_score(tmp_path):
    scores = [
        written(tmp_path, f"def grade(a, b): return {score}")("grading:grade")("", "")
        for score in (0, 1)
    ]

    assert scores == [0, 1]


@pytest.mark.parametrize(
    ("body", "how"),
    [("os._exit(3)", "exit code 3"), ("os.kill(os.getpid(), 9)", "SIGKILL")],
)
def test_a_metric_that_ends_its_process_is_said(tmp_path, body, how):
    compare = written(tmp_path, f"import os\ndef grade(a, b): {body}")("grading:grade")

    with pytest.raises(NoScoreError, match=f"grading:grade ended its process: {how}"):
        compare("a", "b")


def test_a_metric_that_never_comes_to_an_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(custom_metric, "MAX_SCORE_S", 0.3)
    code = "def grade(a, b):\n    while a:\n        pass\n    return 1"
    compare = written(tmp_path, code)("grading:grade")

    with pytest.raises(NoScoreError, match=r"grading:grade did not finish within 0\.3 s"):
        compare("a", "b")
    monkeypatch.setattr(custom_metric, "MAX_SCORE_S", 60.0)
    assert compare("", "b") == 1


def test_a_module_that_is_never_imported_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(custom_metric, "MAX_IMPORT_S", 0.3)
    compare = written(tmp_path, "while True: pass")

    with pytest.raises(SpecError, match=r"import of module grading did not finish within 0\.3 s"):
        compare("grading:grade")("a", "b")


def test_a_row_that_a_metric_fails_at_is_named_with_its_file_and_line(spec):
    code = "def grade(a, b):\n    return {}[a]"
    (spec.parent / "grading.py").write_text(code)
    examiner, rows = examined(spec)

    with pytest.raises(InvalidInput) as caught:
        asyncio.run(examiner.scores(rows, [["x"] * len(rows)]))

    [problem] = caught.value.problems
    assert problem.where == f"{spec.with_name('rows.csv')}:{rows[0].line}"
    what = f"grading:grade raised KeyError: {rows[0].output!r} in {spec.with_name('grading.py')}:2"
    assert problem.what == what


def test_the_loop_goes_on_beside_a_slow_metric_and_whoever_stops_it_waits_for_nothing(
    spec, monkeypatch
):
    monkeypatch.setattr(custom_metric, "MAX_SCORE_S", 200.0)
    (spec.parent / "grading.py").write_text(STUCK)
    examiner, rows = examined(spec)

    async def stopped():
        scoring = asyncio.create_task(examiner.scores(rows, [["x"] * len(rows)]))
        pid = await begun(spec.parent)
        scoring.cancel()
        await asyncio.gather(scoring, return_exceptions=True)
        return pid

    pid = asyncio.run(stopped())

    assert is_gone(pid)


def test_a_metric_ends_with_the_process_that_asks(tmp_path):
    (tmp_path / "grading.py").write_text(STUCK)
    code = "import sys; from pathlib import Path; from tuner.evaluation.custom_metric import CustomMetric"
    code = f"{code}; CustomMetric('grading:grade', Path(sys.argv[1]))('a', 'b')"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path]) as asking:
        pid = asyncio.run(begun(tmp_path))
        asking.send_signal(signal.SIGKILL)

    assert is_gone(pid)


def test_a_score_that_was_closed_begins_no_process(tmp_path):
    with closing(CustomMetric("operator:eq", tmp_path)) as compare:
        pass

    with pytest.raises(SpecError, match="SIGKILL"):
        compare("a", "a")


def examined(spec):
    text = spec.read_text().replace("holdout: 0.3,", "holdout: 0.3, metric: 'grading:grade',")
    spec.write_text(text)
    work = prepare_job(spec)
    kind = work.spec.evaluation.metric
    return Scorer(kind, work, FakeTarget(), EMPTY_CACHE), work.holdout


async def begun(folder):
    """The process that a stuck metric runs in, once it is at it."""
    for _ in range(6000):
        if (folder / "begun").exists():
            return int((folder / "begun").read_text())
        await asyncio.sleep(0.01)
    raise AssertionError("it never began")


def is_gone(pid):
    """Within a while; what is left of a process that nobody waited for does not count."""
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
