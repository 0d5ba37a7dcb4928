"""Records of other tools: the examples they become, and what is wrong with those that are none."""

import json

import pytest

from tuner.data.dataset import Source, read, read_rows
from tuner.errors import Problem
from tuner.types import Example


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def parts(role, *texts):
    return {"role": role, "parts": [{"text": text} for text in texts]}


def spoke(speaker, value):
    return {"from": speaker, "value": value}


def chat(*messages):
    return {"messages": list(messages)}


def rows(tmp_path, *records, **options):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return list(read_rows(Source((path,), **options)))


ASKED, ANSWERED = said("user", "Q"), said("assistant", "A")


@pytest.mark.parametrize(
    ("record", "text_input"),
    [
        (chat(ASKED, ANSWERED), "Q"),
        (chat(said("system", "S"), ASKED, ANSWERED), "S\n\nQ"),
        (chat(said("developer", "S"), ASKED, said("model", "A")), "S\n\nQ"),
        (chat(said("system", "S"), said("system", "T"), ASKED, ANSWERED), "S\n\nT\n\nQ"),
        (chat(said("system", ""), ASKED, ANSWERED), "Q"),
        (chat(said("user", [{"type": "text", "text": "Q"}, {"text": "!"}]), ANSWERED), "Q!"),
        (chat(said("user", "Q", name="ana"), said("assistant", "A", weight=1, tool_calls=None)), "Q"),
        ({**chat(ASKED, ANSWERED), "tools": [], "id": 7}, "Q"),
        ({"contents": [parts("user", "Q"), parts("model", "A")]}, "Q"),
        ({"systemInstruction": parts("x", "S", "T"),
          "contents": [parts("user", "Q"), parts("model", "A")]}, "ST\n\nQ"),
        ({"system_instruction": {"parts": [{"text": "S"}]},
          "contents": [parts("user", "Q"), parts("model", "A")]}, "S\n\nQ"),
        ({"conversations": [spoke("human", "Q"), spoke("gpt", "A")]}, "Q"),
        ({"system": "S", "conversations": [spoke("human", "Q"), spoke("gpt", "A")]}, "S\n\nQ"),
        ({"conversations": [spoke("system", "S"), said("user", "Q"), said("assistant", "A")]},
         "S\n\nQ"),
        ({"prompt": "Q", "completion": "A"}, "Q"),
        ({"prompt": [ASKED], "completion": [ANSWERED]}, "Q"),
        ({"instruction": "Q", "input": "", "output": "A"}, "Q"),
        ({"instruction": "Q", "output": "A"}, "Q"),
        ({"instruction": "Q", "input": None, "output": "A", "system": ""}, "Q"),
        ({"instruction": "I", "input": "Q", "output": "A"}, "I\n\nQ"),
        ({"instruction": "I", "input": "Q", "output": "A", "system": "S"}, "S\n\nI\n\nQ"),
        ({"instruction": "", "input": "Q", "output": "A"}, "Q"),
    ],
)  # fmt: skip
def test_a_record_becomes_an_example(tmp_path, record, text_input):
    assert rows(tmp_path, record, record) == [Example(text_input, "A")] * 2


@pytest.mark.parametrize(
    "record",
    [
        chat(said("system", "S"), ASKED, ANSWERED, said("user", "R"), said("assistant", "B")),
        {"systemInstruction": parts("system", "S"), "contents": [
            parts("user", "Q"), parts("model", "A"), parts("user", "R"), parts("model", "B")]},
        {"system": "S", "conversations": [
            spoke("human", "Q"), spoke("gpt", "A"), spoke("human", "R"), spoke("gpt", "B")]},
        {"system": "S", "history": [["Q", "A"]], "instruction": "R", "output": "B"},
    ],
)  # fmt: skip
def test_several_turns_are_refused_or_expanded_to_an_example_per_answer(tmp_path, record):
    (problem,) = rows(tmp_path, record)
    assert problem.rule == "multi-turn"
    assert "multi_turn: expand" in problem.fix

    assert rows(tmp_path, record, multi_turn="expand") == [
        Example("S\n\nQ", "A"),
        Example("S\n\nUser: Q\n\nAssistant: A\n\nUser: R", "B"),
    ]


def test_an_answer_of_weight_0_is_only_context(tmp_path):
    first = said("assistant", "A", weight=0)
    record = chat(ASKED, first, said("user", "R"), said("assistant", "B"))

    assert rows(tmp_path, record, multi_turn="expand") == [
        Example("User: Q\n\nAssistant: A\n\nUser: R", "B")
    ]


@pytest.mark.parametrize(
    ("record", "what", "mark"),
    [
        (chat(), "neither a question nor an answer", "["),
        (chat(said("system", "S")), "neither a question nor an answer", "["),
        (chat(ASKED), "the last message is not an answer", '{"role"'),
        (chat(ANSWERED, ASKED), "of the model where one of the user", '{"role"'),
        (chat(ASKED, said("user", "R"), ANSWERED), "of the user where one of the model",
         '{"role": "user", "content": "R"'),
        (chat(ASKED, said("system", "S"), ANSWERED), "of the system where", '{"role": "sys'),
        (chat(ASKED, said("assistant", "A", weight=0)), "there is nothing to learn", "["),
        (chat(ASKED, said("assistant", "A", weight=0.5)), "weight is a number (0.5)", "0.5"),
        (chat(ASKED, said("robot", "A")), "unknown role 'robot'", '"robot"'),
        (chat(ASKED, said("tool", "A")), "'tool' is a tool's message", '"tool"'),
        (chat(ASKED, said(7, "A")), "unknown role a number (7)", "7"),
        (chat(ASKED, {"content": "A"}), "a message has no 'role'", '{"content": "A"'),
        (chat(ASKED, {"role": "assistant"}), "a message has no 'content'", '{"role": "assistant"'),
        (chat(ASKED, said("assistant", None, tool_calls=[{}])), "a message contains tool_calls", "[{}]"),
        (chat(ASKED, said("assistant", None)), "content is null where a text", "null"),
        (chat(ASKED, said("assistant", [])), "content is a list where a text", "[]"),
        (chat(ASKED, said("assistant", [{"type": "image_url"}])), "a part is image_url", '{"type"'),
        (chat(ASKED, said("assistant", [{"text": 7}])), "text is a number (7)", "7"),
        (chat(ASKED, "A"), "a message is a text where an object", '"A"'),
        ({"messages": "A"}, "messages is a text where a list", '"A"'),
        ({**chat(ASKED, ANSWERED), "tools": [7]}, "tools are declared", "[7]"),
        ({"x": 1}, "there is no key 'messages'; there is 'x'", "{"),
    ],
)  # fmt: skip
def test_a_problem_with_messages_has_its_place(tmp_path, record, what, mark):
    good, problem = rows(tmp_path, chat(ASKED, ANSWERED), record)

    assert good == Example("Q", "A")
    assert what in problem.what
    assert problem.fix
    assert problem.line == 2
    assert json.dumps(record)[problem.column - 1 :].startswith(mark)


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"contents": [parts("user", "Q"), {"role": "model", "parts": [{"fileData": {}}]}]},
         "a part is fileData, not text"),
        ({"contents": [parts("user", "Q"), parts("assistant", "A")]}, "unknown role 'assistant'"),
        ({"contents": 7}, "contents is a number (7)"),
        ({"systemInstruction": 7, "contents": [parts("user", "Q"), parts("model", "A")]},
         "systemInstruction is a number (7) where parts"),
        ({"conversations": [spoke("human", "Q"), spoke("observation", "A")]}, "tool's message"),
        ({"prompt": 7, "completion": "A"}, "prompt is a number (7)"),
        ({"instruction": "Q", "input": 7, "output": "A"}, "input is a number (7)"),
        ({"instruction": "Q", "output": "A", "history": "x"}, "history is no list"),
        ({"instruction": "Q", "output": "A", "history": [["x"]]}, "a turn of history is not"),
    ],
)  # fmt: skip
def test_a_problem_with_another_record_format_is_reported(tmp_path, record, what):
    (problem,) = rows(tmp_path, record)

    assert isinstance(problem, Problem)
    assert what in problem.what
    assert problem.column


def test_a_named_format_takes_precedence_over_the_keys(tmp_path):
    record = {**chat(ASKED, ANSWERED), "text_input": "q", "output": "a"}

    assert rows(tmp_path, record) == [Example("q", "a")]
    assert rows(tmp_path, record, format="openai") == [Example("Q", "A")]


def test_a_character_of_a_joined_text_has_the_place_of_its_part(tmp_path):
    path = tmp_path / "rows.jsonl"
    record = chat(said("system", 'S"\n'), said("user", "Q\u20ac\U0001f600!"), ANSWERED)
    path.write_text(json.dumps(record))
    line = path.read_text()

    (batch,) = [each for each in read(Source((path,))) if each.lines]
    found = [line[batch.locate(0, "text_input", at)[1] - 1 :] for at in range(9)]

    starts = ["S", '\\"', "\\n", "Q", "Q", "Q", "\\u20ac", "\\ud83d", "!"]
    assert [text[: len(start)] for text, start in zip(found, starts, strict=True)] == starts
    assert line[batch.locate(0, "output")[1] - 1 :].startswith("A")
