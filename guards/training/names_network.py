"""The network of the name model, how examples become numbers for it, and its export as int8 ONNX.

In: examples with labelled spans. Out: batches for training, and the files that `guards.detectors.pii_model` reads.

Known limits: texts are cut at `MAX_TOKENS`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from guards.detectors.pii_model import SHAPES, shape_ids
from guards.training.encoder import WIDTH, TextEncoder, batches, write
from guards.training.names_data import LABELS, Example

MAX_TOKENS = 256
# Tokens of a batch, padding included: what one core works through in half a second.
BUDGET = 1536


class NameTagger(nn.Module):
    """The first layers of MiniLM with an embedding of each token's spelling: ids and shapes to logits of each token."""

    def __init__(self, base: TextEncoder) -> None:
        super().__init__()
        self.base = base
        self.shapes = nn.Embedding(SHAPES, WIDTH)
        nn.init.normal_(self.shapes.weight, std=0.02)

    def forward(self, ids: Tensor, shapes: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.base.classify(self.base.words(ids) + self.shapes(shapes), mask)


class NameBatch(NamedTuple):
    """int64 [rows, tokens] each, labels -100 where a token does not count; weights float32 [rows]."""

    ids: Tensor
    shapes: Tensor
    mask: Tensor
    labels: Tensor
    weights: Tensor


class Coded:
    """Examples as numbers: token ids, spellings and labels of their tokens, and the weight of each example."""

    def __init__(self, tokenizer: Tokenizer, rows: Sequence[tuple[Example, float]]) -> None:
        self.ids: list[list[int]] = []
        self.shapes: list[list[int]] = []
        self.labels: list[list[int]] = []
        self.weights = torch.tensor([weight for _, weight in rows])
        tokenizer.enable_truncation(MAX_TOKENS)
        for example, _ in rows:
            encoding = tokenizer.encode(example.text)
            offsets = encoding.offsets[1:-1]
            self.ids.append(encoding.ids)
            self.shapes.append([0, *shape_ids(example.text, offsets), 0])
            self.labels.append([-100, *_labels(example, offsets), -100])


def _labels(example: Example, offsets: Sequence[tuple[int, int]]) -> list[int]:
    of_char: dict[int, int] = {}
    for start, end, label in example.spans:
        of_char.update(dict.fromkeys(range(start, end), -100 if label is None else LABELS.index(label)))
    return [of_char.get(start, 0) for start, _ in offsets]


def batches_of(coded: Coded, seed: int) -> Iterator[NameBatch]:
    """Batches of similar length in random order."""
    for ids, mask, places in batches(coded.ids, BUDGET, seed):
        shapes = _padded([coded.shapes[place] for place in places], 0, ids.shape[1])
        labels = _padded([coded.labels[place] for place in places], -100, ids.shape[1])
        yield NameBatch(ids, shapes, mask, labels, coded.weights[places])


def _padded(rows: Sequence[Sequence[int]], filler: int, width: int) -> Tensor:
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])


def optimizer_of(model: NameTagger, rate: float, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """AdamW with slower lower layers, and a schedule of linear warm-up and decay."""
    base = model.base
    base.words.weight.requires_grad_(False)
    groups: list[dict[str, Any]] = [{"params": [*base.head.parameters(), *model.shapes.parameters()], "lr": 1e-3}]
    count = len(base.layers)
    for depth, layer in enumerate(base.layers):
        groups.append({"params": list(layer.parameters()), "lr": rate * 0.85 ** (count - 1 - depth)})
    groups.append({"params": [*base.norm.parameters(), *base.places.parameters()], "lr": rate * 0.85**count})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / max(1.0, 0.06 * steps), (steps - step) / steps)
    )
    return optimizer, schedule


class _Exported(nn.Module):
    """The network as it is written: word embeddings in int8 with a scale for each word."""

    def __init__(self, model: NameTagger) -> None:
        super().__init__()
        self.model = model
        words = model.base.words.weight.detach()
        scales = words.abs().amax(1, keepdim=True) / 127
        self.words: Tensor
        self.scales: Tensor
        self.register_buffer("words", (words / scales.clamp(min=1e-9)).round().to(torch.int8))
        self.register_buffer("scales", scales)

    def forward(self, ids: Tensor, shapes: Tensor) -> Tensor:
        words = functional.embedding(ids, self.words).float() * functional.embedding(ids, self.scales)
        return self.model.base.classify(words + self.model.shapes(shapes), None)


def export(model: NameTagger, tokenizer: Tokenizer, prefix: Path, meta: Mapping[str, Any]) -> None:
    """Write `<prefix>.onnx` (int8), `.tokenizer.json` and `.json`; see `guards.training.encoder.export`."""
    inputs = ("ids", "shapes")
    write(_Exported(model), inputs, tokenizer, prefix, labels=LABELS, max_tokens=MAX_TOKENS, **meta)
