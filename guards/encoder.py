"""Inference of a small text encoder with a linear head: texts in, logits out, on one CPU thread.

A model is three files with a common prefix, written by `guards.training.encoder.export`: `<prefix>.onnx` (int8),
`<prefix>.tokenizer.json`, and `<prefix>.json` with what the detector needs beside them (labels, thresholds, version).

Known limits: text past `max_tokens` is not read (callers cut windows); activations are quantised by the range of one
run, so each text runs alone: batched, a text's score would depend on its neighbours.
"""

import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from configs.errors import ModelError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]
    from tokenizers import Encoding, Tokenizer

Logits = npt.NDArray[np.float32]

# Tokenizers are Rust and take UTF-8 only; the replacement keeps every offset.
_SURROGATE = re.compile("[\ud800-\udfff]")


class Encoder:
    """One model, loaded at the first use and safe to use from several threads.

    Args:
        prefix: path of the model's files without their endings, for example `guards/weights/toxicity`.
        max_tokens: longest text that is read, special tokens included; None: what it was exported with.
        threads: threads of one run.

    Attributes:
        meta: the content of `<prefix>.json`.
        labels: names of the columns of the logits.
    """

    def __init__(self, prefix: Path, *, max_tokens: int | None = None, threads: int = 1) -> None:
        self._prefix = prefix
        self._threads = threads
        self._lock = threading.Lock()
        self._session: InferenceSession | None = None
        self._tokenizer: Tokenizer | None = None
        self.meta: dict[str, Any] = _read_meta(prefix)
        self.labels: tuple[str, ...] = tuple(self.meta["labels"])
        self.max_tokens = max_tokens or int(self.meta["max_tokens"])

    def warm_up(self) -> None:
        """Load the model now rather than at the first text."""
        self._loaded()

    def logits(self, texts: Sequence[str]) -> Logits:
        """Logits of the whole texts, float32 [len(texts), labels]."""
        rows = [self._run(encoding) for encoding in self.encode(texts)]
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), dtype=np.float32)

    def token_logits(self, texts: Sequence[str]) -> list[tuple[list[tuple[int, int]], Logits]]:
        """For each text, the character offsets of its tokens and their logits, float32 [tokens, labels].

        For a model that was exported with a head on each token. The special tokens at both ends are left out.
        """
        found = []
        for encoding in self.encode(texts):
            logits = self._run(encoding)
            inside = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
            found.append(([encoding.offsets[place] for place in inside], logits[inside]))
        return found

    def encode(self, texts: Sequence[str]) -> "list[Encoding]":
        """Tokens of the texts, cut at `max_tokens`."""
        _, tokenizer = self._loaded()
        return [tokenizer.encode(well_formed(text)) for text in texts]

    def _run(self, encoding: "Encoding") -> Logits:
        session, _ = self._loaded()
        ids = np.array([encoding.ids], dtype=np.int64)
        logits: Logits = session.run(None, {"ids": ids})[0]
        row: Logits = logits[0]
        return row

    def _loaded(self) -> "tuple[InferenceSession, Tokenizer]":
        if self._session is None or self._tokenizer is None:
            with self._lock:
                if self._session is None or self._tokenizer is None:
                    self._tokenizer = _read_tokenizer(self._prefix, self.max_tokens)
                    self._session = _open_session(self._prefix, self._threads)
        return self._session, self._tokenizer


def well_formed(text: str) -> str:
    """The text with a replacement character for each lone surrogate."""
    return _SURROGATE.sub("\ufffd", text)


def _read_meta(prefix: Path) -> dict[str, Any]:
    path = prefix.with_name(prefix.name + ".json")
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        meta["labels"], meta["max_tokens"]
    except (OSError, ValueError, KeyError) as error:
        raise _unusable(path, error) from error
    return meta


def _read_tokenizer(prefix: Path, max_tokens: int) -> "Tokenizer":
    from tokenizers import Tokenizer

    path = prefix.with_name(prefix.name + ".tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        # The Rust library raises bare Exception for a missing or malformed file.
        raise _unusable(path, error) from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _open_session(prefix: Path, threads: int) -> "InferenceSession":
    # Imported here: a tenth of a second that a process without guards should not pay.
    import onnxruntime

    path = prefix.with_name(prefix.name + ".onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Errors only: the runtime otherwise warns about machines without a GPU.
    options.log_severity_level = 3
    try:
        # That fused kernel is seven times slower than the two that it replaces: 15% of a run.
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
        )
    except Exception as error:
        # The runtime's own exceptions share no base but Exception.
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> ModelError:
    return ModelError(f"cannot load {path}: {type(error).__name__}", "Reinstall wellread, or train the model again")
