"""Metrics on values worked out by hand, and the loss against a plain computation."""

import math

import pytest
import torch

from ingest.examples import ABSTENTION
from tests.train.conftest import make_example
from train.chat import IGNORED, encode_example
from train.evaluation.answers import answer_loss, answered, greedy_answers
from train.evaluation.figures import figures_of
from train.evaluation.metrics import (
    citation_precision,
    citation_recall,
    cited,
    exact_match,
    rouge_l,
    score,
    token_f1,
    values,
)
from train.model import load_model, stop_ids


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("The cat sat. [1]", "a cat sat [2]", 1.0),
        ("cat sat down", "cat ran", 2 * 1 / 5),
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("cat cat", "cat", 2 * 1 / 3),
    ],
)
def test_token_f1(prediction: str, reference: str, expected: float) -> None:
    assert token_f1(prediction, reference) == pytest.approx(expected)


def test_citations() -> None:
    assert cited("a [1], b [12][1] [x]") == [1, 12, 1]
    assert citation_precision("a [1] b [2]", "a [1]") == 0.5
    assert citation_precision("a", "a [1]") == 0.0


def test_citation_recall_is_over_what_the_reference_cites() -> None:
    assert citation_recall("a [1] b [2] [2]", "a [1] c [3]") == 0.5
    assert citation_recall("a", "a [1]") == 0.0
    assert citation_recall("a [1]", "a") is None


def test_exact_match_reads_words_in_their_order() -> None:
    assert exact_match("The cat sat. [1]", "cat sat [2]") == 1.0
    assert exact_match("sat cat", "cat sat") == 0.0


def test_rouge_l_is_the_longest_common_subsequence_of_stems() -> None:
    # Of "the cats are sleeping" and "a cat is sleeping now", the stems "cat sleep" are common: 2 of 4 and 2 of 5.
    assert rouge_l("the cats are sleeping [1]", "a cat is sleeping now [7]") == pytest.approx(2 * 0.5 * 0.4 / 0.9)
    assert rouge_l("", "a cat") == 0.0


PREDICTIONS = ["cat sat [1]", "dog [2]", ABSTENTION, ABSTENTION, "made up [1]"]
REFERENCES = ["cat sat [1]", "cat [1]", "cat [1]", ABSTENTION, ABSTENTION]
ANSWERABLE = [True, True, True, False, False]


def test_score_takes_each_figure_over_its_own_rows() -> None:
    assert score(PREDICTIONS, REFERENCES, ANSWERABLE) == {
        "answer_f1": pytest.approx(1 / 3),
        "rouge_l": pytest.approx(1 / 3),
        "exact_match": pytest.approx(1 / 3),
        "citation_precision": pytest.approx(1 / 3),
        "citation_recall": pytest.approx(1 / 3),
        "abstention_accuracy": 0.5,
        "over_abstention": pytest.approx(1 / 3),
    }


def test_figures_of_rows_are_those_of_the_metrics() -> None:
    rows = [{"values": values(*row)} for row in zip(PREDICTIONS, REFERENCES, ANSWERABLE, strict=True)]
    assert figures_of(rows) == pytest.approx(score(PREDICTIONS, REFERENCES, ANSWERABLE), abs=1e-6)


def test_figures_without_a_row_are_left_out() -> None:
    assert score([ABSTENTION], [ABSTENTION], [False]) == {"abstention_accuracy": 1.0}


def test_the_loss_of_a_padded_batch_is_that_of_its_rows_alone(tiny) -> None:
    loaded = load_model(str(tiny), "cpu")
    rows = [encode_example(loaded.tokenizer, stop_ids(loaded), make_example(number)) for number in (1, 3, 10)]
    total = tokens = 0.0
    for row in rows:
        labels = torch.tensor([row.labels])
        count = int((labels != IGNORED).sum())
        with torch.inference_mode():
            loss = loaded.model(input_ids=torch.tensor([row.input_ids]), labels=labels).loss
        total, tokens = total + loss.item() * count, tokens + count
    assert answer_loss(loaded, rows, 2) == pytest.approx(total / tokens, abs=1e-5)
    assert math.isfinite(total)


def test_batched_greedy_answers_are_those_of_single_prompts(tiny) -> None:
    loaded = load_model(str(tiny), "cpu")
    rows = [encode_example(loaded.tokenizer, stop_ids(loaded), make_example(number)) for number in (1, 3, 10)]
    told: list[int] = []
    together = greedy_answers(loaded, rows, 8, 2, told.append)
    assert together == [greedy_answers(loaded, [row], 8, 1)[0] for row in rows]
    assert told == [2, 3]


def test_a_prompt_that_is_read_once_gives_the_answers_and_losses_of_two_readings(tiny) -> None:
    loaded = load_model(str(tiny), "cpu")
    rows = [encode_example(loaded.tokenizer, stop_ids(loaded), make_example(number)) for number in (1, 3, 10)]
    found = answered(loaded, rows, 8)
    assert [one.text for one in found] == greedy_answers(loaded, rows, 8, 3)
    assert [one.loss for one in found] == pytest.approx([answer_loss(loaded, [row], 1) for row in rows], abs=1e-5)
    assert [one.tokens for one in found] == [len(row.input_ids) - row.prompt_tokens for row in rows]
