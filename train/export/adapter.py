"""The adapter alone, as PEFT saves it; who uses it needs the same base model.

In: a `models` version that was trained with an adapter. Out: a copy of the adapter and the tokenizer's files.
"""

import shutil
from pathlib import Path

from configs.errors import ModelError
from train.export.base import Engine, Format, Source
from train.export.torch_engine import TorchEngine
from train.model import load_model
from train.spec import SPEC, Spec

FOLDER = "adapter"


def check(source: Source) -> None:
    """Refuse a model without an adapter.

    Raises:
        ModelError: the model has none.
    """
    if not (source.version / FOLDER).is_dir():
        raise ModelError(f"model {source.version.name} has no adapter: all its weights were trained", "Use merged")


def write(source: Source, folder: Path, quantization: str) -> None:  # noqa: ARG001  # one precision only
    """Copy the adapter."""
    shutil.copytree(source.version / FOLDER, folder / FOLDER)


def reopen(source: Source, folder: Path) -> Engine:
    """The base model with the exported adapter."""
    base = Spec.read(source.version / SPEC).model.name
    return TorchEngine(load_model(base, "cpu", "float32", folder / FOLDER))


FORMAT = Format(write, reopen, ("f32",), check)
