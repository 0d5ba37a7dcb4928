from __future__ import annotations

import json
import shutil

import pytest
import torch

from tests.engine.places import MINILM, tiny
from tests.fakes.models import MODELS
from tuner.engine import EngineError
from tuner.engine.base_models import pull
from tuner.engine.embed import Embedder

TEXTS = ["a cat", "", "a much longer text about cats and dogs", "naïve café 東京"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "text", "##s", "dog", "about"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small random BERT with its tokenizer, as sentence-transformers saves one."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab={word: n for n, word in enumerate(WORDS)}).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), num_hidden_layers=2, max_position_embeddings=24, **sizes
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def theirs(folder, text):
    from transformers import AutoModel

    ids = torch.tensor([Embedder(folder).tokenizer.encode(text).ids])
    with torch.no_grad():
        mean = AutoModel.from_pretrained(folder)(input_ids=ids).last_hidden_state.mean(1)
    return torch.nn.functional.normalize(mean, dim=-1)[0]


@pytest.mark.slow
def test_the_vectors_are_those_of_transformers(folder):
    expected = torch.stack([theirs(folder, text) for text in TEXTS])

    found = torch.tensor(Embedder(folder).embed(TEXTS))

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_neighbours_do_not_change_a_vector(folder):
    embedder = Embedder(folder)

    together = torch.tensor(embedder.embed(TEXTS * 20))

    alone = torch.tensor([embedder.embed([text])[0] for text in TEXTS])
    torch.testing.assert_close(together, alone.repeat(20, 1), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_text_beyond_the_context_is_cut_with_its_end_mark_kept(folder):
    embedder = Embedder(folder)

    assert embedder.count("cat " * 90) == 92
    assert embedder.embed(["cat " * 90]) == embedder.embed(["cat " * 22])


def test_a_model_that_is_no_bert_is_refused(tmp_path):
    folder = shutil.copytree(tiny(), tmp_path / "m")
    assert json.loads((folder / "config.json").read_text("utf-8"))["model_type"] == "llama"

    with pytest.raises(EngineError, match="holds a llama model, and embeddings need a BERT"):
        Embedder(folder)


@pytest.mark.slow
@pytest.mark.model
def test_minilm_gives_the_vectors_of_transformers():
    folder = pull(MINILM, MODELS)

    found = torch.tensor(Embedder(folder).embed(TEXTS[:3]))

    expected = torch.stack([theirs(folder, text) for text in TEXTS[:3]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
