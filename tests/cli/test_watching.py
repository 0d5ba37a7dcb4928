"""What a terminal shows while something takes long."""

import sys

import pytest

from tuner.cli.output import MANY_ROWS, busy


@pytest.mark.parametrize(
    ("rows", "is_terminal", "is_said"),
    [(MANY_ROWS, True, True), (MANY_ROWS - 1, True, False), (MANY_ROWS, False, False)],
)
def test_many_rows_are_said_to_be_compared_on_a_terminal(
    rows, is_terminal, is_said, monkeypatch, capsys
):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)

    with busy("comparing", rows):
        pass

    assert (f"comparing: {rows:,} rows" in capsys.readouterr().err) is is_said
