"""Every method of google-ai-generativelanguage's GenerativeService client."""

from __future__ import annotations

from gapic_clients import IS_ASYNC, NAME, content
from google.ai import generativelanguage_v1beta as gl
from google.api_core import exceptions
from refused import INVALID, IS_REST
from steps import BASE, EMBEDDER, TEXTS, absent, check_vectors, everything, raises, step

CONFIG = gl.GenerationConfig(max_output_tokens=24, temperature=0.0, seed=7)


async def go(mine):
    await generate(mine)
    await count_and_embed(mine)
    await answer(mine)
    await unimplemented(mine)


async def generate(mine):
    talk = [content("1"), content("2", "model"), content("5")]
    asked = gl.GenerateContentRequest(
        model=NAME, contents=talk, system_instruction=content("Add one."), generation_config=CONFIG
    )
    with step("generate", "several turns, a system instruction, a seed"):
        whole = await mine.generative.generate_content(asked)
        usage = whole.usage_metadata
        assert 0 < usage.candidates_token_count <= 24
        assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
        assert whole.candidates[0].finish_reason in {1, 2}
        again = await mine.generative.generate_content(asked)
        assert (again.candidates, again.usage_metadata) == (whole.candidates, usage)
    with step("stream", "the same answer in pieces"):
        pieces = await everything(mine.generative.stream_generate_content(asked))
        text = "".join(each.candidates[0].content.parts[0].text for each in pieces)
        assert text == whole.candidates[0].content.parts[0].text
        assert len(pieces) > 1
        assert [each.candidates[0].finish_reason for each in pieces[:-1]] == [0] * (len(pieces) - 1)
        assert pieces[-1].usage_metadata == usage
    with step("errors", "an image, refused by name"), raises(INVALID, "inline_data"):
        picture = gl.Part(inline_data=gl.Blob(mime_type="image/png", data=b"png"))
        await mine.generative.generate_content(model=BASE, contents=[gl.Content(parts=[picture])])
    with step("errors", "a stream refused before it begins"), raises(INVALID, "contents"):
        await everything(mine.generative.stream_generate_content(model=BASE, contents=[]))


async def count_and_embed(mine):
    with step("count", "of a base model's prompt"):
        counted = await mine.generative.count_tokens(model=BASE, contents=[content("5")])
        assert counted.total_tokens > 0
    if IS_REST:
        absent("count", "over REST it counts for `models/*` only")
    else:
        with step("count", "of a tuned model's prompt"):
            again = await mine.generative.count_tokens(model=NAME, contents=[content("5")])
            assert again == counted
    with step("embed", "one text"):
        alone = await mine.generative.embed_content(model=EMBEDDER, content=content(TEXTS[0]))
    with step("embed", "many"):
        asked = [gl.EmbedContentRequest(model=EMBEDDER, content=content(text)) for text in TEXTS]
        batch = await mine.generative.batch_embed_contents(model=EMBEDDER, requests=asked)
        check_vectors(alone.embedding.values, [each.values for each in batch.embeddings])


async def answer(mine):
    with step("generate", "an answer from passages"):
        passages = [
            gl.GroundingPassage(id=word, content=content(text))
            for word, text in (("sky", "The sky is blue."), ("sea", "Fish swim in the sea."))
        ]
        response = await mine.generative.generate_answer(
            gl.GenerateAnswerRequest(
                model=BASE,
                contents=[content("Is the sky blue?")],
                inline_passages=gl.GroundingPassages(passages=passages),
                answer_style="EXTRACTIVE",
            )
        )
        assert 0 < response.answerable_probability <= 1
        named = response.answer.grounding_attributions[0].source_id.grounding_passage
        assert named.passage_id == "sky"


async def unimplemented(mine):
    if IS_REST:
        absent("errors", "over REST it has no live sessions to be refused")
        return

    async def asynchronously():
        yield setup

    with step("errors", "unimplemented: live sessions"):
        setup = gl.BidiGenerateContentClientMessage(setup=gl.BidiGenerateContentSetup(model=BASE))
        asked = asynchronously() if IS_ASYNC else iter([setup])
        with raises(exceptions.MethodNotImplemented, "live sessions"):
            await everything(mine.generative.bidi_generate_content(requests=asked))
