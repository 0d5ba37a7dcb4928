from __future__ import annotations

import pytest
import torch

from tests.engine.places import tiny
from tuner.engine import Prompt, Turn
from tuner.engine.chat import open_chat
from tuner.engine.generate import Batch, GenerationRequest, Penalties, choose_token, new_sampler
from tuner.engine.llama import Llama

TEXTS = ["one", "two or three", "a somewhat longer question than the others", "x"]


@pytest.fixture(scope="module")
def model():
    return Llama(tiny(), torch.float32)


def ask(model, *prompts):
    """Answer prompts together; the pieces of each."""
    chat = open_chat(tiny())
    pieces = [[] for _ in prompts]
    requests = [
        GenerationRequest(number, tuple(chat.prompt(prompt.turns)), prompt, pieces[number].append)
        for number, prompt in enumerate(prompts)
    ]
    with torch.inference_mode():
        batch = Batch(requests, model, chat, None)
        while not batch.done:
            batch.advance()
    return pieces


def prompt(text, **settings):
    settings = {"temperature": 0.0, "max_output_tokens": 30} | settings
    return Prompt("models/tiny", (Turn("user", text),), **settings)


def text(pieces):
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neighbours_do_not_change_an_answer(model, temperature):
    prompts = [prompt(text, temperature=temperature, seed=4) for text in TEXTS]

    together = ask(model, *prompts)

    assert together == [ask(model, one)[0] for one in prompts]


def test_a_seed_repeats_an_answer_and_another_does_not(model):
    first, again, other = (prompt("x", temperature=1.0, seed=seed) for seed in (1, 1, 2))

    pieces = ask(model, first, again, other)

    assert text(pieces[0]) == text(pieces[1]) != text(pieces[2])


def test_the_last_piece_says_why_and_how_much(model):
    (pieces,) = ask(model, prompt("x", max_output_tokens=7))

    assert [piece.finish_reason for piece in pieces[:-1]] == [""] * (len(pieces) - 1)
    last = pieces[-1]
    assert (last.finish_reason, last.output_tokens) == ("MAX_TOKENS", 7)
    assert last.prompt_tokens == len(open_chat(tiny()).prompt((Turn("user", "x"),)))


def test_a_stop_sequence_ends_an_answer_before_it(model):
    (whole,) = ask(model, prompt("x"))
    stop = text(whole)[5:8]

    (pieces,) = ask(model, prompt("x", stop_sequences=(stop,)))

    assert text(pieces) == text(whole).partition(stop)[0]
    assert pieces[-1].finish_reason == "STOP"


def test_an_answer_ends_where_the_context_does(model):
    room = model.context - len(open_chat(tiny()).prompt((Turn("user", "x" * 2000),)))

    (pieces,) = ask(model, prompt("x" * 2000, max_output_tokens=999))

    assert pieces[-1].output_tokens == room
    assert pieces[-1].finish_reason == "MAX_TOKENS"


def test_a_row_that_is_dropped_is_worked_on_no_more(model):
    chat = open_chat(tiny())
    pieces = [[], []]
    tokens = tuple(chat.prompt((Turn("user", "x"),)))
    requests = [GenerationRequest(n, tokens, prompt("x"), pieces[n].append) for n in range(2)]
    with torch.inference_mode():
        batch = Batch(requests, model, chat, None)
        before = len(pieces[0])
        batch.advance({requests[0]})
        while not batch.done:
            batch.advance()

    assert len(pieces[0]) == before
    assert pieces[1][-1].finish_reason


def test_every_token_is_scored_on_request(model):
    (plain,) = ask(model, prompt("x", max_output_tokens=9))
    (pieces,) = ask(model, prompt("x", max_output_tokens=9, logprobs=3))
    scores = [score for piece in pieces for score in piece.scores]

    assert text(pieces) == text(plain)
    assert not any(piece.scores for piece in plain)
    assert len(scores) == pieces[-1].output_tokens == 9
    for score in scores:  # greedy takes the likeliest
        values = [each.log_probability for each in score.likeliest]
        assert (score.token_id, score.log_probability) == (
            score.likeliest[0].token_id,
            pytest.approx(values[0]),
        )
        assert values == sorted(values, reverse=True)
        assert len(values) == 3
        assert max(values) < 0


def test_scores_are_the_models_whatever_sampling_does(model):
    settings = {"logprobs": 2, "max_output_tokens": 1, "seed": 3}
    prompts = [
        prompt("x", **settings),
        prompt("x", **settings, temperature=1.7, top_k=1, presence_penalty=2.0),
    ]

    one, other = ask(model, *prompts)

    assert one[0].scores == other[0].scores


def test_a_penalty_keeps_an_answer_from_saying_a_token_again(model):
    (free,) = ask(model, prompt("x", max_output_tokens=40, logprobs=0))
    (other,) = ask(model, prompt("x", max_output_tokens=40, logprobs=0, presence_penalty=99.0))

    def tokens(pieces):
        return [score.token_id for piece in pieces for score in piece.scores]

    assert len(set(tokens(free))) < len(tokens(free))
    assert len(set(tokens(other))) == len(tokens(other))


def test_a_frequency_penalty_grows_with_every_time():
    logits = torch.zeros(4)

    Penalties(0.5, 0.25).apply(logits, {1: 1, 3: 4})

    assert logits.tolist() == [0.0, -0.75, 0.0, -1.5]


LOGITS = torch.tensor([0.1, 3.0, 2.9, -1.0, 1.0])


def drawn(**settings):
    one = new_sampler(**{"temperature": 1.0, "top_p": 1.0, "top_k": 0, "seed": 0} | settings)
    return {choose_token(LOGITS, one) for _ in range(400)}


@pytest.mark.parametrize(
    ("settings", "possible"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"temperature": 0.0}, {1}),
        ({"top_k": 1}, {1}),
        ({"top_k": 2}, {1, 2}),
        ({"top_p": 0.4}, {1}),
        ({"top_p": 0.8}, {1, 2}),
        ({"top_p": 0.0}, {1}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_k": 3, "top_p": 0.99}, {1, 2, 4}),
    ],
)
def test_a_limit_leaves_exactly_the_likeliest_tokens(settings, possible):
    assert drawn(**settings) == possible


def test_a_flat_choice_among_many_tokens_is_not_cut_short():
    one = new_sampler(temperature=1.0, top_p=0.9, top_k=0, seed=0)

    seen = {choose_token(torch.arange(4000) * 1e-6, one) for _ in range(3000)}

    assert min(seen) >= 400  # the least likely tenth
    assert min(seen) < 500
    assert max(seen) > 3900


def test_tokens_are_drawn_as_often_as_they_are_likely():
    one = new_sampler(temperature=0.7, top_p=1.0, top_k=0, seed=3)
    counts = torch.zeros(5)
    for _ in range(1000):
        counts[choose_token(LOGITS, one)] += 1

    torch.testing.assert_close(counts / 1000, (LOGITS / 0.7).softmax(-1), atol=0.05, rtol=0)


def test_the_smallest_temperature_takes_the_likeliest_token():
    one = new_sampler(1e-40, 1.0, 0, 1)
    assert choose_token(LOGITS, one) == int(LOGITS.argmax())


def test_no_draw_falls_on_a_token_that_is_impossible(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.zeros(1))
    impossible_first = torch.tensor([-torch.inf, 1.0, 1.0])
    assert choose_token(impossible_first, new_sampler(1.0, 1.0, 0, 1)) != 0
