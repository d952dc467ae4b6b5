"""The sieve in front of the toxicity network: a score for each piece of the vocabulary, so that most of a manual is
passed without running the network.

In: examples. Out: one number per token id; the mean over a stretch of tokens above a limit means that the window has
to be read. The score is linear in the piece and in its word embedding, so pieces that were never seen have one too.
"""

import re
from collections.abc import Sequence

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from guards.detectors.toxicity import STRETCH, readable, stretches
from guards.training.encoder import Floats
from guards.training.toxicity_data import HARMLESS_SOURCES, Example

# Embeddings are about 0.05 a number; the factors make the ridge weigh both parts alike.
_PIECE, _EMBEDDING = 2.0, 6.0
_RIDGE, _STEPS = 3e-5, 150
_SENTENCE = re.compile(r"[^.!?\n]{4,160}")


def harmful(example: Example) -> bool:
    """Any label but swearing."""
    return any(value == 1 for label, value in example.labels.items() if label != "profanity")


def fit_sieve(examples: Sequence[Example], tokenizer: Tokenizer, words: Tensor) -> Floats:
    """Scores [vocabulary]: harmful examples against the sentences of what is surely harmless.

    Args:
        examples: those neither harmful nor from a harmless set are left out.
        tokenizer: the network's.
        words: its word embeddings [vocabulary, width].
    """
    torch.manual_seed(0)
    texts, targets, weights = _material(examples)
    ids = [tokenizer.encode(text, add_special_tokens=False).ids[:STRETCH] for text in texts]
    offsets = torch.tensor(np.cumsum([0, *map(len, ids[:-1])]))
    flat = torch.tensor([piece for row in ids for piece in row])
    length = torch.tensor([[max(len(row), STRETCH // 4)] for row in ids], dtype=torch.float32)
    means = functional.embedding_bag(flat, words.detach(), offsets, mode="sum") / length * _EMBEDDING
    pieces = torch.zeros((len(words), 1), requires_grad=True)
    direction = torch.zeros((words.shape[1], 1), requires_grad=True)
    shift = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([pieces, direction, shift], lr=0.05)
    for _ in range(_STEPS):
        optimizer.zero_grad()
        own = functional.embedding_bag(flat, pieces, offsets, mode="sum") / length * _PIECE
        logits = (own + means @ direction + shift)[:, 0]
        loss = functional.binary_cross_entropy_with_logits(logits, targets, weights)
        loss = loss + _RIDGE * (pieces.square().sum() + direction.square().sum())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.inference_mode():
        scores = _PIECE * pieces + _EMBEDDING * words @ direction
    return np.asarray(scores[:, 0].numpy(), dtype=np.float32)


def choose_limit(scores: Floats, flagged: Sequence[Example], tokenizer: Tokenizer, recall: float = 0.97) -> float:
    """The score that this share of the texts reaches, which the network flagged rightly; every set counts the same."""
    by_set: dict[str, list[float]] = {}
    for example in flagged:
        ids = tokenizer.encode(readable(example.text), add_special_tokens=False).ids
        by_set.setdefault(example.source, []).append(stretches(scores, ids).max())
    return float(np.mean([np.quantile(found, 1 - recall) for found in by_set.values()]))


def _material(examples: Sequence[Example]) -> tuple[list[str], Tensor, Tensor]:
    """Texts, targets, and weights that give both sides, and every set within a side, the same sum."""
    rows: list[tuple[str, str, float]] = []
    for example in examples:
        if harmful(example):
            rows.append((example.text, example.source, 1.0))
        elif example.source in (*HARMLESS_SOURCES, "own"):
            rows += [(sentence, example.source, 0.0) for sentence in _SENTENCE.findall(example.text)]
    keys = [(target, source) for _, source, target in rows]
    kinds = {target: len({key for key in keys if key[0] == target}) for target in (0.0, 1.0)}
    weights = torch.tensor([len(rows) / 2 / kinds[key[0]] / keys.count(key) for key in dict.fromkeys(keys)])
    place = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    texts = [readable(text) for text, _, _ in rows]
    return texts, torch.tensor([key[0] for key in keys]), weights[[place[key] for key in keys]]
