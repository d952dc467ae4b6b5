"""Metrics on values worked out by hand, and the loss against a plain computation."""

import math

import pytest
import torch

from ingest.examples import ABSTENTION
from tests.train.conftest import make_example
from train.chat import IGNORED, encode_example
from train.evaluation.answers import answer_loss, greedy_answers
from train.evaluation.metrics import citation_precision, cited, score, token_f1
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


def test_score_takes_each_figure_over_its_own_rows() -> None:
    predictions = ["cat sat [1]", "dog [2]", ABSTENTION, "made up [1]"]
    references = ["cat sat [1]", "cat [1]", ABSTENTION, ABSTENTION]
    figures = score(predictions, references, [True, True, False, False])
    assert figures == {"answer_f1": 0.5, "abstention_accuracy": 0.75, "citation_precision": 0.5}


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
