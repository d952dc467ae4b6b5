"""Texts through a plain sentence-transformers model in batches of like length: the same vectors in less time.

`SentenceTransformer.encode` sorts by characters and takes so many texts a batch. Here all texts are tokenised first, at
once, and sorted by their tokens; a batch takes as many as fit into a number of tokens. So hardly any of the work is
padding, and the numbers of a batch stay in the processor's caches. The model's own modules do all the rest, on a CPU
with packed weights (`ingest/embed_linear.py`).

Known limit: only models that read nothing but text, padded on the right, through a fast tokenizer. `Batches.of` gives
None for others, and for those whose vectors would not be the same.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)

# On one core of a CPU 512 to 1,024 tokens were fastest: beyond, the feed-forward layers' values leave its caches.
CPU_TOKENS_OF_A_TEXT = 32
# A tokenizer that knows no limit names a very large number.
UNLIMITED = 1_000_000
# Texts whose tokens are held at once.
WINDOW = 4096

_MODULES = frozenset(("Transformer", "Pooling", "Normalize", "Dense", "Dropout", "LayerNorm"))
_INPUTS = frozenset(("input_ids", "attention_mask", "token_type_ids"))
_SAME = 1e-5
# Texts that show whether the vectors are the same: short, empty, not Latin, and longer than the model reads.
_PROBES = ("How do I free disk space?", "", "Größe 漢字 🙂 naïve [SEP] x_1", "word " * 20)


class Batches:
    """A model and its tokenizer. Safe to call from several threads, which take turns batch by batch."""

    def __init__(self, model: "SentenceTransformer", batch_size: int) -> None:
        self._model = model
        self._tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(longest(model))
        self._padding = int(model.tokenizer.pad_token_id or 0)
        per_text = CPU_TOKENS_OF_A_TEXT if model.device.type == "cpu" else longest(model)
        self._most_tokens = batch_size * per_text
        self._turn = threading.Lock()

    @classmethod
    def of(cls, model: "SentenceTransformer", batch_size: int) -> "Batches | None":
        """The batches of a model, or None when it has to be called in its own way."""
        if not _is_plain(model):
            return None
        # Imported here: importing torch takes seconds.
        from ingest.embed_linear import pack

        batches = cls(model, batch_size)
        texts = [*_PROBES, "token " * (longest(model) + 10)]
        own = model.encode(texts, prompt="", normalize_embeddings=True, show_progress_bar=False)
        if undo := pack(model):
            if batches._agrees(texts, own):
                return batches
            undo()
        return batches if batches._agrees(texts, own) else None

    def _agrees(self, texts: Sequence[str], own: Vectors) -> bool:
        try:
            # A comparison with NaN is false as well, and such a model is told of elsewhere.
            return bool(np.abs(self.encode(texts) - own).max() <= _SAME)
        # Whatever a model of another kind does not like about being called so, it can still be called in its own way.
        except Exception:
            logger.debug("the model is called in its own way", exc_info=True)
            return False

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of the texts, float32 [len(texts), dimensions], of Euclidean length 1 where the model gives any."""
        parts = [self._window(texts[start : start + WINDOW]) for start in range(0, len(texts), WINDOW)]
        return np.concatenate(parts)

    def _window(self, texts: Sequence[str]) -> Vectors:
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = np.argsort([-len(ids) for ids in tokens], kind="stable")
        found = [self._forward([tokens[row] for row in rows]) for rows in self._packed(order, tokens)]
        joined = np.concatenate(found)
        vectors = np.empty_like(joined)
        vectors[order] = joined
        return vectors

    def _packed(self, order: npt.NDArray[np.int64], tokens: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.int64]]:
        """The rows of each batch, longest first."""
        start = 0
        while start < len(order):
            count = max(self._most_tokens // max(len(tokens[order[start]]), 1), 1)
            yield order[start : start + count]
            start += count

    def _forward(self, tokens: Sequence[Sequence[int]]) -> Vectors:
        import torch

        ids = np.full((len(tokens), max(len(tokens[0]), 1)), self._padding, np.int64)
        mask = np.zeros_like(ids)
        for row, numbers in enumerate(tokens):
            ids[row, : len(numbers)] = numbers
            mask[row, : len(numbers)] = 1
        with self._turn, torch.inference_mode():
            inputs: dict[str, Any] = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
            device = self._model.device
            made = self._model({name: value.to(device) for name, value in inputs.items()})["sentence_embedding"]
            return np.asarray(torch.nn.functional.normalize(made.float(), dim=1).cpu().numpy())


def longest(model: "SentenceTransformer") -> int:
    """Tokens of the longest text that a model reads, special ones included."""
    named = model.max_seq_length
    config = getattr(model[0], "config", None)
    return int(named) if named and named <= UNLIMITED else int(getattr(config, "max_position_embeddings", 512))


def _is_plain(model: "SentenceTransformer") -> bool:
    first = model[0]
    tokenizer = getattr(first, "tokenizer", None)
    return (
        {type(module).__name__ for module in model} <= _MODULES
        and getattr(first, "modalities", None) == ["text"]
        and getattr(tokenizer, "is_fast", False)
        and getattr(tokenizer, "padding_side", "") == "right"
        and set(getattr(tokenizer, "model_input_names", "?")) <= _INPUTS
        and not getattr(first, "can_flatten_inputs", True)
        and getattr(first, "query_expansion", None) is None
        and all(getattr(module, "include_prompt", True) for module in model)
        and model.truncate_dim is None
    )
