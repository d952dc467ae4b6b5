"""The opinion of a natural-language-inference model: does one text entail another?

Premise and hypothesis in; the probability of entailment, and whether contradiction is likelier than anything else, out.

Known limits: the model runs in PyTorch, tens to hundreds of milliseconds a pair; what exceeds its length is cut off the
premise. Nothing is fetched: the model has to be on disk, with safetensors weights and no code of its own.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.errors import ModelError

# From premise and hypothesis to the probability of entailment, and of contradiction (0 without such a label).
Judge = Callable[[str, str], tuple[float, float]]


class Entailment:
    """A sequence classifier of text pairs, loaded at the first use and safe to use from several threads.

    Args:
        model: hub name or local folder.

    Raises:
        ModelError: at the first use, if it is not on disk, not usable, or has no label for entailment.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._judge: Judge | None = None
        self._lock = threading.Lock()

    def warm_up(self) -> None:
        """Load the model now rather than at the first pair."""
        self._loaded()

    def judge(self, premise: str, hypothesis: str) -> tuple[float, bool]:
        """The probability that the premise entails the hypothesis, and whether it rather contradicts it."""
        entailed, contradicted = self._loaded()(_readable(premise), _readable(hypothesis))
        return entailed, contradicted > max(entailed, 1 - entailed - contradicted)

    def _loaded(self) -> Judge:
        with self._lock:
            if self._judge is None:
                self._judge = _load(self._model)
            return self._judge


def _readable(text: str) -> str:
    # Tokenizers written in Rust take UTF-8 only.
    return text.encode("utf-8", "replace").decode("utf-8")


def _load(model: str) -> Judge:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **options)
        network = AutoModelForSequenceClassification.from_pretrained(model, use_safetensors=True, **options).eval()
    except Exception as error:
        # The library raises everything from OSError to KeyError for an unusable model; all mean the same to the user.
        first = (str(error).strip().splitlines() or [""])[0][:200]
        raise ModelError(
            f"cannot load the NLI model {model!r}: {type(error).__name__}: {first}",
            "Give a local folder with safetensors weights, or fetch the model into the local cache beforehand",
        ) from error
    labels = {str(name).casefold(): int(place) for place, name in network.config.id2label.items()}
    # Two-class models say "not_entailment" for the rest.
    entails = next((place for name, place in labels.items() if name.startswith("entail")), None)
    contradicts = next((place for name, place in labels.items() if name.startswith("contra")), None)
    if entails is None:
        raise ModelError(
            f"the labels of {Path(model).name} name no entailment: {sorted(labels)}", "Use a model trained for NLI"
        )
    longest = min(int(tokenizer.model_max_length), int(getattr(network.config, "max_position_embeddings", 512)), 512)

    def judge(premise: str, hypothesis: str) -> tuple[float, float]:
        # The premise goes first and is cut first; a hypothesis longer than half of it all would leave nothing else.
        pair = tokenizer(
            premise, hypothesis[: 2 * longest], truncation="longest_first", max_length=longest, return_tensors="pt"
        )
        with torch.inference_mode():
            shares = network(**pair).logits[0].float().softmax(-1)
        return float(shares[entails]), 0.0 if contradicts is None else float(shares[contradicts])

    return judge
