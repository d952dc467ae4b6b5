"""Perplexity of a model on documents, as an `evaluate` metric of our own: a window that slides over each document.

In: texts and a loaded model. Out: the perplexity over all of them, and the loss and token count of each. Every token is
scored once, with at least `window - stride` tokens before it, except at a document's beginning. This is the recipe of
transformers' page "Perplexity of fixed-length models", its weights included: it counts a window with one token less
than it scores. Documents are windowed one by one; the recipe glues them together.

Known limits: perplexity is per token, so that models with different tokenizers cannot be compared by it; of a long
document only the beginning counts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import evaluate
import torch
from datasets import Features, Value
from torch.nn.functional import cross_entropy

from train.chat import IGNORED
from train.model import LoadedModel


@dataclass(frozen=True)
class Window:
    """What the model sees at once.

    Attributes:
        document: place of its document.
        ids: token ids.
        targets: how many of the last of them are scored; a document's first token foretells and is not foretold.
    """

    document: int
    ids: tuple[int, ...]
    targets: int

    @property
    def labels(self) -> list[int]:
        """`ids`, those that are not scored replaced by -100."""
        return [IGNORED] * (len(self.ids) - self.targets) + list(self.ids[len(self.ids) - self.targets :])


class DocumentPerplexity(evaluate.Metric):  # type: ignore[misc]
    """Perplexity of `predictions` (texts) under `loaded`, in windows of `window` tokens that move on by `stride`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Perplexity of texts by a sliding window.",
            citation="",
            inputs_description="",
            features=Features({"predictions": Value("string")}),
        )

    def _compute(
        self,
        predictions: list[str],
        loaded: LoadedModel,
        window: int,
        stride: int,
        max_tokens: int | None = None,
        batch_size: int = 1,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> dict[str, Any]:
        """The figures, and each text's `losses` (nats per token, 0 for one of less than two tokens) and `tokens`.

        Args:
            max_tokens: of a text only so many count, from its beginning; None: all.
            batch_size: windows read at once.
            progress: told how many windows are read, and of how many.
        """
        cut = {"truncation": True, "max_length": max_tokens} if max_tokens else {}
        ids = [loaded.tokenizer(text, verbose=False, **cut)["input_ids"] for text in predictions]
        windows = [one for place, row in enumerate(ids) for one in windows_of(place, row, window, stride)]
        sums, tokens = [0.0] * len(ids), [0] * len(ids)
        for start in range(0, len(windows), batch_size):
            batch = windows[start : start + batch_size]
            for one, mean in zip(batch, mean_losses(loaded, batch), strict=True):
                sums[one.document] += mean * (one.targets - 1)
                tokens[one.document] += one.targets - 1
            progress(min(start + batch_size, len(windows)), len(windows))
        loss = sum(sums) / sum(tokens) if sum(tokens) else math.nan
        return {
            "document_perplexity": math.exp(min(loss, 700.0)),
            "document_loss": loss,
            "losses": [total / count if count else 0.0 for total, count in zip(sums, tokens, strict=True)],
            "tokens": tokens,
        }


def windows_of(document: int, ids: Sequence[int], window: int, stride: int) -> Iterator[Window]:
    """The windows over a document's token ids; none for a document of less than two."""
    scored = 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        # A window that scores a single token weighs nothing.
        if end - scored > 1:
            yield Window(document, tuple(ids[begin:end]), end - scored)
        scored = end
        if end == len(ids):
            return


def mean_losses(loaded: LoadedModel, windows: Sequence[Window]) -> list[float]:
    """Mean negative log-likelihood (nats) of each window's targets."""
    model: Any = loaded.model
    width = max(len(one.ids) for one in windows)
    ids, attended, labels = (torch.zeros((len(windows), width), dtype=torch.long) for _ in range(3))
    labels.fill_(IGNORED)
    for row, one in enumerate(windows):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        attended[row, : len(one.ids)] = 1
        labels[row, : len(one.ids)] = torch.tensor(one.labels)
    # The first token of a row is foretold by nothing. Only the places that foretell a target need logits, which are
    # hundreds of megabytes for a large vocabulary.
    first = max(1, min(len(one.ids) - one.targets for one in windows))
    with torch.inference_mode():
        logits = model(
            input_ids=ids.to(loaded.device),
            attention_mask=attended.to(loaded.device),
            logits_to_keep=width - first + 1,
        ).logits[:, :-1]
    wanted = labels[:, first:].to(logits.device)
    each = cross_entropy(logits.float().transpose(1, 2), wanted, ignore_index=IGNORED, reduction="none")
    return (each.sum(dim=1) / (wanted != IGNORED).sum(dim=1)).tolist()
