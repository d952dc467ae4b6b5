"""The trainer that learns tokens: shared by supervised fine-tuning and continued pretraining.

In: rows of token ids with what is learnt in each. Out: TRL's `SFTTrainer` over them, padded or packed, with every batch
checked (`train/preflight/mask.py`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from torch.nn.utils.rnn import pad_sequence
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from train.chat import Encoded
from train.methods.base import PLACE, Job, Placed, Prepared
from train.methods.projection import project_learnt_tokens_only
from train.methods.weighing import WEIGHTS, Weighing
from train.model import stop_ids
from train.packing import PackedCollator, packed
from train.preflight.mask import CheckedCollator
from train.rows import Row, Rows
from train.steady import Steady

JOINED = " + "  # between the ids of the examples that share a row


class Trainer(Steady, Weighing, SFTTrainer):
    """TRL's trainer with ours mixed in."""


def language_trainer(job: Job, found: Rows, *, pack: bool) -> Prepared:
    """A trainer over rows.

    Args:
        pack: several examples share a row of at most `job.limit` tokens.
    """
    disable_progress_bar()
    project_learnt_tokens_only(on_gpu=not job.arguments["use_cpu"])
    # A mean of 1 keeps the loss in nats per token; a scale common to all rows changes nothing.
    mean = sum(row.weight for row in found.rows) / len(found.rows)
    weighed = any(row.weight != found.rows[0].weight for row in found.rows)
    groups = _groups(found.rows, job.limit) if pack else [[row] for row in found.rows]
    columns = [_columns(group, mean if weighed else None) | {PLACE: place} for place, group in enumerate(groups)]
    trainer = job.trainer_class(Trainer)(
        model=job.loaded.model,
        args=SFTConfig(**job.arguments, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_list(columns),
        processing_class=job.loaded.tokenizer,
        peft_config=job.adapter(),
    )
    trainer.row_ids = [JOINED.join(row.id for row in group) for group in groups]
    trainer.data_collator = _collator(job, [row.encoded for row in found.rows], pack=pack)
    return Prepared(trainer, {**found.counts(), **({"packed_rows": len(groups)} if pack else {})})


def _groups(rows: Sequence[Row], limit: int) -> list[list[Row]]:
    lengths = [len(row.encoded.input_ids) for row in rows]
    return [[rows[place] for place in places] for places in packed(lengths, limit)]


def _columns(group: Sequence[Row], mean_weight: float | None) -> dict[str, Any]:
    lengths = [len(row.encoded.input_ids) for row in group]
    found: dict[str, Any] = {
        "input_ids": [token for row in group for token in row.encoded.input_ids],
        "labels": [label for row in group for label in row.encoded.labels],
        "lengths": lengths,
    }
    if mean_weight is not None:
        each = [[row.weight / mean_weight] * length for row, length in zip(group, lengths, strict=True)]
        found[WEIGHTS] = [weight for part in each for weight in part]
    return found


def _collator(job: Job, known: Sequence[Encoded], *, pack: bool) -> CheckedCollator:
    tokenizer: Any = job.loaded.tokenizer
    attention = job.loaded.model.config._attn_implementation or ""
    collate: Any = (
        PackedCollator(tokenizer.pad_token_id, flat="flash" in attention)
        if pack
        else Padded(DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id))
    )
    return CheckedCollator(Placed(collate), tokenizer, known, stop_ids(job.loaded))


class Padded:
    """TRL's collator, with the weights of rows that have any."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = self.collate(rows)
        if WEIGHTS in rows[0]:
            weights = [torch.tensor(row[WEIGHTS]) for row in rows]
            batch[WEIGHTS] = pad_sequence(weights, batch_first=True)
        return batch
