"""An engine's pieces as the candidates and counts that clients read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.engine import Piece
from tuner.server import messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner.engine import Score
    from tuner.server.messages import Message

TEXT_MODALITY = 1
TOO_INVOLVED = "the schema became too involved to follow; simplify its patterns and unions"


def joined(pieces: Sequence[Piece]) -> Piece:
    """The whole of an answer as one piece."""
    last = pieces[-1]
    return Piece(
        "".join(piece.text for piece in pieces),
        last.finish_reason,
        last.prompt_tokens,
        last.output_tokens,
        tuple(score for piece in pieces for score in piece.scores),
    )


def candidate(index: int, piece: Piece, scored: Sequence[Score] = ()) -> Message:
    """One answer, or a piece of it; ``scored`` is every token up to there, if tokens are scored."""
    message = messages.Candidate(index=index, token_count=piece.output_tokens)
    message.content.role = "model"
    message.content.parts.add().text = piece.text
    if piece.scores:
        _fill_scores(message.logprobs_result, piece.scores)
    if piece.finish_reason:
        message.finish_reason = piece.finish_reason
        if scored:
            message.avg_logprobs = sum(score.log_probability for score in scored) / len(scored)
    if piece.finish_reason == "OTHER":
        message.finish_message = TOO_INVOLVED
    return message


def fill_usage(usage: Message, prompt_tokens: int, output_tokens: int) -> None:
    """Tokens read and written: of every candidate, up to here."""
    usage.prompt_token_count = prompt_tokens
    usage.candidates_token_count = output_tokens
    usage.total_token_count = prompt_tokens + output_tokens
    usage.prompt_tokens_details.add(modality=TEXT_MODALITY, token_count=prompt_tokens)
    usage.candidates_tokens_details.add(modality=TEXT_MODALITY, token_count=output_tokens)


def _fill_scores(result: Message, scores: Sequence[Score]) -> None:
    for score in scores:
        _fill_score(result.chosen_candidates.add(), score)
        likeliest = result.top_candidates.add().candidates
        for each in score.likeliest:
            _fill_score(likeliest.add(), each)
    result.log_probability_sum = sum(score.log_probability for score in scores)


def _fill_score(message: Message, score: Score) -> None:
    message.token, message.token_id = score.token, score.token_id
    message.log_probability = score.log_probability
