"""What a command may import before it has something to do with it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

HEAVY = {
    *("pandas", "numpy", "pyarrow", "datasets", "grpc", "google", "sqlalchemy", "rich"),
    *("torch", "transformers", "tokenizers", "pydantic_core"),
}
READS_A_SPEC = {"pydantic_core"}
"""What only commands that read a spec or a pipeline import."""

PROBE = """
import sys
from tuner.__main__ import run
code = run(sys.argv[1:])
print(code, *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def modules_after(*arguments: str, home: object) -> tuple[int, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"TUNER_HOME": str(home), "PATH": "/usr/bin:/bin"},
    )
    code, *names = done.stderr.splitlines()[-1].split()
    return int(code), set(names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("validate", "configs/capitals.yaml"),
        ("validate", "configs/quickstart.yaml"),
        ("status",),
        ("logs",),
        ("logs", "--audit"),
        ("data", "--help"),
        ("data", "rules"),
        ("data", "check", "datasets/support_chats.jsonl"),
        (
            "data",
            "check",
            "datasets/capitals.csv",
            "--text-input=country",
            "--output-column=capital",
        ),
        ("init", "--help"),
        ("plan", "--help"),
        ("pipeline", "validate", "configs/reviews-grid.yaml"),
        ("pipeline", "graph", "configs/reviews-grid.yaml"),
        ("run", "--help"),
    ],
    ids=" ".join,
)
def test_a_light_command_imports_nothing_heavy(tmp_path, arguments):
    code, names = modules_after(*arguments, home=tmp_path)

    reads_a_spec = arguments[-1].endswith(".yaml")
    assert code == 0
    assert names & HEAVY == (READS_A_SPEC if reads_a_spec else set())


@pytest.mark.slow
def test_the_probe_sees_a_heavy_import(tmp_path):
    _, names = modules_after("models", "--help", home=tmp_path)

    assert "click" in names


@pytest.mark.parametrize(
    "group", ["tuner.cli:cli", "tuner.cli.data_commands:data", "tuner.cli.pipeline:pipeline"]
)
def test_the_table_of_commands_says_what_each_command_says(group):
    module, _, name = group.partition(":")
    imported = import_module(module)

    for each, (_, text) in imported.COMMANDS.items():
        command = getattr(imported, name).get_command(None, each)
        assert command.get_short_help_str(200).rstrip(".") == text.rstrip("."), each
