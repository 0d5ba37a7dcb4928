from __future__ import annotations

import pytest

from tuner.__main__ import run


@pytest.mark.parametrize("command", [["status"], ["keys", "list"], ["serve"]])
def test_a_home_that_cannot_be_made_is_told_without_a_traceback(
    tmp_path, monkeypatch, capsys, command
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "file" / "home"))
    assert run(command) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path}/file/home: cannot be created: Not a directory",
        "  fix: set TUNER_HOME to a folder for tuner's state",
    ]
