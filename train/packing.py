"""Packing: several examples in a row, instead of padding, without any of them seeing another.

In: lengths of examples; then rows that hold several. Out: which examples share a row, and batches for the model.

The examples of a row are kept apart by positions that start again at 0, from which transformers makes the attention
mask. It does so only where no attention mask and no cache is passed (`use_cache=False`, as trainers do). Tested: the
loss of each example is that of the example alone.

Known limit: torch's own attention still computes between all places of a row, and drops what is masked; FlashAttention
2 computes within the examples alone, and takes the rows of a batch as one.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from train.chat import IGNORED


def packed(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Places of the examples that share a row: best fit, longest first (Ding et al. 2024, arXiv:2404.10830).

    Args:
        lengths: in tokens, none above `capacity`.

    Returns:
        Rows of places, the same for the same lengths; every place is in one of them.
    """
    rows: list[list[int]] = []
    # Room left in each row that has any, ascending, so that the first that is large enough is the best fit.
    room: list[tuple[int, int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        fit = bisect_left(room, (lengths[place], 0))
        left, row = room.pop(fit) if fit < len(room) else (capacity, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(place)
        insort(room, (left - lengths[place], row))
    return rows


@dataclass(frozen=True)
class PackedCollator:
    """Rows with `input_ids`, `labels` and `lengths` of their examples -> a batch.

    Attributes:
        pad: token id that fills rows to equal length.
        flat: whether the rows of a batch follow each other in one, without padding, as FlashAttention 2 needs.

    Returns a batch of `input_ids`, `labels` and `position_ids`, each [rows, tokens], or [1, tokens] when flat. Padding
    is at position 0, each token by itself.
    """

    pad: int
    flat: bool = False

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        fillers = {"input_ids": self.pad, "labels": IGNORED, "position_ids": 0, "weights": 0.0}
        columns: dict[str, list[torch.Tensor]] = {
            name: [torch.tensor(row[name]) for row in rows] for name in fillers if name in rows[0]
        }
        columns["position_ids"] = [torch.cat([torch.arange(length) for length in row["lengths"]]) for row in rows]
        if self.flat:
            return {name: torch.cat(column)[None] for name, column in columns.items()}
        return {
            name: pad_sequence(column, batch_first=True, padding_value=fillers[name])
            for name, column in columns.items()
        }
