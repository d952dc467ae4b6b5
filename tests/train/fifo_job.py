"""A training process whose data come through a named pipe, as they would from a slow network: `fifo_job SPEC.json`.

Each process reads `<rank>.fifo` beside the spec, a line for each row; where nobody writes, it waits.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from train.heartbeat import beating
from train.phases import Phases
from train.spec import Spec
from train.watchdog import start_beating


class Piped(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Rows of tokens; each comes when it is asked for."""

    def __init__(self, fifo: Path, rows: int) -> None:
        self.lines, self.rows = fifo.open(), rows

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        tokens = torch.tensor([int(word) for word in self.lines.readline().split()])
        return {"input_ids": tokens, "labels": tokens}


def main(file: Path) -> None:
    """Train on what comes."""
    spec = Spec.read(file)
    start_beating(file.parent, spec.train)
    heart = beating()
    assert heart is not None
    arguments = TrainingArguments(
        output_dir=str(file.parent / "out"),
        max_steps=spec.train.max_steps,
        per_device_train_batch_size=1,
        use_cpu=True,
        ddp_backend="gloo",
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    model = AutoModelForCausalLM.from_pretrained(spec.model.name)
    rows = Piped(file.parent / f"{heart.rank}.fifo", 1000)
    trainer = Trainer(model, arguments, train_dataset=rows)
    trainer.add_callback(Phases(heart, trainer.model))
    trainer.train()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
