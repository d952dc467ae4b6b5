"""Embedders give unit vectors, put the right prefix before each text, count as they read, and say which they are."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from configs.errors import ModelError
from ingest.embed import Remembering, load_embedder, load_token_counter
from ingest.embed_batches import Batches
from ingest.embed_source import source_of

MINILM = "embedded:all-MiniLM-L6-v2"
TEXTS = ["", "One.", "Größe 漢字 🙂", "SELECT * FROM t;", "word " * 70, "A somewhat longer sentence, with two parts."]


@pytest.fixture(scope="module")
def minilm():
    return load_embedder(MINILM, "cpu")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a real model of one small layer, whose settings name prompts as those of E5 and Nomic models do."""
    home = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    BertModel(config).save_pretrained(home / "bert")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(Path(source_of(MINILM)) / name, home / "bert")
    first = Transformer(str(home / "bert"), max_seq_length=64)
    model = SentenceTransformer(modules=[first, Pooling(32)], device="cpu")
    model.prompts = {"query": "query: ", "passage": "passage: "}
    model.save(str(home / "model"))
    return home / "model"


def changed(folder, copy, **prompts):
    """A copy of a model with other prompts."""
    shutil.copytree(folder, copy)
    settings = copy / "config_sentence_transformers.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | prompts))
    return copy


def test_the_embedded_model_knows_meaning(minilm):
    vectors = minilm.encode(["How do I free disk space?", "VACUUM reclaims storage.", "The cat sat on the mat."])
    assert vectors.shape == (3, minilm.dimensions) == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_the_embedded_model_counts_tokens_beyond_its_own_length(minilm):
    assert minilm.max_tokens == 256
    assert minilm.count_tokens("word " * 1000) == 1000
    assert minilm.encode([]).shape == (0, 384)
    assert minilm.encode(["word " * 1000]).shape == (1, 384)


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_vectors_are_those_of_the_library_whatever_shares_a_batch(small, batch_size):
    library = SentenceTransformer(str(small), device="cpu")
    own = load_embedder(str(small), "cpu", batch_size)
    texts = TEXTS * 3
    expected = library.encode(texts, prompt="", normalize_embeddings=True)
    np.testing.assert_allclose(own.encode(texts), expected, atol=1e-5)


def test_only_plain_models_are_called_in_other_batches(small):
    library = SentenceTransformer(str(small), device="cpu")
    assert Batches.of(library, 32) is not None
    library.set_pooling_include_prompt(False)
    assert Batches.of(library, 32) is None


def test_questions_and_passages_get_the_prefixes_that_the_model_names(small):
    embedder = load_embedder(str(small), "cpu")
    assert embedder.prefixes == ("query: ", "passage: ")
    np.testing.assert_allclose(embedder.encode_queries(["disk"]), embedder.encode(["query: disk"]), atol=1e-6)
    np.testing.assert_allclose(embedder.encode_passages(["disk"]), embedder.encode(["passage: disk"]), atol=1e-6)
    assert np.abs(embedder.encode_queries(["disk"]) - embedder.encode_passages(["disk"])).max() > 1e-3


def test_a_model_without_a_transformer_embeds_too(tmp_path):
    tokenizer = Tokenizer.from_file(str(Path(source_of(MINILM)) / "tokenizer.json"))
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)]).save(str(tmp_path / "static"))
    embedder = load_embedder(str(tmp_path / "static"), "cpu", query_prefix="query: ")
    np.testing.assert_allclose(embedder.encode_queries(["disk"]), embedder.encode(["query: disk"]), atol=1e-6)
    assert embedder.count_tokens("disk space") == 2


def test_set_prefixes_count_before_the_models_own(small, minilm):
    embedder = load_embedder(str(small), "cpu", query_prefix="", passage_prefix="search_document: ")
    assert embedder.prefixes == ("", "search_document: ")
    np.testing.assert_allclose(embedder.encode_queries(TEXTS), embedder.encode(TEXTS), atol=1e-6)
    assert minilm.prefixes == ("", "")
    np.testing.assert_array_equal(minilm.encode_passages(["disk"]), minilm.encode(["disk"]))


def test_a_default_prompt_is_put_before_texts_that_are_compared(small, tmp_path):
    folder = changed(small, tmp_path / "m", prompts={"same": "compare: "}, default_prompt_name="same")
    library = SentenceTransformer(str(folder), device="cpu")
    expected = library.encode(["disk"], normalize_embeddings=True)
    np.testing.assert_allclose(load_embedder(str(folder), "cpu").encode(["disk"]), expected, atol=1e-5)


def test_a_model_that_leaves_its_prompt_out_of_the_mean_is_called_in_its_own_way(small, tmp_path):
    library = SentenceTransformer(str(small), device="cpu")
    library.set_pooling_include_prompt(False)
    library.save(str(tmp_path / "m"))
    vectors = load_embedder(str(tmp_path / "m"), "cpu").encode_queries(["disk space"])
    expected = library.encode(["disk space"], prompt="query: ", normalize_embeddings=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert np.abs(vectors - load_embedder(str(small), "cpu").encode_queries(["disk space"])).max() > 1e-3


@pytest.mark.parametrize("name", [MINILM, "small"])
@pytest.mark.parametrize("prefix", [None, "", "search_document: "])
def test_counting_without_the_model_is_counting_with_it(name, prefix, small):
    name = str(small) if name == "small" else name
    counter = load_token_counter(name, prefix)
    model = load_embedder(name, "cpu", passage_prefix=prefix)
    assert (counter.max_tokens, counter.reserved) == (model.max_tokens, model.counter.reserved)
    assert [counter.count(text) for text in TEXTS] == [model.count_tokens(text) for text in TEXTS]


def test_what_is_reserved_is_special_tokens_and_the_prefix(small):
    assert load_token_counter(MINILM).reserved == 2
    assert load_token_counter(str(small)).reserved == 4
    assert load_token_counter(str(small), "search_document: ").reserved == 6


def test_a_limit_that_only_the_model_knows_is_read_from_it(small, tmp_path):
    folder = shutil.copytree(small, tmp_path / "m")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": int(1e30)}))
    assert load_token_counter(str(folder)).max_tokens == load_embedder(str(folder), "cpu").max_tokens == 512


def test_the_identity_is_what_vectors_depend_on(small):
    identity = load_embedder(str(small), "cpu", query_prefix="ask: ").identity
    assert len(identity.pop("revision")) == 16
    assert identity == {
        "name": str(small),
        "dimensions": 32,
        "max_tokens": 64,
        "normalised": True,
        "query_prefix": "ask: ",
        "passage_prefix": "passage: ",
    }
    assert json.loads(json.dumps(identity)) == identity


def test_models_of_one_name_with_other_weights_differ(small, tmp_path):
    folder = shutil.copytree(small, tmp_path / "m")
    before = load_embedder(str(folder), "cpu").identity
    assert load_embedder(str(folder), "cpu").identity == before
    weights = next(folder.rglob("*.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-2] ^= 1
    weights.write_bytes(data)
    after = load_embedder(str(folder), "cpu").identity
    assert after["revision"] != before["revision"]
    assert {**after, "revision": ""} == {**before, "revision": ""}


def test_vectors_that_are_no_numbers_are_refused(small, tmp_path):
    model = SentenceTransformer(str(small), device="cpu")
    with torch.no_grad():
        model[0].model.encoder.layer[0].output.dense.weight.fill_(float("nan"))
    model.save(str(tmp_path / "broken"))
    broken = load_embedder(str(tmp_path / "broken"), "cpu")
    with pytest.raises(ModelError, match=r"gave 3 of 3 vectors .* not finite"):
        broken.encode_passages(["one", "two", "three"])


@pytest.mark.parametrize("name", ["embedded:nosuch", "no/such-model-anywhere"])
def test_an_unknown_embedder_is_named(name):
    with pytest.raises(ModelError, match=name):
        load_embedder(name)


def test_a_folder_that_holds_no_embedder_is_named(tmp_path):
    with pytest.raises(ModelError, match="cannot load the embedder"):
        load_embedder(str(tmp_path))
    with pytest.raises(ModelError, match="cannot load the embedder"):
        load_token_counter(str(tmp_path))


def test_vectors_are_remembered_and_the_oldest_forgotten():
    asked = []

    def encode(texts):
        asked.append(list(texts))
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32).reshape(len(texts), 2)

    remembering = Remembering(encode, most=2)
    assert remembering(["a", "bb", "a"]).tolist() == [[1, 1], [2, 1], [1, 1]]
    assert remembering(["bb", "ccc"]).tolist() == [[2, 1], [3, 1]]
    assert remembering(["a"]).tolist() == [[1, 1]]
    assert remembering([]).shape == (0, 2)
    assert asked == [["a", "bb"], ["ccc"], ["a"], []]
