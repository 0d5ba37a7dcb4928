from __future__ import annotations

import json

import pytest
import torch

from tests.engine.places import tiny
from tuner.engine import EngineError, Form, Prompt, Turn
from tuner.engine.chat import open_chat
from tuner.engine.constrained import Constraint, constraint_vocabulary
from tuner.engine.generate import Batch, GenerationRequest
from tuner.engine.llama import Llama

CHAT = open_chat(tiny())
VOCABULARY = constraint_vocabulary(CHAT)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "ages": {"type": "array", "items": {"type": "integer", "maximum": 99}, "maxItems": 3},
        "kind": {"enum": ["a", "b", None]},
    },
    "required": ["name", "ages", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def model():
    return Llama(tiny(), torch.float32)


def asked(form, **settings):
    settings = {"temperature": 1.0, "max_output_tokens": 400} | settings
    return Prompt("models/tiny", (Turn("user", "x"),), form=form, **settings)


def answers(model, *prompts):
    """The pieces of each, answered together."""
    pieces = [[] for _ in prompts]
    requests = [
        GenerationRequest(
            number,
            tuple(CHAT.prompt(prompt.turns)),
            prompt,
            pieces[number].append,
            Constraint(VOCABULARY, prompt.form) if prompt.form else None,
        )
        for number, prompt in enumerate(prompts)
    ]
    with torch.inference_mode():
        batch = Batch(requests, model, CHAT, None)
        while not batch.done:
            batch.advance()
    return pieces


def text(pieces):
    return "".join(piece.text for piece in pieces)


def test_whatever_the_model_would_say_it_says_json_by_the_schema(model):
    form = Form(json_schema=json.dumps(PERSON))

    for pieces in answers(model, *(asked(form, seed=seed) for seed in range(12))):
        person = json.loads(text(pieces))
        assert list(person) == ["name", "ages", "kind"]
        assert len(person["name"]) <= 6
        assert all(isinstance(age, int) and age <= 99 for age in person["ages"])
        assert person["kind"] in {"a", "b", None}
        assert pieces[-1].finish_reason == "STOP"
        assert len(pieces) > 1


def test_rows_with_and_without_a_form_go_together(model):
    choice, free = asked(Form(choices=("yes", "no"))), asked(None, max_output_tokens=5)

    first, other, second = answers(model, choice, free, choice)

    assert {text(first), text(second)} <= {"yes", "no"}
    assert (other[-1].finish_reason, other[-1].output_tokens) == ("MAX_TOKENS", 5)


def test_a_choice_that_begins_another_can_be_made(model):
    prompts = [asked(Form(choices=("a", "ab", 'q"\n🙂')), seed=seed) for seed in range(30)]

    assert {text(pieces) for pieces in answers(model, *prompts)} == {"a", "ab", 'q"\n🙂'}


def test_a_quotation_is_some_words_of_one_source(model):
    sources = ("The naïve café — 5% “off”!\n\nAnd more.", "other words")
    prompts = [asked(Form(sources=sources), seed=seed) for seed in range(12)]

    said = [text(pieces) for pieces in answers(model, *prompts)]

    assert all(any(each in source for source in sources) for each in said)
    assert all(each == each.strip() != "" for each in said)


def test_an_answer_that_is_cut_off_says_so_and_one_that_meets_a_stop_sequence_ends(model):
    form = Form(json_schema='{"enum": ["one two three"]}')

    cut, stopped = answers(
        model, asked(form, max_output_tokens=4), asked(form, stop_sequences=("two",))
    )

    assert (text(cut), cut[-1].finish_reason) == ('"one', "MAX_TOKENS")
    assert (text(stopped), stopped[-1].finish_reason) == ('"one ', "STOP")


def test_white_space_has_an_end():
    constraint = Constraint(VOCABULARY, Form(json_schema="{}"))
    logits = torch.zeros(len(CHAT.tokenizer.get_vocab()))
    (space,) = CHAT.answer(" ")[:-1]
    for token in CHAT.answer('{"a":')[:-1]:
        constraint.accept(token)

    for _ in range(9):
        assert constraint.mask(logits.clone())
        constraint.accept(space)
    assert constraint.mask(logits)

    assert logits[space] == -torch.inf


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (Form(json_schema='{"uniqueItems": true}'), "uniqueItems"),
        (Form(json_schema='{"type": "zebra"}'), "zebra"),
        (Form(json_schema="[]"), "object"),
        (Form(json_schema='{"type": "integer", "minimum": 5, "maximum": 3}'), "minimum"),
        (Form(json_schema='{"$ref": "file:///etc/passwd"}'), "not present"),
    ],
)
def test_a_form_that_no_answer_can_have_is_the_requests_fault(form, why):
    with pytest.raises(EngineError, match=why) as refused:
        Constraint(VOCABULARY, form)
    assert refused.value.is_request


def test_a_form_that_cannot_be_followed_further_ends_its_own_row_only(model):
    class Lost(Constraint):
        def mask(self, _logits):
            return False

    pieces = [[], []]
    tokens = tuple(CHAT.prompt((Turn("user", "x"),)))
    prompts = [asked(Form(choices=("a",))), asked(None, max_output_tokens=3)]
    constraints = [Lost(VOCABULARY, prompts[0].form), None]
    requests = [
        GenerationRequest(n, tokens, prompts[n], pieces[n].append, constraints[n]) for n in range(2)
    ]
    with torch.inference_mode():
        batch = Batch(requests, model, CHAT, None)
        while not batch.done:
            batch.advance()

    assert pieces[0][-1].finish_reason == "OTHER"
    assert pieces[1][-1].finish_reason == "MAX_TOKENS"
