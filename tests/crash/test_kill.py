"""kill -9 of the real `tuner run` and of the service's worker: one model, one grant, one transfer."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SERVICE = "base_models:\n  tiny: {source: 'builtin:tiny'}\n"
SPEC = """\
job: sums
base_model: models/tiny
training_data: {path: rows.csv}
hyperparameters: {epoch_count: 12, batch_size: 4, learning_rate: 1e-2}
evaluation: {holdout: 0.2}
permissions: [{role: READER, email_address: ana@example.com}]
transfer_ownership: lead@example.com
"""
LIVES = 5
KILLS_OF_WORKERS = 2  # a worker that dies at every start is given up: it may be out of memory


@pytest.fixture
def home(tmp_path):
    """A home whose service offers the tiny model; the service is ended in the end."""
    folder = tmp_path / "home"
    (folder / "service").mkdir(parents=True)
    (folder / "service" / "service.yaml").write_text(SERVICE)
    (tmp_path / "sums.yaml").write_text(SPEC)
    rows = "\n".join(f"{n}+{n},{2 * n}" for n in range(60))
    (tmp_path / "rows.csv").write_text(f"text_input,output\n{rows}\n")
    yield folder
    command(folder, "serve", "--stop")


def command(home, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "tuner", *arguments],
        env=os.environ | {"TUNER_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run_and_kill(home, after_s):
    """Start `tuner run` and kill it where it stands, unless it ends before."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "run", str(home.parent / "sums.yaml")],
        env=os.environ | {"TUNER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_until(home, said):
    """Start `tuner run` and return it when it has said that much."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "run", str(home.parent / "sums.yaml")],
        env=os.environ | {"TUNER_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert any(said in line for line in process.stderr)
    return process


def kill_workers(home):
    """kill -9 every process that tunes for this home."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            if "tuner.engine.worker" in words and str(home) in words:
                os.kill(int(entry.name), signal.SIGKILL)


def calls(home):
    """How often the service did what changes something, from its log."""
    log = (home / "service" / "serve.log").read_text().splitlines()
    done = [json.loads(line) for line in log if line.startswith("{")]
    changing = ("CreateTunedModel", "CreatePermission", "TransferOwnership")
    return {
        name: sum(1 for each in done if each["event"] == name and each.get("code") == "OK")
        for name in changing
    }


@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_again_and_again_does_everything_once(home, seed):
    chance = random.Random(seed)
    for life in range(LIVES):
        run_and_kill(home, chance.uniform(0.3, 4.0))
        if life < KILLS_OF_WORKERS:
            kill_workers(home)

    last = command(home, "run", str(home.parent / "sums.yaml"), "--json")

    assert last.returncode == 0, last.stderr
    [result] = json.loads(last.stdout)
    assert result["phase"] == "DONE"
    assert calls(home) == {"CreateTunedModel": 1, "CreatePermission": 1, "TransferOwnership": 1}
    assert sorted((p["email_address"], p["role"]) for p in result["permissions"]) == [
        ("ana@example.com", "READER"),
        ("lead@example.com", "OWNER"),
        ("owner@localhost", "WRITER"),
    ]


def test_ctrl_c_detaches_and_the_tuning_goes_on(home):
    process = run_until(home, "submitted")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130, said
    assert "tuner resume" in said
    assert "Traceback" not in said
    assert command(home, "resume").returncode == 0
    assert calls(home)["CreateTunedModel"] == 1


def test_a_service_killed_in_the_middle_of_a_run_is_started_again(home):
    process = run_until(home, "tuning, step")
    address = json.loads((home / "service" / "address.json").read_text())
    os.kill(address["pid"], signal.SIGKILL)
    _, said = process.communicate(timeout=120)

    assert process.returncode == 0, said
    assert calls(home)["CreateTunedModel"] == 1
    assert calls(home)["TransferOwnership"] == 1
