import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ModelError
from guards.base import NO_CONTEXT, Action, Context
from guards.detectors.grounding import GroundingGuard, makes_claim, support
from guards.detectors.grounding_features import Block, compare
from guards.detectors.grounding_nli import Entailment
from guards.detectors.grounding_text import LONGEST, Sentence, sentences, stem
from guards.training.grounding import documentation, figures, fit_model, roc_auc

PASSAGES = (
    "Votes are kept in SQLite by default. PostgreSQL takes over when a table outgrows 2,000 rows. Training begins on"
    " 5 March 2021 and takes two hours. The cache must not be cleared before the backup ends.",
    "The guard redacts e-mail addresses and telephone numbers. Latency increases with the number of workers, and the"
    " error rate stays below 12.0 percent.",
)
SAID = [
    "Votes are kept in SQLite by default [1].",
    "PostgreSQL takes over when a table outgrows 2000 rows.",
    "Training takes 2 hours.",
    "The error rate stays below 12%.",
    "The guard redacts e-mail addresses. [2]",
    "The cache must not be cleared before the backup ends.",
]
NOT_SAID = {
    "Votes are kept in MySQL by default.": "name",
    "PostgreSQL takes over when a table outgrows 3,000 rows.": "number",
    "Training takes 3 hours.": "number",
    "The error rate stays below 14%.": "number",
    "The cache must be cleared before the backup ends.": "negation",
    "Latency decreases with the number of workers.": "direction",
    "Cats prefer fish to vegetables.": None,
}


def sentence(text):
    return Sentence(0, len(text), text)


def bag_of_words(texts):
    """An embedder small enough for tests: words hashed into 64 places."""
    vectors = np.zeros((len(texts), 64), dtype=np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            vectors[row, sum(word.encode()) % 64] += 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.mark.parametrize("answer", SAID)
def test_says_supported_what_the_passages_say(answer):
    verdict = GroundingGuard().check(answer, Context(passages=PASSAGES))
    assert (verdict.action, verdict.spans) == (Action.ALLOW, ())
    assert verdict.score >= verdict.threshold


@pytest.mark.parametrize(("answer", "mismatch"), NOT_SAID.items())
def test_flags_a_sentence_that_differs_in_one_place(answer, mismatch):
    verdict = GroundingGuard().check(answer, Context(passages=PASSAGES))
    assert verdict.action is Action.FLAG
    assert verdict.score < verdict.threshold
    if mismatch:
        assert mismatch in support(answer, PASSAGES)[0].mismatches


def test_spans_are_the_unsupported_sentences_of_the_original():
    answer = "Hello there! Votes are kept in SQLite by default. [1] Cats prefer fish. [2]\n\nAnything else?"
    verdict = GroundingGuard(action=Action.BLOCK).check(answer, Context(passages=PASSAGES))
    assert [answer[span.start : span.end] for span in verdict.spans] == ["Cats prefer fish."]
    assert verdict.action is Action.BLOCK
    assert "Cats" not in verdict.reason
    assert verdict.reason.startswith("1 of 2 statements lack support")


def test_names_the_place_of_the_support():
    found = support("The guard redacts e-mail addresses [2].", PASSAGES)
    assert len(found) == 1
    assert found[0].passage == 1
    quoted = PASSAGES[1][found[0].support_start : found[0].support_end]
    assert quoted == "The guard redacts e-mail addresses and telephone numbers."


def test_nothing_is_supported_without_passages_but_what_makes_no_claim():
    guard = GroundingGuard()
    verdict = guard.check("Votes are kept in SQLite.", NO_CONTEXT)
    assert (verdict.action, verdict.score) == (Action.FLAG, 0.0)
    quiet = "Hello! The documents do not answer this question. Would you like to ask something else?"
    assert guard.check(quiet, NO_CONTEXT).action is Action.ALLOW
    assert guard.check("", NO_CONTEXT).score == 1.0


@pytest.mark.parametrize("text", ["Hi there!", "Is it 5?", "Thank you for asking.", "...", "I cannot answer that."])
def test_makes_no_claim(text):
    assert not makes_claim(sentence(text))


@pytest.mark.parametrize("text", ["It is 5.", "Sure, the cache is cleared every night at three by a job of its own."])
def test_makes_a_claim(text):
    assert makes_claim(sentence(text))


def test_threshold_decides():
    context = Context(passages=PASSAGES)
    assert GroundingGuard(threshold=0.0).check("Cats prefer fish.", context).action is Action.ALLOW
    assert GroundingGuard(threshold=1.0).check(SAID[0], context).action is Action.FLAG


def test_uses_the_embedder_it_is_given():
    seen = []

    def embed(texts):
        seen.extend(texts)
        return bag_of_words(texts)

    guard = GroundingGuard(embed=embed)
    guard.warm_up()
    copied = guard.check(SAID[5], Context(passages=PASSAGES))
    assert SAID[5] in seen
    other = guard.check("Cats prefer fish to vegetables.", Context(passages=PASSAGES))
    assert copied.score > other.score
    assert copied.action is Action.ALLOW
    assert other.action is Action.FLAG


def test_finds_the_evidence_in_a_long_passage():
    filler = " ".join(f"Chapter {number} describes the plumbing of house {number}." for number in range(400))
    passage = f"{filler} The boiler was installed by Ada in 1987. {filler}"
    found = support("Ada installed the boiler in 1987.", [filler, passage])[0]
    assert found.passage == 1
    assert "boiler" in passage[found.support_start : found.support_end]


def test_splits_sentences_at_their_ends_only():
    text = (
        "See e.g. Dr. Smith, fig. 3, of 3.5 MB.  It said no. Then [1][2]\n- an item\nwrapped here [3]\n\n# Title\nEnd"
    )
    assert [found.text for found in sentences(text)] == [
        "See e.g. Dr. Smith, fig. 3, of 3.5 MB.",
        "It said no.",
        "Then",
        "- an item\nwrapped here",
        "# Title\nEnd",
    ]


def test_reads_numbers_units_and_dates():
    assert sentence("1,000 mg, 12.0 %, two hours on 2021-03-05").numbers == (
        (1000.0, "mg"),
        (12.0, "%"),
        (2021.0, ""),
        (3.0, ""),
        (5.0, ""),
        (2.0, "h"),
    )
    assert sentence("the file py3.txt of CRF01").numbers == ()
    assert sentence("It met Ada, pH and daf-16 in 2021-03-05.").names == ("march", "ada", "ph", "daf-16")


def test_stems_bring_forms_together():
    assert stem("increases") == stem("increased") == stem("increasing")
    assert stem("installs") == stem("installation") == stem("install")


def test_compares_names_that_the_evidence_spells_out():
    evidence = Block(0, [sentence("The World Health Organization met in Geneva.")])
    assert "name" not in compare(sentence("In Geneva the WHO met."), evidence).mismatches
    assert "name" in compare(sentence("In Paris the WHO met."), evidence).mismatches


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.sampled_from("aB1é\u0301\u05d0\ud800\0 .!?\n[],-%'\"\u3002"), max_size=300),
    st.text(st.sampled_from("aB1 .\n[]-\ud800"), max_size=100),
)
def test_any_text_gets_an_answer_with_offsets_in_order(answer, passage):
    verdict = GroundingGuard(embed=bag_of_words).check(answer, Context(passages=(passage, "")))
    ends = 0
    for span in verdict.spans:
        assert ends <= span.start < span.end <= len(answer)
        ends = span.end
    assert 0 <= verdict.score <= 1
    for found in sentences(answer):
        assert answer[found.start : found.end] == found.text
        assert len(found.text) <= LONGEST


@pytest.mark.parametrize("bait", ["x", "!", "1,", "a-", "[1] ", ". ", "e.g. ", "\n", "[", "\ud800", "Not so. "])
def test_long_texts_end_at_the_deadline(bait):
    text = bait * (300_000 // len(bait))
    for answer, passage in ((text, PASSAGES[0]), (SAID[0], text)):
        context = Context(passages=(passage,), deadline=time.monotonic() + 0.05)
        try:
            assert GroundingGuard().check(answer, context).detector == "grounding"
        except TimeoutError:
            assert time.monotonic() > context.deadline


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    """A classifier of pairs with random weights."""
    return build(tmp_path_factory.mktemp("nli"), {0: "CONTRADICTION", 1: "neutral", 2: "entailment"})


def build(folder, labels):
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "the", "votes", "are", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, num_labels=len(labels), id2label=labels, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return str(folder)


def test_nli_model_has_its_say(nli):
    context = Context(passages=PASSAGES)
    plain = GroundingGuard().check(SAID[0], context).score
    entailed, _ = Entailment(nli).judge("Votes are kept in SQLite by default. PostgreSQL takes over", "Votes are kept")
    guard = GroundingGuard(nli=nli)
    guard.warm_up()
    mixed = guard.check(SAID[0], context).score
    assert 0 < entailed < 1
    assert plain / 2 <= mixed <= plain / 2 + 0.5
    assert not math.isclose(plain, mixed)
    assert guard.check("a \ud800 " * 400, context).score >= 0


def test_nli_model_that_is_not_there_or_no_nli_model(tmp_path):
    with pytest.raises(ModelError, match="cannot load the NLI model"):
        GroundingGuard(nli="nobody/no-such-model").warm_up()
    with pytest.raises(ModelError, match="name no entailment"):
        GroundingGuard(nli=build(tmp_path, {0: "good", 1: "bad"})).check("Votes count.", Context(passages=PASSAGES))


def test_training_learns_that_a_changed_copy_is_not_supported():
    text = (Path(__file__).parents[2] / "docs" / "guards.md").read_text(encoding="utf-8")
    pairs = documentation([text], 40)
    assert {pair.kind for pair in pairs} >= {"copied", "left out", "name", "negation"}
    rows = figures(pairs, None)
    # Claims set the threshold: here, copies and what was left out.
    kinds = np.where(np.isin(rows.kinds, ["copied", "left out"]), "claim", rows.kinds)
    model = fit_model(type(rows)(rows.figures, rows.changes, rows.labels, kinds))
    scores = model.scores(rows.figures, rows.changes)
    assert roc_auc(scores, rows.labels) > 0.9


def test_weights_say_what_they_were_trained_on():
    path = Path(__file__).parents[2] / "guards" / "weights" / "grounding.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["data"]
    for model in content["models"].values():
        assert model["cross_validated"]["balanced_accuracy"] >= 0.69
