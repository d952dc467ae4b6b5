"""One training process that a bench measures: this project's, or plain TRL with the same settings and the same rows.

    python -m bench.train_side SIDE FOLDER/spec.json OUT.json [--until-last-step]

`wellread` is `python -m train.run` itself. `trl` is `trl.SFTTrainer` with TRL's own collator, and nothing of this
project in the loop: only the rows (token ids and labels) and the arguments of the trainer are made by its code.
`trl_projecting` is the same with the projection of `train/methods/projection.py`, which tells what that one change is
worth. `padded` and `packed` are this project's trainer over the examples, or over the documents' text where the
spec's objective is `pretrain`, which the command line would always pack.

All sides carry the same stopwatch, a callback of transformers. Out: JSON with the wall and processor seconds of each
step (from the end of the step before, so data, logs and checkpoints are in it), its tokens without and with padding,
its loss, and the peak memory of the process.

With `--until-last-step` the process ends there, and writes no checkpoint of a model that may have many gigabytes.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
import transformers.trainer
from transformers import TrainerCallback

from train.spec import Spec

SIDES = ("wellread", "trl", "trl_projecting", "padded", "packed")


class Stopwatch(TrainerCallback):
    """Times the steps of whatever trainer runs in this process."""

    def __init__(self, out: Path, about: dict[str, Any], *, leave: bool) -> None:
        self.out, self.about, self.leave = out, about, leave
        self.steps: list[dict[str, float]] = []
        self.losses: list[float] = []
        self.useful = self.places = 0
        self.clocks = (0.0, 0.0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        model = kwargs["model"]
        weights = {name: weight for name, weight in model.named_parameters() if "lora_" not in name}
        self.about["parameters"] = sum(weight.numel() for weight in weights.values())
        self.about["trained"] = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        model.register_forward_pre_hook(self._count, with_kwargs=True)
        self.clocks = _clocks()

    def _count(self, model: Any, _: Any, batch: dict[str, Any]) -> None:
        if not model.training:
            return
        self.places += batch["input_ids"].numel()
        if batch.get("attention_mask") is not None:
            self.useful += int(batch["attention_mask"].sum())
        else:
            self.useful += sum(_tokens(row) for row in batch["position_ids"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        now = _clocks()
        wall, cpu = (new - old for new, old in zip(now, self.clocks, strict=True))
        self.steps.append({"wall_s": wall, "cpu_s": cpu, "useful": self.useful, "places": self.places})
        self.useful = self.places = 0
        self.clocks = _clocks()
        if self.leave and state.global_step >= state.max_steps:
            self.write()
            os._exit(0)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002  # the trainer dictates the signature
        if "loss" in kwargs["logs"]:
            self.losses.append(float(kwargs["logs"]["loss"]))

    def write(self) -> None:
        """Leave what was measured for the bench."""
        measured = {"steps": self.steps, "losses": self.losses, "peak_mb": _peak_mb(), **self.about}
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            measured["peak_gpu_mb"] = round(torch.cuda.max_memory_reserved() / 2**20)
            measured["device"] = torch.cuda.get_device_name()
        self.out.write_text(json.dumps(measured) + "\n", encoding="utf-8")


def _tokens(positions: torch.Tensor) -> int:
    """Tokens of a packed row; padding is a position 0 that no 1 follows (`train/packing.py`)."""
    starts = positions == 0
    alone = starts & torch.cat([starts[1:], starts.new_ones(1)])
    return int(positions.numel() - alone.sum())


def _clocks() -> tuple[float, float]:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _peak_mb() -> int | None:
    """Largest resident memory of this process in MiB. (What `getrusage` says may be that of the process before it.)"""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((round(int(line.split()[1]) / 1024) for line in lines if line.startswith("VmHWM")), None)


def wellread(file: Path) -> None:
    """What `python -m train.run FILE` does."""
    from train.run import work

    if code := work(file):
        raise SystemExit(code)


def trl(file: Path, *, projecting: bool) -> None:
    """Plain TRL, over the same rows."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

    from train.arguments import trainer_arguments
    from train.hardware import choose
    from train.model import LoadedModel, load_tokenizer, resolve_source

    disable_progress_bar()
    spec = Spec.read(file)
    chosen = choose(spec.model, spec.train)
    if projecting:
        from train.methods.projection import project_learnt_tokens_only

        project_learnt_tokens_only(on_gpu=chosen.on_gpu)
    source = resolve_source(spec.model.name)
    tokenizer: Any = load_tokenizer(spec.model.name)
    model: Any = AutoModelForCausalLM.from_pretrained(
        source, dtype=getattr(torch, chosen.weights), attn_implementation=chosen.attention, local_files_only=True
    )
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            **trainer_arguments(spec, file.parent, chosen),
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=Dataset.from_list(plain_rows(spec, LoadedModel(model, tokenizer, source, "cpu", 1 << 20))),
        data_collator=DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id),
        processing_class=tokenizer,
        peft_config=plain_adapter(spec),
    )
    trainer.train()


def plain_rows(spec: Spec, loaded: Any) -> list[dict[str, list[int]]]:
    """The rows of the spec for TRL; with `pretrain` several texts share one, as TRL packs without FlashAttention."""
    from ingest.examples.stage import COMPLETIONS
    from train.methods.pretrain import document_rows
    from train.packing import packed
    from train.rows import training_rows

    limit = min(spec.train.max_tokens, spec.model.max_context)
    if spec.train.objective == "pretrain":
        rows = document_rows(spec.examples.with_name(COMPLETIONS), loaded, limit).rows
        groups = packed([len(row.encoded.input_ids) for row in rows], limit)
    else:
        rows = training_rows(spec.examples, spec.train.data, loaded, limit, spec.model.spotlight).rows
        groups = [[place] for place in range(len(rows))]
    joined = [[rows[place].encoded for place in group] for group in groups]
    return [
        {
            "input_ids": [token for text in texts for token in text.input_ids],
            "labels": [label for text in texts for label in text.labels],
        }
        for texts in joined
    ]


def plain_adapter(spec: Spec) -> Any:
    """The adapter's settings for TRL; None for full fine-tuning."""
    from peft import LoraConfig

    lora = spec.train.lora
    return (
        None
        if spec.train.method == "full"
        else LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,  # type: ignore[arg-type]  # any positive number scales the update
            lora_dropout=lora.dropout,
            target_modules=lora.target,
            task_type="CAUSAL_LM",
        )
    )


def filled(file: Path, *, pack: bool) -> None:
    """This project's trainer over the spec's rows, padded or packed."""
    from ingest.examples.stage import COMPLETIONS
    from train.arguments import trainer_arguments
    from train.hardware import choose
    from train.methods.base import Job
    from train.methods.language import language_trainer
    from train.methods.pretrain import document_rows
    from train.rows import training_rows
    from train.starting import load_start

    spec = Spec.read(file)
    chosen = choose(spec.model, spec.train)
    loaded = load_start(spec, chosen)
    job = Job(spec, file.parent, loaded, spec.train.max_tokens, trainer_arguments(spec, file.parent, chosen))
    if spec.train.objective == "pretrain":
        rows = document_rows(spec.examples.with_name(COMPLETIONS), loaded, job.limit)
    else:
        rows = training_rows(spec.examples, spec.train.data, loaded, job.limit, spec.model.spotlight)
    language_trainer(job, rows, pack=pack).trainer.train()


def main() -> None:
    """Train one side and write what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("spec", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--until-last-step", action="store_true", help="end there, and write no checkpoint")
    options = parser.parse_args()
    file: Path = options.spec.resolve()
    stopwatch = Stopwatch(options.out.resolve(), {"side": options.side}, leave=options.until_last_step)
    # Every trainer of this process takes its first callbacks from this list: no side needs a change for it.
    transformers.trainer.DEFAULT_CALLBACKS.append(stopwatch)  # type: ignore[arg-type]  # typed as classes
    if options.side == "wellread":
        wellread(file)
    elif options.side in ("trl", "trl_projecting"):
        trl(file, projecting=options.side == "trl_projecting")
    else:
        filled(file, pack=options.side == "packed")
    stopwatch.write()


if __name__ == "__main__":
    main()
