"""Supervised fine-tuning: the loss is over the answers, and over nothing else."""

from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from train.methods.base import Job, Prepared
from train.model import stop_ids
from train.preflight.mask import CheckedCollator
from train.rows import example_rows
from train.steady import Steady


class Trainer(Steady, SFTTrainer):
    """TRL's trainer with ours mixed in."""


def prepare(job: Job) -> Prepared:
    """A trainer over the examples."""
    disable_progress_bar()
    found = example_rows(job.spec.examples, job.loaded, job.limit, job.spec.model.spotlight)
    encoded = [row.encoded for row in found.rows]
    rows = [{"input_ids": list(one.input_ids), "labels": one.labels} for one in encoded]
    arguments = SFTConfig(**job.arguments, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
    trainer = Trainer(
        model=job.loaded.model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=job.loaded.tokenizer,
        peft_config=job.adapter(),
    )
    trainer.row_ids = [row.id for row in found.rows]
    trainer.data_collator = CheckedCollator(trainer.data_collator, job.loaded.tokenizer, encoded, stop_ids(job.loaded))
    return Prepared(trainer, {"used": len(rows), "too_long": found.too_long})
