"""What an objective is given, and what it returns.

An objective (`sft.py`, `pretrain.py`, `dpo.py`, ...) reads its rows, and sets up one of TRL's trainers, mixed with
`train.steady.Steady`, over them. The loop, checkpoints, bad steps, launchers and saving are the same for all.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from peft import LoraConfig

from train.model import LoadedModel
from train.spec import Spec


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

    def adapter(self) -> LoraConfig | None:
        """The adapter to train; None where every weight is trained."""
        lora = self.spec.train.lora
        if self.spec.train.method == "full":
            return None
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


class Objective(Protocol):
    """Sets up the trainer of a job."""

    def __call__(self, job: Job) -> Prepared: ...
