"""The small encoder from end to end: fit on toy rows, exported, read back, and the same answers before and after."""

import json

import numpy as np
import pytest
import torch

from configs.errors import ModelError
from guards.encoder import Encoder
from guards.training import encoder as training

GOOD, BAD = ["a lovely day", "thank you, friend", "good work"], ["a horrid day", "damn you, enemy", "bad work"]


def toy_rows(texts, targets):
    column = np.array(targets, dtype=np.float32)[:, None]
    return training.Rows(texts, column, np.ones_like(column), np.ones(len(texts), dtype=np.float32))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One layer that tells two kinds of sentences apart: model, tokenizer, and where it was exported to."""
    torch.manual_seed(0)
    model, tokenizer = training.load_base(1, 1)
    rows = toy_rows([*GOOD, *BAD], [0, 0, 0, 1, 1, 1])
    tokens = training.tokenize(tokenizer, rows.texts, 32)
    epochs = [training.batches(tokens, 64, seed) for seed in range(20)]
    training.fit(model, epochs, training.masked_loss(rows))
    prefix = tmp_path_factory.mktemp("weights") / "toy"
    training.export(model, tokenizer, prefix, labels=["bad"], max_tokens=32, version="toy")
    return model, tokenizer, prefix


def test_it_learns_and_says_the_same_in_int8(trained):
    model, tokenizer, prefix = trained
    encoder = Encoder(prefix)
    texts = [*GOOD, *BAD]
    before = training.predict(model, tokenizer, texts, 32)
    after = encoder.logits(texts)
    assert (after[:3] < 0).all()
    assert (after[3:] > 0).all()
    assert np.abs(before - after).max() < 0.3
    assert encoder.labels == ("bad",)
    assert encoder.meta["version"] == "toy"


def test_a_score_does_not_depend_on_its_neighbours(trained):
    encoder = Encoder(trained[2])
    together = encoder.logits(["good work", "x " * 500, "bad work"])
    alone = np.concatenate([encoder.logits([text]) for text in ("good work", "x " * 500, "bad work")])
    assert (together == alone).all()
    assert encoder.logits([]).shape == (0, 1)


@pytest.mark.parametrize("text", ["", "\x00", "\ud800 x", "مرحبا", "a" * 1_000_000, "é\u0301" * 1000])
def test_odd_texts_get_an_answer(trained, text):
    assert np.isfinite(Encoder(trained[2]).logits([text])).all()


def test_a_head_on_every_token_keeps_the_offsets(tmp_path):
    torch.manual_seed(0)
    model, tokenizer = training.load_base(1, 3, pooled=False)
    training.export(model, tokenizer, tmp_path / "tokens", labels=["O", "B", "I"], max_tokens=32)
    text = "Ada \ud800 Lovelace"
    ((offsets, logits),) = Encoder(tmp_path / "tokens").token_logits([text])
    assert logits.shape == (len(offsets), 3)
    assert text[offsets[0][0] : offsets[0][1]] == "Ada"
    assert offsets[-1][1] == len(text)


def test_unknown_labels_and_weights_of_zero_do_not_count():
    rows = training.Rows(
        ["a", "b"],
        np.array([[1, 0], [0, 1]], dtype=np.float32),
        np.array([[1, 0], [1, 1]], dtype=np.float32),
        np.array([1, 0], dtype=np.float32),
    )
    batch = training.Batch(torch.zeros(2, 1), torch.ones(2, 1), [0, 1])
    loss = training.masked_loss(rows)
    first = loss(torch.tensor([[2.0, 9.0], [9.0, 9.0]]), batch)
    assert first.item() == pytest.approx(np.log1p(np.exp(-2)), rel=1e-5)
    assert rows.take([1]).texts == ["b"]


def test_batches_hold_every_row_once_and_keep_to_the_budget():
    tokens = [[1] * length for length in (3, 9, 4, 20, 5, 6, 2)]
    for seed in (None, 1):
        found = training.batches(tokens, 20, seed)
        assert sorted(place for batch in found for place in batch.places) == list(range(7))
        assert all(batch.ids.numel() <= 20 for batch in found)
        assert all(batch.mask.sum() == sum(len(tokens[place]) for place in batch.places) for batch in found)


def test_the_pruned_tokenizer_reads_english_as_before():
    from tokenizers import Tokenizer

    before = Tokenizer.from_file(str(training.base_folder() / "tokenizer.json"))
    before.no_padding()
    after, kept = training.prune(before)
    text = "The naïve café\u2019s \u201cprices\u201d rose 5 € — unbelievably."
    assert after.encode(text).tokens == before.encode(text).tokens
    assert [kept[place] for place in after.encode(text).ids] == before.encode(text).ids


def test_platt_scaling_finds_the_line():
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, 20_000).astype(np.float32)
    targets = (random.random(20_000) < 1 / (1 + np.exp(-(0.5 * logits - 1)))).astype(np.float32)
    slope, intercept = training.platt(logits, targets, np.ones_like(logits))
    assert slope == pytest.approx(0.5, abs=0.03)
    assert intercept == pytest.approx(-1, abs=0.06)


def test_what_cannot_be_loaded_is_one_line_with_a_remedy(trained, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        Encoder(tmp_path / "nowhere")
    (tmp_path / "half.json").write_text(json.dumps({"labels": ["a"], "max_tokens": 8}))
    with pytest.raises(ModelError, match="tokenizer"):
        Encoder(tmp_path / "half").logits(["a"])
    (tmp_path / "half.tokenizer.json").write_bytes((trained[2].parent / "toy.tokenizer.json").read_bytes())
    (tmp_path / "half.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="onnx"):
        Encoder(tmp_path / "half").warm_up()
