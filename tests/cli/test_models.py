"""What `tuner models` prints and changes."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from tuner.__main__ import run

if TYPE_CHECKING:
    from tests.fakes.target import FakeTarget

NAME = "tunedModels/capitals-3f9a"
ANA = "ana@example.com"


@pytest.mark.usefixtures("target")
def test_base_and_tuned_models_are_listed_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "list"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "state", "display", "name", "from", "created"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["models/tiny", "base"],
        ["models/fixed", "base"],
        [NAME, "ACTIVE"],
    ]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--tuned"], [NAME]),
        (["--base"], ["models/tiny", "models/fixed"]),
        (["--filter", "Capitals"], [NAME]),
        (["--filter", "no such words"], []),
    ],
)
@pytest.mark.usefixtures("target")
def test_a_listing_is_narrowed(
    capsys: pytest.CaptureFixture[str], arguments: list[str], names: list[str]
) -> None:
    assert run(["models", "ls", "-o", "jsonl", *arguments]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["name"] for line in lines] == names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("capitals-3f9a", NAME),
        (NAME, NAME),
        ("tiny", "models/tiny"),
        ("models/tiny", "models/tiny"),
    ],
)
@pytest.mark.usefixtures("target")
def test_an_id_alone_is_enough(capsys: pytest.CaptureFixture[str], text: str, name: str) -> None:
    assert run(["models", "get", text, "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["name"] == name


@pytest.mark.usefixtures("target")
def test_a_shortened_id_is_answered_with_the_whole_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "get", "capitals"]) == 2

    assert f"did you mean {NAME}?" in capsys.readouterr().err


@pytest.mark.usefixtures("target")
def test_an_answer_is_streamed_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "generate", "capitals-3f9a", "Peru"]) == 0

    assert capsys.readouterr().out == "Lima is it\n"


@pytest.mark.parametrize("arguments", [[], ["-"]])
@pytest.mark.usefixtures("target")
def test_the_prompt_may_come_from_stdin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Peru\n"))

    assert run(["models", "generate", NAME, *arguments, "--json"]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert (answer["text"], answer["finish_reason"]) == ("Lima is it", "STOP")


@pytest.mark.usefixtures("target")
def test_an_answer_that_was_cut_off_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    run(["models", "generate", NAME, "Peru", "--max-output-tokens", "1"])

    said = capsys.readouterr()
    assert said.out == "Lima\n"
    assert "MAX_TOKENS" in said.err


@pytest.mark.usefixtures("target")
def test_an_empty_prompt_is_not_sent() -> None:
    assert run(["models", "generate", NAME]) == 2


def test_an_update_sends_what_was_named(target: FakeTarget) -> None:
    assert run(["models", "update", NAME, "--display-name", "Towns", "--top-k", "3"]) == 0

    assert (target.held[NAME].display_name, target.held[NAME].top_k) == ("Towns", 3)


def test_an_update_of_nothing_is_a_mistake(target: FakeTarget) -> None:
    assert run(["models", "update", NAME]) == 2

    assert "update" not in target.calls


@pytest.mark.parametrize("verb", ["delete", "rm"])
def test_a_delete_that_was_confirmed_deletes(target: FakeTarget, verb: str) -> None:
    assert run(["models", verb, NAME, "-y"]) == 0

    assert NAME not in target.held


def test_without_a_terminal_nothing_is_deleted_unasked(target: FakeTarget) -> None:
    assert run(["models", "delete", NAME]) == 2

    assert NAME in target.held


def test_one_wrong_name_and_nothing_is_deleted(target: FakeTarget) -> None:
    assert run(["models", "delete", NAME, "tunedModels/none", "-y"]) == 2

    assert NAME in target.held
