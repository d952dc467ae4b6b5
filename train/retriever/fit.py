"""Contrastive fine-tuning of a sentence embedder.

In: triples of texts (a question, the passage that answers it, passages that do not), and an embedder's name or folder.
Out: a sentence-transformers folder (safetensors) whose weights lie between the old and the trained ones.

Loss: InfoNCE (van den Oord et al. 2018) over the cosines of a question to all passages of its batch, times 20. No batch
holds a text twice, since a question's own passage must never be one of its negatives. The weights that are saved are
the average of the old and the trained ones by `blend` (WiSE-FT, Wortsman et al. 2022), for where training makes a model
forget more of what it knew than it learns.

A run that was killed continues from its last checkpoint when it is started again in the same folder. The same seed on
the same machine with the same number of threads gives the same weights.

Known limits: one process; passages longer than `max_tokens` are cut while training, never while embedding.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import PrinterCallback, TrainerCallback

from configs.errors import ModelError
from train.spec import COMPLETE

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Triple:
    """A question, the passage that answers it, and passages that look like it and do not."""

    question: str
    passage: str
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over the triples.
        learning_rate: the highest; it rises over a tenth of the steps and falls linearly to 0.
        batch_size: triples per step.
        max_tokens: longest text while training, special tokens included; the embedder's own limit caps it.
        blend: share of the trained weights in those that are saved, 0 to 1.
        checkpoint_steps: steps between checkpoints.
    """

    epochs: float = 2.0
    learning_rate: float = 5e-5
    batch_size: int = 32
    max_tokens: int = 256
    blend: float = 1.0
    seed: int = 0
    checkpoint_steps: int = 100


class _InBatchLoss(MultipleNegativesRankingLoss):
    """As the base class, with each column in a forward pass of its own: questions are short, and put together with
    passages they would be padded to their length, which costs a CPU more than the larger batch saves."""

    def forward(self, sentence_features: Iterable[dict[str, torch.Tensor]], labels: torch.Tensor) -> torch.Tensor:
        embeddings = [self.model(features)["sentence_embedding"] for features in sentence_features]
        loss = self.compute_loss_from_embeddings(embeddings, labels)
        if not torch.isfinite(loss):
            raise ModelError(f"training diverged: the loss is {loss.item()}", "Lower retriever.learning_rate")
        return loss


class _Watch(TrainerCallback):
    """Tells how far training is, keeps the losses, and marks checkpoints that are whole."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.losses: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        self._progress(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # as above
        if "loss" in kwargs["logs"]:
            self.losses.append(float(kwargs["logs"]["loss"]))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # as above
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def fit(
    model: SentenceTransformer,
    triples: Sequence[Triple],
    folder: Path,
    recipe: Recipe,
    progress: Progress = lambda _done, _total: None,
) -> dict[str, float]:
    """Train an embedder and save it as `folder`. Returns `steps`, `loss_first`, `loss_last`, `seconds`.

    Args:
        model: changed in place.
        folder: checkpoints are kept beside it until it is there.
        triples: at least two; all with the same number of negatives.
        progress: called after each step with the steps done and all of them.

    Raises:
        ModelError: there are fewer than two triples that differ, or the loss is not finite.
    """
    if len({triple.passage for triple in triples}) < 2 or len({triple.question for triple in triples}) < 2:
        raise ModelError(
            f"{len(triples)} pairs of question and passage are too few to learn from",
            "It needs two questions with two passages at least: read more documents, then run `wellread examples`",
        )
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    longest = model.max_seq_length
    model.max_seq_length = min(recipe.max_tokens, longest or recipe.max_tokens)
    watch, began = _Watch(progress), time.monotonic()
    checkpoints = folder.parent / CHECKPOINTS
    trainer = _trainer(model, triples, checkpoints, recipe, watch)
    resume = _last_checkpoint(checkpoints)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    model.max_seq_length = longest
    blend_weights(model, start, recipe.blend)
    save(model, folder)
    shutil.rmtree(checkpoints, ignore_errors=True)
    losses = watch.losses or [0.0]
    return {
        "steps": float(trainer.state.global_step),
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "seconds": round(time.monotonic() - began, 1),
    }


def load_model(source: str, device: str = "auto") -> SentenceTransformer:
    """The model to train.

    Args:
        source: a folder or a hub id.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        return SentenceTransformer(
            source,
            device=None if device == "auto" else device,
            local_files_only=Path(source).is_dir(),
            model_kwargs={"use_safetensors": True},
        )
    # The library raises everything from OSError to KeyError for an unusable model; all mean the same to the user.
    except Exception as error:
        raise ModelError(
            f"cannot load the embedder {source!r} to train it: {type(error).__name__}", "Check embed.model"
        ) from error


def blend_weights(model: SentenceTransformer, start: dict[str, torch.Tensor], share: float) -> None:
    """Set each weight to `(1 - share) * start + share * its own`."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.lerp_(start[name].to(weight.device), 1 - share)


def save(model: SentenceTransformer, folder: Path) -> None:
    """Save through a temporary name, so that a folder of that name is always whole."""
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(str(partial), create_model_card=False, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _trainer(
    model: SentenceTransformer, triples: Sequence[Triple], checkpoints: Path, recipe: Recipe, watch: _Watch
) -> SentenceTransformerTrainer:
    disable_progress_bar()
    # No card is kept, and examples for it would be looked for with a progress bar of their own where it has none.
    model.model_card_data.generate_widget_examples = False
    model.model_card_data.widget = [{"text": ""}]
    on_gpu = model.device.type == "cuda"
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=0.1,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        bf16=_computes_in_bfloat16(on_gpu=on_gpu),
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=recipe.checkpoint_steps,
        save_total_limit=1,
        seed=recipe.seed,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=_columns(triples),
        loss=_InBatchLoss(model),
        callbacks=[watch],
    )
    # It would write a line to stdout for each step.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _columns(triples: Sequence[Triple]) -> Dataset:
    columns: dict[str, list[str]] = {
        "anchor": [triple.question for triple in triples],
        "positive": [triple.passage for triple in triples],
    }
    for place in range(min(len(triple.negatives) for triple in triples)):
        columns[f"negative_{place}"] = [triple.negatives[place] for triple in triples]
    return Dataset.from_dict(columns)


def _computes_in_bfloat16(*, on_gpu: bool) -> bool:
    # On a CPU with instructions for it a step takes less than half the time; without them it is slower than float32.
    # Weights, normalisation and the loss stay float32 (autocast).
    if on_gpu:
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return any(bool(able.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _last_checkpoint(folder: Path) -> Path | None:
    done = [mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(done, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
