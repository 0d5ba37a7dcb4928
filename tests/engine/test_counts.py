from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.places import SMOLLM2, tiny
from tests.fakes.models import MODELS
from tuner.engine import Turn
from tuner.engine.base_models import local_folder, pull
from tuner.engine.chat import open_chat

ODD = ("NA", "", " 007 ", "a\r\nb\t", "naïve 東京 🙂", "<|end|>", "x<|im_end|>y", "\x00", "  1.0")


def one_by_one(chat, texts, answers):
    prompts = [len(chat.prompt((Turn("user", text),))) for text in texts]
    return list(zip(prompts, [len(chat.answer(answer)) for answer in answers], strict=True))


@given(st.lists(st.tuples(st.text(), st.text())))
def test_many_rows_have_as_many_tokens_as_each_by_itself(rows):
    chat = open_chat(tiny())
    texts, answers = [row[0] for row in rows], [row[1] for row in rows]

    assert chat.counts(texts, answers) == one_by_one(chat, texts, answers)


def test_special_tokens_that_a_text_spells_out_are_counted_as_text():
    chat = open_chat(tiny())

    assert chat.counts(ODD, ODD) == one_by_one(chat, ODD, ODD)


@pytest.mark.slow
@pytest.mark.model
def test_the_real_tokenizer_counts_many_as_it_counts_one():
    chat = open_chat(pull(SMOLLM2, MODELS))

    assert chat.counts(ODD, ODD) == one_by_one(chat, ODD, ODD)


def test_a_model_that_is_not_here_has_no_folder(tmp_path):
    assert local_folder(SMOLLM2, tmp_path) is None
