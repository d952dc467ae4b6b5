"""Perplexity by a sliding window is that of transformers' recipe for models of fixed length."""

import math

import pytest
import torch

from train.evaluation.perplexity import DocumentPerplexity, windows_of
from train.model import load_model

TEXT = "A page about pumps, valves [1] and é: numbers 12, 7 and 99. " * 8


@pytest.fixture(scope="module")
def loaded(tiny):
    return load_model(str(tiny), "cpu")


@pytest.fixture
def metric(tmp_path):
    return DocumentPerplexity(keep_in_memory=True, cache_dir=str(tmp_path))


def recipe(loaded, text: str, max_length: int, stride: int) -> tuple[float, int]:
    """Summed loss and tokens, as the page "Perplexity of fixed-length models" works them out."""
    ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
    total, tokens, previous_end = 0.0, 0, 0
    for begin in range(0, ids.size(1), stride):
        end = min(begin + max_length, ids.size(1))
        shown = ids[:, begin:end]
        targets = shown.clone()
        targets[:, : -(end - previous_end)] = -100
        with torch.inference_mode():
            loss = loaded.model(shown, labels=targets).loss
        # The model shifts the labels by one, so a window counts with one token less than it has.
        counted = int((targets != -100).sum()) - targets.size(0)
        total, tokens, previous_end = total + loss.item() * counted, tokens + counted, end
        if end == ids.size(1):
            break
    return total, tokens


@pytest.mark.parametrize(("window", "stride"), [(128, 64), (128, 128), (100, 37), (1000, 10)])
def test_one_document_has_the_perplexity_of_the_recipe(loaded, metric, window: int, stride: int) -> None:
    total, tokens = recipe(loaded, TEXT, window, stride)
    found = metric.compute(predictions=[TEXT], loaded=loaded, window=window, stride=stride, batch_size=3)
    assert found["tokens"] == [tokens]
    assert found["document_loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert found["document_perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-4)


def test_several_documents_weigh_as_many_tokens_as_they_have(loaded, metric) -> None:
    texts = [TEXT, "Short.", "", "x"]
    sums = [recipe(loaded, text, 128, 64) for text in texts[:2]]
    found = metric.compute(predictions=texts, loaded=loaded, window=128, stride=64, batch_size=4)
    assert found["tokens"] == [*(tokens for _, tokens in sums), 0, 0]
    assert found["document_loss"] == pytest.approx(sum(one for one, _ in sums) / sum(n for _, n in sums), rel=1e-5)
    assert found["losses"][2:] == [0.0, 0.0]


def test_only_the_beginning_of_a_document_counts(loaded, metric) -> None:
    told: list[tuple[int, int]] = []
    found = metric.compute(
        predictions=[TEXT],
        loaded=loaded,
        window=64,
        stride=32,
        max_tokens=100,
        progress=lambda *done: told.append(done),
    )
    assert found["tokens"] == [63 + 31 + 3]
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_windows_score_every_token_once() -> None:
    windows = list(windows_of(0, list(range(20)), 8, 5))
    assert [(one.ids[0], one.ids[-1], one.targets) for one in windows] == [
        (0, 7, 8),
        (5, 12, 5),
        (10, 17, 5),
        (15, 19, 2),
    ]
    assert windows[1].labels == [-100, -100, -100, 8, 9, 10, 11, 12]
    assert list(windows_of(0, [3], 8, 5)) == []
