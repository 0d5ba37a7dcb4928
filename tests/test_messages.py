"""The exact wording of errors, findings and help, in one file to review.

Other tests check place, rule code and key words. After an intended change of wording run
`make approve`, and read the difference of tests/messages.txt before you commit it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click
import pytest

from tests.data.test_broken import HERE, declared, read_and_check
from tests.jobspec.reading import LEAST, load_spec
from tests.jobspec.test_mistakes import MISTAKES
from tuner.cli import cli
from tuner.errors import SpecError

APPROVED = Path(__file__).with_name("messages.txt")


def help_lines(name, command, parent=None):
    """The help of a command and its subcommands, as it is shown at 100 columns."""
    context = click.Context(command, parent, name, terminal_width=100, **command.context_settings)
    yield from ("", f"$ {context.command_path} --help", "", command.get_help(context))
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            if not found.hidden:
                yield from help_lines(each, found, context)


def spec_lines():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        for line, *_ in MISTAKES:
            if len(line) < 200:
                path.write_text(f"{LEAST}{line}\n")
                with pytest.raises(SpecError) as error:
                    load_spec(path)
                yield f"\n{line}"
                yield str(error.value).replace(f"{folder}/", "")


def data_lines():
    for case in declared("broken/places.txt"):
        name, options, _ = case.values
        problems, _ = read_and_check(HERE / "broken" / name, options)
        yield ""
        yield from (str(problem).replace(f"{HERE}/broken/", "") for problem in problems)


def messages():
    """The content of the approved file."""
    lines = ["# Mistakes in a job spec", *spec_lines(), "\n\n# Broken data files", *data_lines()]
    lines += ["\n\n# Help", *help_lines("tuner", cli)]
    return "\n".join(each.rstrip() for line in lines for each in line.split("\n")) + "\n"


def test_the_wording_of_messages_is_approved():
    command = [sys.executable, "-m", "tests.test_messages"]  # click caches help in this process
    shown = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")

    assert shown.stdout == APPROVED.read_text(encoding="utf-8"), "run `make approve`"


if __name__ == "__main__":
    sys.stdout.write(messages())
