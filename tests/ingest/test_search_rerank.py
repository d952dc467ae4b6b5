import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import BertProcessing
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from configs.errors import ModelError
from ingest.search.rerank import Reranker

RARE = [f"rare{number}" for number in range(8)]
COMMON = "what is the of a and in it to for".split()


def pair(rng: random.Random, right: bool) -> tuple[str, str]:
    """A question about a rare word, and a passage that has it or another one; neither is long."""
    asked, other = rng.sample(RARE, 2)
    words = rng.sample(COMMON, 5)
    words[rng.randrange(5)] = asked if right else other
    return f"what is {asked}", " ".join(words)


def tokenizer() -> PreTrainedTokenizerFast:
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    words = {word: number for number, word in enumerate([*special.values(), *COMMON, *RARE])}
    raw = Tokenizer(WordLevel(words, special["unk_token"]))
    raw.pre_tokenizer = Whitespace()
    raw.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=24, **special)


def cross_encoder(folder: Path, labels: int, steps: int = 0) -> Path:
    """A small BERT that tells whether a passage has the rare word that is asked for, once it has learned."""
    torch.manual_seed(0)
    rng = random.Random(0)
    tokens = tokenizer()
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=24,
        num_labels=labels,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
    )
    model = BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        truth = [rng.random() < 0.5 for _ in range(64)]
        batch = tokens(*map(list, zip(*(pair(rng, right) for right in truth), strict=True)), padding=True)
        out = model(**{name: torch.tensor(values) for name, values in batch.items()}).logits
        target = torch.tensor(truth)
        if labels == 1:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(out[:, 0], target.float())
        else:
            loss = torch.nn.functional.cross_entropy(out, target.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder(tmp_path_factory.mktemp("reranker"), labels=1, steps=200)


def test_reading_both_together_puts_the_passage_that_answers_first(learned: Path) -> None:
    reranker = Reranker(str(learned), "cpu", batch_size=3)
    rng = random.Random(5)
    first = []
    for _ in range(15):
        asked = rng.choice(RARE)
        others = [word for word in RARE if word != asked]
        passages = [f"the {word} is in it" for word in rng.sample(others, 4)]
        passages.append(f"the {asked} is in it")
        scores = reranker(f"what is {asked}", passages)
        assert scores.shape == (5,)
        assert scores.dtype == np.float32
        first.append(int(scores.argmax()) == 4)
    assert np.mean(first) > 0.9


def test_scores_do_not_depend_on_the_batch_and_tell_good_passages_apart(learned: Path) -> None:
    pairs = [("what is rare1", f"rare1 {word}") for word in COMMON]
    one, all_at_once = Reranker(str(learned), "cpu", 1).scores(pairs), Reranker(str(learned), "cpu", 64).scores(pairs)
    np.testing.assert_allclose(one, all_at_once, atol=1e-4)
    # Outputs as they are: probabilities would be between 0 and 1, and much the same.
    assert one.max() > 1


def test_two_outputs_become_one_score(tmp_path: Path) -> None:
    folder = cross_encoder(tmp_path / "two", labels=2, steps=60)
    pairs = [("what is rare1", "the rare1 is"), ("what is rare1", "the rare2 is"), ("what is rare3", "it is rare3")]
    batch = tokenizer()(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
    with torch.no_grad():
        yes = BertForSequenceClassification.from_pretrained(folder)(**batch).logits.softmax(-1)[:, 1].numpy()
    scores = Reranker(str(folder), "cpu").scores(pairs)
    assert scores.shape == (3,)
    np.testing.assert_allclose(1 / (1 + np.exp(-scores)), yes, atol=1e-5)


def test_long_texts_are_cut_and_none_is_no_work(learned: Path) -> None:
    reranker = Reranker(str(learned), "cpu")
    assert reranker.max_tokens == 24
    assert np.isfinite(reranker("what " * 20_000, ["rare1 " * 20_000, "", "\x00"])).all()
    # Only what fits is read.
    near, far = reranker("what is rare1", ["the rare1 " + "of " * 100, "of " * 100 + "the rare1"])
    assert near > far
    assert reranker("what is rare1", []).shape == (0,)
    assert reranker.scores([]).dtype == np.float32


def test_other_numbers_of_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has 3 outputs, not 1 or 2\. Set retrieve\.reranker"):
        Reranker(str(cross_encoder(tmp_path / "three", labels=3)), "cpu")


def test_models_that_cannot_be_had_say_so_in_a_line(tmp_path: Path, learned: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelError, match=r"cannot load the reranker '.*empty'.*Set retrieve\.reranker") as caught:
        Reranker(str(empty), "cpu")
    assert "\n" not in str(caught.value)
    # Weights that are pickled, by whoever made them, are never loaded.
    pickled = tmp_path / "pickled"
    model = BertForSequenceClassification.from_pretrained(learned)
    pickled.mkdir()
    model.config.save_pretrained(pickled)
    tokenizer().save_pretrained(pickled)
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        Reranker(str(pickled), "cpu")


def test_weights_that_are_not_finite_are_told(tmp_path: Path) -> None:
    folder = cross_encoder(tmp_path / "broken", labels=1)
    model = BertForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias.fill_(float("nan"))
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match="gives scores that are not finite"):
        Reranker(str(folder), "cpu")("what is rare1", ["the rare1"])
