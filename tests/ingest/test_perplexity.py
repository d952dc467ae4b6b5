"""Perplexity with a tiny model from a folder: a known figure, the limit, and what happens without a model."""

import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from configs.errors import ModelError
from ingest.filters.perplexity import Perplexity
from ingest.filters.text import Text
from ingest.perplexity import perplexity
from tests.ingest.samples import document

WORDS = [f"w{number}" for number in range(50)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that finds every one of its 50 words equally likely, and so has a perplexity of 50."""
    path = tmp_path_factory.mktemp("model")
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=core, unk_token=WORDS[0]).save_pretrained(path)
    config = LlamaConfig(
        vocab_size=50, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, pad_token_id=0
    )
    model = LlamaForCausalLM(config)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def guessing(folder, tmp_path_factory):
    """The same with weights that prefer some words."""
    path = tmp_path_factory.mktemp("guessing")
    torch.manual_seed(1)
    model = LlamaForCausalLM.from_pretrained(folder)
    torch.nn.init.normal_(model.lm_head.weight, std=3.0)
    model.save_pretrained(path)
    PreTrainedTokenizerFast.from_pretrained(folder).save_pretrained(path)
    return str(path)


def test_it_is_the_loss_that_the_model_itself_reports(guessing):
    ids = torch.tensor([[n * n % 50 for n in range(100)]])
    with torch.inference_mode():
        loss = LlamaForCausalLM.from_pretrained(guessing)(input_ids=ids, labels=ids).loss
    assert perplexity(" ".join(WORDS[n] for n in ids[0]), guessing, 256) == pytest.approx(float(loss.exp()), rel=1e-4)


@pytest.mark.parametrize("words", [16, 100, 128, 300, 5000])
def test_a_model_that_knows_nothing_is_as_perplexed_as_it_has_words(folder, words):
    text = " ".join(WORDS[n % 50] for n in range(words))
    assert perplexity(text, folder, 256) == pytest.approx(50.0, rel=1e-4)


def test_the_rule_refuses_above_its_limit_and_passes_what_is_too_short(folder):
    long = Text(document("u", "T", (0, "", " ".join(WORDS))))
    short = Text(document("u", "T", (0, "", "w1 w2 w3")))
    verdict = Perplexity(model=folder, max_perplexity=49.0)(long)
    assert (verdict.allowed, verdict.threshold) == (False, 49.0)
    assert math.isclose(verdict.score, 50.0, rel_tol=1e-4)
    assert Perplexity(model=folder, max_perplexity=51.0)(long).allowed
    assert Perplexity(model=folder, max_perplexity=1.0)(short).allowed


def test_a_model_that_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(ModelError, match=r"cannot load the model .*clean.perplexity"):
        perplexity("a text", str(tmp_path), 256)
