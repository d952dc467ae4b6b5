"""An MLflow model: `mlflow models serve` answers POST /invocations with it.

In: a merged model. Out: `mlflow/`, a pyfunc model whose code is a file (`train/export/served_model.py`), not a pickle,
beside the merged weights. Known limit: greedy answers, one conversation at a time, on the CPU; it is a way into
platforms that take MLflow models, not a fast server.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Read when mlflow is imported, and when it copies files.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow.pyfunc
import torch
import transformers

from train.chat import Turn
from train.embedded import quiet
from train.export.base import Engine, Format, Source
from train.export.torch_engine import TorchEngine
from train.model import LoadedModel

FOLDER = "mlflow"
CODE = Path(__file__).with_name("served_model.py")


def write(source: Source, folder: Path, quantization: str) -> None:  # noqa: ARG001  # one precision only
    """Save the MLflow model."""
    needed = [f"{package.__name__}=={package.__version__}" for package in (mlflow, torch, transformers)]
    with _quiet():
        mlflow.pyfunc.save_model(
            folder / FOLDER,
            python_model=str(CODE),
            artifacts={"model": str(source.merged)},
            # torch's local version names a build (`+cpu`) that no index has.
            pip_requirements=[requirement.partition("+")[0] for requirement in needed] + ["jinja2", "pydantic"],
        )


def reopen(source: Source, folder: Path) -> Engine:
    """The written model, loaded by MLflow."""
    with _quiet():
        served: Any = mlflow.pyfunc.load_model(str(folder / FOLDER)).unwrap_python_model()
    return Pyfunc(served, source)


class Pyfunc(TorchEngine):
    """A model as MLflow has loaded it."""

    def __init__(self, served: Any, source: Source) -> None:
        super().__init__(LoadedModel(served.model, served.tokenizer, source.name, "cpu", source.context))
        self._served = served

    def prompt(self, messages: Sequence[Turn]) -> str:
        return str(self._served.prompt([dict(turn) for turn in messages]))


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow warns of what is meant: an artifact on the local disk, requirements that are not looked for."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), quiet():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


FORMAT = Format(write, reopen, ("f32",))
