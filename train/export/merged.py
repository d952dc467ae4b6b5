"""Base and adapter as one model that plain transformers loads: float32 safetensors, tokenizer, chat template.

In: a `models` version. Out: a folder. The merge is computed in float32 whatever the base was loaded in for training.
"""

import warnings
from pathlib import Path
from typing import Any

from configs.errors import ModelError
from train.embedded import quiet
from train.export.base import Engine, Format, Source
from train.model import LoadedModel, load_model

FOLDER = "model"


def merge(trained: LoadedModel, folder: Path) -> None:
    """Save a loaded trained model, its adapter merged into its weights; the loaded model is used up.

    Raises:
        ModelError: the merged weights are not finite.
    """
    model: Any = trained.model
    if hasattr(model, "merge_and_unload"):
        try:
            with warnings.catch_warnings():
                # peft 0.21 asks transformers 5.23 by an old name.
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
                model = model.merge_and_unload(safe_merge=True)
        except ValueError as error:
            raise ModelError(f"cannot merge the adapter of {trained.name}: {error}", "Train again") from None
    with quiet():
        model.save_pretrained(folder)
        trained.tokenizer.save_pretrained(folder)


def write(source: Source, folder: Path, quantization: str) -> None:  # noqa: ARG001  # one precision only
    """Put the merged model, which is made for every format, into the export."""
    source.merged.rename(folder / FOLDER)


def reopen(source: Source, folder: Path) -> Engine:  # noqa: ARG001  # as every format
    """The merged model in transformers."""
    from train.export.torch_engine import TorchEngine

    return TorchEngine(load_model(str(folder / FOLDER), "cpu", "float32"))


FORMAT = Format(write, reopen, ("f32",))
