"""Learning from pairs of a better and a worse answer: DPO (Rafailov et al. 2023) and IPO (Azar et al. 2023).

In: `train.preference.data` (`train/user_data.py`), tokens built like those of every other objective
(`train/chat.py`), so that the same template, defusing and end token hold. Out: TRL's `DPOTrainer`, every batch checked.

The model that the answers' likelihoods are compared with is the model as training starts: with an adapter the same
weights without it, or with a copy of the adapter that training goes on with; in full training a frozen copy.

Known limits: a prompt is read twice, once for each answer; in full training two models are in memory.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer

from configs.errors import ModelError
from train.chat import Encoded, encode
from train.hardware import choose
from train.methods.base import PLACE, Job, Placed, Prepared
from train.methods.projection import project_learnt_tokens_only
from train.model import LoadedModel, stop_ids
from train.preflight.mask import CheckedCollator
from train.rows import tell_too_long
from train.starting import load_start
from train.steady import Steady
from train.user_data import PREFERENCE_REMEDY, Line, preference, read_lines

LOSSES = {"dpo": "sigmoid", "ipo": "ipo"}


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, each with the prompt before it.

    Attributes:
        id: of the line it comes from.
    """

    id: str
    chosen: Encoded
    rejected: Encoded

    @property
    def tokens(self) -> int:
        """Of the longer of both."""
        return max(len(self.chosen.input_ids), len(self.rejected.input_ids))

    def columns(self) -> dict[str, list[int]]:
        """As TRL takes it; both rows begin with the same prompt."""
        start = self.chosen.prompt_tokens
        return {
            "prompt_ids": list(self.chosen.input_ids[:start]),
            "chosen_ids": list(self.chosen.input_ids[start:]),
            "rejected_ids": list(self.rejected.input_ids[start:]),
        }


class Trainer(Steady, DPOTrainer):
    """TRL's trainer with ours mixed in."""

    def _prepare_dataset(self, dataset: Any, *_args: Any) -> Any:
        # TRL would make the tokens once more, without what `train.chat` does, and has no switch for it.
        return dataset

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Saved without TRL's copy of the adapter that training started from.

        With that copy in a checkpoint, transformers resumes with it, and not with what was trained.
        """
        super()._save(output_dir, state_dict=state_dict)
        shutil.rmtree(Path(output_dir or str(self.args.output_dir)) / "ref", ignore_errors=True)


def prepare(job: Job) -> Prepared:
    """A trainer over the pairs.

    Raises:
        ModelError: there is no file of pairs, a line is wrong, or all pairs are too long.
    """
    settings = job.spec.train
    if settings.preference.data is None:
        raise ModelError(f"objective: {settings.objective} has nothing to learn from", "Set train.preference.data")
    disable_progress_bar()
    project_learnt_tokens_only(on_gpu=not job.arguments["use_cpu"])
    pairs, too_long = read_pairs(settings.preference.data, job.loaded, job.limit)
    trainer = job.trainer_class(Trainer)(
        model=job.loaded.model,
        ref_model=_reference(job),
        args=DPOConfig(
            **job.arguments, max_length=None, beta=settings.preference.beta, loss_type=[LOSSES[settings.objective]]
        ),
        train_dataset=Dataset.from_list([{**pair.columns(), PLACE: place} for place, pair in enumerate(pairs)]),
        processing_class=job.loaded.tokenizer,
        peft_config=job.adapter(),
    )
    trainer.row_ids = [pair.id for pair in pairs]
    trainer.data_collator = checked_pairs(job.loaded, pairs)
    return Prepared(trainer, {"used": len(pairs), "too_long": too_long})


def read_pairs(file: Path, loaded: LoadedModel, limit: int) -> tuple[list[Pair], int]:
    """The pairs of a file whose both answers fit into `limit` tokens, and how many did not.

    Raises:
        ModelError: a line is wrong, the template cannot show it, or all are too long.
    """
    pairs = [_pair(line, loaded) for line in read_lines(file, PREFERENCE_REMEDY, "train.preference.data")]
    fitting = [pair for pair in pairs if pair.tokens <= limit]
    if not fitting:
        raise ModelError(f"all {len(pairs)} pairs of {file} are longer than {limit} tokens", "Raise train.max_tokens")
    tell_too_long(len(pairs) - len(fitting), len(pairs), limit)
    return fitting, len(pairs) - len(fitting)


def _pair(line: Line, loaded: LoadedModel) -> Pair:
    prompt, better, worse = preference(line)
    stops = stop_ids(loaded)
    try:
        chosen, rejected = (encode(loaded.tokenizer, stops, prompt, text) for text in (better, worse))
    except ModelError as error:
        raise ModelError(f"{line.where}: {error.problem}", error.remedy) from None
    if chosen.input_ids == rejected.input_ids:
        raise line.wrong("chosen and rejected are the same, as the model reads them")
    return Pair(line.id, chosen, rejected)


def checked_pairs(loaded: LoadedModel, pairs: Iterable[Pair]) -> CheckedCollator:
    """TRL's collator for pairs, with every batch checked like those of fine-tuning."""
    tokenizer: Any = loaded.tokenizer
    known = [encoded for pair in pairs for encoded in (pair.chosen, pair.rejected)]
    collate = Placed(DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id))
    return CheckedCollator(collate, tokenizer, known, stop_ids(loaded))


def _reference(job: Job) -> Any:
    """A frozen copy of the model in full training; None where the trainer takes the adapter away instead."""
    if job.spec.train.method != "full":
        return None
    # Loaded again, since shards of ZeRO-3 cannot be copied.
    model: Any = load_start(job.spec, choose(job.spec.model, job.spec.train)).model
    return model.requires_grad_(requires_grad=False)
