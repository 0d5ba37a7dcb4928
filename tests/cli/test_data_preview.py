from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tests.engine.places import tiny
from tuner.cli import cli
from tuner.cli.data_preview import tokens_of, visible
from tuner.engine import batches
from tuner.engine.chat import open_chat, token_texts
from tuner.errors import DatasetError
from tuner.tokens import open_counter
from tuner.types import Example

ODD = ["NA", " 007 ", "a\r\nb\t", "naïve 東京 🙂", "<|end|>", "�", "\x1b[31m", "é" * 3]
ROWS = 'text_input,output\none,1\n"two\nlines",2\nthree,3\nfour,4,4\n'


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "home"))
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    return path


def ask(*arguments):
    done = CliRunner().invoke(cli, ["data", "preview", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.mark.parametrize("text", ODD)
def test_what_is_shown_is_what_the_engine_feeds_with_the_same_loss_mask(text):
    counter = open_counter(str(tiny()), "Answer.")
    shown = tokens_of(counter, Example(text, text))

    (row,) = batches.rows([Example(f"Answer.\n\n{text}", text)], open_chat(tiny()), counter.limit)

    assert shown["token_ids"] == [*row.prompt, *row.answer]
    assert shown["loss_mask"] == [0] * len(row.prompt) + [1] * len(row.answer)
    assert shown["learnt"] == f"{text}<|end|>"
    assert shown["prompt"].endswith(f"user\nAnswer.\n\n{text}<|end|><|begin|>assistant\n")


@pytest.mark.parametrize("text", ODD)
def test_the_pieces_are_whole_characters_and_make_the_text(text):
    chat = open_chat(tiny())
    tokens = chat.answer(text)

    pieces = list(token_texts(chat, tokens))

    assert "".join(each.text for each in pieces) == f"{text}<|end|>"
    assert [token for each in pieces for token in each.tokens] == tokens
    assert [each.text for each in pieces if each.is_special] == ["<|end|>"]


def test_the_part_that_is_learnt_stands_in_brackets_where_there_are_no_colours(rows):
    said = ask(rows, "--model", tiny()).stdout

    assert f"example 1 ({rows}:2)\n" in said
    assert "<|begin|>user↵\none<|end|><|begin|>assistant↵\n⟦1<|end|>⟧\n" in said
    assert "2 trained" in said


def test_tokens_are_cut_where_asked(rows):
    assert "╎o╎n╎e╎<|end|>╎" in ask(rows, "--model", tiny(), "--tokens").stdout


@pytest.mark.parametrize(("line", "row"), [(2, 1), (3, 2), (4, 2), (5, 3)])
def test_an_example_is_found_by_any_of_its_lines(rows, line, row):
    (shown,) = json.loads(ask(rows, "--line", line, "--json").stdout)

    assert shown["row"] == row


def test_a_line_that_cannot_be_read_says_why(rows):
    with pytest.raises(DatasetError) as refused:
        ask(rows, "--line", 6)

    assert refused.value.problems[0].line == 6


def test_rows_are_shown_from_the_one_named(rows):
    shown = json.loads(ask(rows, "--row", 2, "-n", 5, "--json").stdout)

    assert [each["text_input"] for each in shown] == ["two\nlines", "three"]
    assert "there is no example 9" in ask(rows, "--row", 9).stderr


def test_an_example_that_is_too_long_says_that_the_tuning_is_refused(rows):
    rows.write_text(f"text_input,output\n{'x' * 3000},y\n")
    done = ask(rows, "--model", tiny())

    assert "more than the 2,048 the model takes" in done.stdout
    assert "more tokens, shown by --full" in done.stdout
    assert "x" * 3000 in ask(rows, "--model", tiny(), "--full").stdout
    assert json.loads(ask(rows, "--model", tiny(), "--json").stdout)[0]["fits"] is False


def test_without_a_tokenizer_the_request_is_shown_and_said_to_be_that(rows):
    done = ask(rows)

    assert done.stdout.endswith("text_input:\none\noutput:\n1\n\n")
    assert "shown as in the request: no base model is named" in done.stderr


def test_a_text_cannot_steer_the_terminal():
    assert visible("a\x1b[31m\x07\r\n\u202e\t") == "a\\x1b[31m\\x07\\r↵\n\\u202e\\t"


@pytest.mark.slow
def test_the_loop_takes_the_loss_on_just_the_tokens_that_are_shown_as_learnt():
    torch = pytest.importorskip("torch")
    from tuner.engine import train
    from tuner.engine.llama import Llama

    counter = open_counter(str(tiny()), "Answer.")
    example = Example("what?", "naïve 🙂")
    shown = tokens_of(counter, example)
    model = Llama(tiny(), torch.float32)
    fed = []

    class Watched:
        def label_logits(self, rows, adapter):
            fed.extend([*row.prompt, *row.answer] for row in rows)
            logits = model.label_logits(rows, adapter)
            fed.append(len(logits))
            return logits

    asked = example._replace(text_input=f"Answer.\n\n{example.text_input}")
    rows = batches.rows([asked], open_chat(tiny()), counter.limit)
    train.gradients(Watched(), model.trainable(model.new_adapter(1)), rows)

    assert fed == [shown["token_ids"], sum(shown["loss_mask"])]


def test_line_ends_of_a_request_are_shown_where_they_are(rows):
    assert "text_input:\ntwo↵\nlines\noutput:\n2\n" in ask(rows, "--row", "2").stdout
