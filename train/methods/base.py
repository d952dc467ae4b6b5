"""What an objective is given, and what it returns.

An objective (`sft.py`, `pretrain.py`, `dpo.py`, ...) reads its rows, and sets up one of TRL's trainers, mixed with
`train.steady.Steady`, over them. The loop, checkpoints, bad steps, launchers and saving are the same for all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import LoraConfig, PeftModel

from configs.training import LoraSettings
from train.horovod import mixed
from train.model import LoadedModel
from train.spec import Spec
from train.steady import PLACES

PLACE = "place"  # column of training data: the row's own number


@dataclass(frozen=True)
class Job:
    """What an objective is given.

    Attributes:
        loaded: the model, on the CPU; the trainer moves it to its process's own device.
        limit: longest row in tokens.
        arguments: of `TrainingArguments`; an objective adds its own.
    """

    spec: Spec
    folder: Path
    loaded: LoadedModel
    limit: int
    arguments: dict[str, Any]

    def trainer_class(self, trainer: type[Any]) -> type[Any]:
        """The class of an objective's trainer, with what the launcher needs mixed in."""
        return mixed(trainer, self.spec.train)

    def adapter(self) -> LoraConfig | None:
        """The adapter to train; None where every weight is trained, or the model has come with one to go on with."""
        model: Any = self.loaded.model
        if self.spec.train.method == "full" or isinstance(model, PeftModel):
            return None
        return adapter_config(self.spec.train.lora)


def adapter_config(lora: LoraSettings) -> LoraConfig:
    """The adapter that the settings describe."""
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # any positive number scales the update
        lora_dropout=lora.dropout,
        target_modules=lora.target,
        use_rslora=lora.variant == "rslora",
        use_dora=lora.variant == "dora",
        task_type="CAUSAL_LM",
    )


@dataclass(frozen=True)
class Prepared:
    """A trainer that is ready to run, and counts for the manifest.

    Attributes:
        trainer: a transformers `Trainer` mixed with `Steady`.
        counts: rows that are `used` and `too_long`, and what else the objective counts before training.
    """

    trainer: Any
    counts: dict[str, int] = field(default_factory=dict)

    def checked(self) -> dict[str, int]:
        """What was counted while training ran."""
        collator = self.trainer.data_collator
        return {"checked_rows": collator.rows} if hasattr(collator, "rows") else {}


class Placed:
    """A collator that also tells, under `PLACES`, the places of its rows in the training data."""

    def __init__(self, collate: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self.collate(rows)
        if PLACE in rows[0]:
            batch[PLACES] = torch.tensor([row[PLACE] for row in rows])
        return batch


class Objective(Protocol):
    """Sets up the trainer of a job."""

    def __call__(self, job: Job) -> Prepared: ...
