"""A question and passages in, scores out: any sentence-transformers cross-encoder, which reads both together.

A cross-encoder is more exact than comparing vectors and costs a pass of the model for every passage, so it is shown
the best few of a search only (Nogueira and Cho 2019). Models with one output score the passage with it; of models with
two, trained to tell "no" from "yes", the score is the difference of the two, which orders passages as the probability
of the second does.

Known limits: what question and passage have beyond the model's length together is not read; the longer of them is cut
first.
Scores of two models cannot be compared, and are no probabilities.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.errors import ModelError
from ingest.search.base import Scores

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# Tokens of question and passage together that are read at most, whatever the model could.
LONGEST = 1024
# Of a question that is longer than this, in characters, only the beginning is read.
LONGEST_QUESTION = 2000
# Characters of a passage per token that the model reads: more than any passage needs, and no 100 KB go through it.
_PER_TOKEN = 16


class Reranker:
    """A cross-encoder. Safe to call from several threads, one at a time.

    Args:
        name: a sentence-transformers hub id, or a local folder.
        device: `auto`, `cpu` or `cuda`.
        batch_size: pairs read at once.

    Raises:
        ModelError: it cannot be had, is no cross-encoder with one or two outputs, or the device is missing.
    """

    def __init__(self, name: str, device: str = "auto", batch_size: int = 16) -> None:
        self.name = name
        self._batch_size = batch_size
        self._model = _load(name, device)
        # Some tokenizers name no length, or an endless one.
        self.max_tokens = min(int(self._model.max_seq_length or LONGEST), LONGEST)
        self._model.max_seq_length = self.max_tokens
        # Fast tokenizers fail with "Already borrowed" when two threads change their truncation settings at once.
        self._reading = threading.Lock()

    def __call__(self, question: str, passages: Sequence[str]) -> Scores:
        """How well each passage answers the question, float32 [passages], higher is better."""
        return self.scores([(question, passage) for passage in passages])

    def scores(self, pairs: Sequence[tuple[str, str]]) -> Scores:
        """How well each pair of question and passage belongs together, float32 [pairs], higher is better.

        Raises:
            ModelError: the model gives numbers that are not finite.
        """
        if not pairs:
            return np.zeros(0, np.float32)
        import torch

        longest = self.max_tokens * _PER_TOKEN
        cut = [(question[:LONGEST_QUESTION], passage[:longest]) for question, passage in pairs]
        with self._reading:
            outputs = self._model.predict(
                cut,
                batch_size=self._batch_size,
                show_progress_bar=False,
                # The outputs as they are: a sigmoid in single precision makes all good passages equally good.
                activation_fn=torch.nn.Identity(),
            )
        scores = np.asarray(outputs, np.float32)
        scores = scores[:, 1] - scores[:, 0] if scores.ndim == 2 else scores
        if not np.isfinite(scores).all():
            raise ModelError(f"the reranker {self.name!r} gives scores that are not finite", "Set another one")
        return scores


def _load(name: str, device: str) -> "CrossEncoder":
    # Imported here: sentence-transformers takes seconds to import, and searching without a reranker needs none of it.
    import torch
    from sentence_transformers import CrossEncoder
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("the reranker is to run on cuda, but torch sees no GPU", "Set embed.device=auto")
    try:
        model: CrossEncoder = CrossEncoder(
            name,
            device=None if device == "auto" else device,
            local_files_only=Path(name).is_dir(),
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
        outputs = int(model.num_labels)
    except Exception as error:
        # The library raises everything from OSError to KeyError for an unusable model; all mean the same to the user.
        lines = str(error).strip().splitlines() or [""]
        raise ModelError(
            f"cannot load the reranker {name!r}: {type(error).__name__}: {lines[0][:200]}", _REMEDY
        ) from error
    if outputs not in (1, 2):
        raise ModelError(f"the reranker {name!r} has {outputs} outputs, not 1 or 2", _REMEDY)
    return model


_REMEDY = "Set retrieve.reranker to a sentence-transformers cross-encoder, by hub id or local folder, or to null"
