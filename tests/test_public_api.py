"""What `import tuner` promises."""

from __future__ import annotations

import asyncio
import inspect
import signal
import subprocess
import sys
import threading

import pytest

import tuner
from tests.fakes.one_target import OneTarget
from tuner.__main__ import run as command
from tuner.aio import run_to_end
from tuner.errors import InvalidInput, Unavailable
from tuner.types import Phase


def test_the_public_names_are_these():
    functions = ["plan", "run", "run_pipeline", "status", "submit", "validate"]
    assert sorted(tuner.__all__) == ["__version__", "aio", "data", *functions]
    assert sorted(tuner.aio.__all__) == functions[:-1]


@pytest.mark.parametrize("name", ["plan", "run", "run_pipeline", "status", "submit"])
def test_each_coroutine_takes_what_its_function_takes(name):
    waits, does = getattr(tuner.aio, name), getattr(tuner, name)

    assert inspect.iscoroutinefunction(waits)
    assert inspect.signature(waits) == inspect.signature(does)
    assert waits.__doc__ == f"As ``tuner.{name}``."
    assert "Returns:" in does.__doc__
    assert "Raises:" in does.__doc__


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


def notebook():
    """The spec of the file as a dict, and its rows as a frame with columns of its own."""
    rows = [(f"question {n}", f"answer {n}") for n in range(40)]
    keys = {
        "job": "capitals",
        "base_model": "models/tiny",
        "evaluation": {
            "holdout": 0.3,
            "base_instruction": "Answer.",
            "require": {"better_than_base": True},
        },
        "permissions": [{"role": "READER", "email_address": "ana@example.com"}],
        "transfer_ownership": "lead@example.com",
    }
    return keys, rows


def test_a_dict_and_rows_are_the_very_job_that_the_files_are(spec):
    keys, rows = notebook()

    outcome = tuner.run(keys, examples=rows)
    again = tuner.run(spec)

    assert outcome.job.phase is again.job.phase is Phase.DONE
    assert outcome.job.tuned_model == again.job.tuned_model
    assert OneTarget.target.creates == 1


@pytest.mark.slow
def test_a_frame_is_read_by_the_columns_that_the_spec_names(spec):
    import pandas as pd

    keys, rows = notebook()
    df = pd.DataFrame(rows, columns=["q", "a"]).assign(id=range(40))
    keys["training_data"] = {"text_input": "q", "output": "a"}

    assert tuner.validate(keys, examples=df).examples == tuner.validate(spec).examples


def test_examples_go_before_the_file_that_a_spec_names(spec):
    work = tuner.validate(spec, ["evaluation.holdout=0.1"], examples=[*ROWS, ("x", "y")])

    assert len(work.examples) + len(work.holdout) == 31
    assert "question 1" not in {row.text_input for row in work.examples}


ROWS = [(f"input {n}", f"output {n}") for n in range(30)]


def test_everything_wrong_with_a_dict_and_its_rows_is_said_at_once():
    keys = {
        "job": "x",
        "base_model": "models/m",
        "top_k": 0,
        "hyperparameters": {"epoch_cuont": 3},
        "permissions": [{"role": "READER", "email_address": "ana"}],
        "description": {1},
    }
    with pytest.raises(InvalidInput) as caught:
        tuner.validate(keys, ["temperature=9"], [*ROWS, ("x", None), ("", "y")])

    assert [(each.where, each.what.partition(",")[0]) for each in caught.value.problems] == [
        ("--set temperature=9", "temperature must be at most 1"),
        ("spec: description", "is a set"),
        ("spec: hyperparameters.epoch_cuont", "there is no key 'epoch_cuont' in hyperparameters"),
        ("spec: permissions[0].email_address", "'ana' is not an e-mail address"),
        ("spec: top_k", "must be at least 1"),
        ("examples:31", "output is None where a text is needed"),
        ("examples:32", "text_input is empty"),
    ]


@pytest.mark.parametrize("value", ["training_data", 3, None, ["x"], {"path": 3}])
def test_examples_need_no_path_but_what_is_there_must_make_sense(value):
    keys = {"job": "x", "base_model": "models/m", "training_data": value}
    if value is None or isinstance(value, dict):
        assert len(tuner.validate(keys, examples=ROWS).examples) == 30
        return
    with pytest.raises(InvalidInput) as caught:
        tuner.validate(keys, examples=ROWS)
    assert [each.where for each in caught.value.problems] == ["spec: training_data"]


def test_a_dict_that_holds_itself_is_refused():
    keys = {"job": "x", "base_model": "models/m"}
    keys["evaluation"] = keys

    with pytest.raises(InvalidInput, match="nested more than 50 deep"):
        tuner.validate(keys, examples=ROWS)


def test_numbers_of_numpy_and_paths_are_what_they_say(tmp_path):
    numpy = pytest.importorskip("numpy")
    (tmp_path / "rows.csv").write_text("text_input,output\n" + "a,b\n" * 20)
    keys = {
        "job": "x",
        "base_model": "models/m",
        "training_data": {"path": tmp_path / "rows.csv"},
        "hyperparameters": {"epoch_count": numpy.int64(3), "learning_rate": numpy.float32(0.5)},
    }

    work = tuner.validate(keys)

    assert work.spec.hyperparameters.epoch_count == 3
    assert work.spec.hyperparameters.learning_rate == 0.5


def test_a_job_of_no_file_is_gone_on_with_by_calling_it_again(spec, capsys):  # noqa: ARG001 -- the target that it brings
    keys, rows = notebook()
    OneTarget.target.faults = {n: Unavailable("gone") for n in range(3, 99)}
    with pytest.raises(Unavailable):
        tuner.run(keys, examples=rows)
    capsys.readouterr()

    assert command(["status"]) == 0
    assert "started from Python: capitals; call tuner.run with the same" in capsys.readouterr().err
    assert command(["resume", "capitals"]) == 2
    assert "capitals was started from Python without a spec file" in capsys.readouterr().err
    assert command(["resume"]) == 0
    assert "call tuner.run with the same" in capsys.readouterr().err

    OneTarget.target.faults = {}
    assert tuner.run(keys, examples=rows).job.phase is Phase.DONE
    assert OneTarget.target.creates == 1
    command(["status"])
    assert capsys.readouterr().err == ""


def test_a_job_that_a_file_tells_of_can_still_be_resumed_after_a_call_without_it(spec):
    keys, rows = notebook()
    OneTarget.target.faults = {n: Unavailable("gone") for n in range(3, 99)}
    for given in ({"spec": spec}, {"spec": keys, "examples": rows}):
        with pytest.raises(Unavailable):
            tuner.run(**given)

    OneTarget.target.faults = {}
    assert command(["resume", "capitals"]) == 0


def test_it_runs_where_a_loop_is_running_as_in_a_notebook(spec):
    async def cell():
        return tuner.run(spec)

    assert asyncio.run(cell()).job.phase is Phase.DONE


def test_stopping_it_in_a_notebook_stops_what_it_waits_for():
    """The thread beside the notebook's has ended when its KeyboardInterrupt arrives."""
    begun = threading.Event()
    ended = []

    async def endless():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def cell():
        main = threading.get_ident()

        def interrupt():
            begun.wait()
            signal.pthread_kill(main, signal.SIGINT)

        threading.Thread(target=interrupt).start()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            run_to_end(endless)

    asyncio.run(cell())

    assert ended == [True]
