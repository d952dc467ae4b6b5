"""Measures a model on held-out examples while it is trained: their loss, and a few answers for people to read.

In: held-out examples and the model of a trainer. Out: `eval_loss`, in nats per token of the right answers, and lines of
`samples.jsonl`. Every process measures the same examples. Under ZeRO-3 each needs the others' weights for every layer,
so none may be ahead; and all come to the same number, so that they stop early, or keep a checkpoint, together. No
random number is drawn: a run that is measured takes the steps of one that is not.

Known limit: it takes as long as on one process, however many there are.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import ModelError
from ingest.records import Example, read_table
from train.evaluation.answers import answer_loss, greedy_answers
from train.model import LoadedModel
from train.rows import Row, example_rows
from train.spec import SAMPLES, Spec

log = logging.getLogger(__name__)

ANSWER_TOKENS = 64  # enough to see how the model answers


@dataclass(frozen=True)
class HeldOut:
    """The examples, and where the answers go.

    Attributes:
        rows: the examples as token ids.
        shown: questions and right answers of the first rows, which are answered.
    """

    loaded: LoadedModel
    rows: Sequence[Row]
    shown: Sequence[tuple[str, str]]
    batch_size: int
    folder: Path

    def __call__(self, trainer: Any) -> dict[str, float]:
        """Measure the trainer's model; called by every process at the same step."""
        model = trainer.model
        model.eval()
        now = LoadedModel(model, self.loaded.tokenizer, self.loaded.name, str(trainer.args.device), 0)
        encoded = [row.encoded for row in self.rows]
        with trainer.accelerator.autocast():
            loss = answer_loss(now, encoded, self.batch_size)
            answers = greedy_answers(now, encoded[: len(self.shown)], ANSWER_TOKENS, self.batch_size)
        if trainer.is_world_process_zero():
            self._show(trainer.state.global_step, answers)
        return {"eval_loss": loss}

    def _show(self, step: int, answers: list[str]) -> None:
        with (self.folder / SAMPLES).open("a", encoding="utf-8") as out:
            for row, answer, (question, expected) in zip(self.rows, answers, self.shown, strict=False):
                line = {"step": step, "id": row.id, "question": question, "answer": answer, "expected": expected}
                out.write(json.dumps(line, ensure_ascii=False) + "\n")


def held_out(spec: Spec, folder: Path, loaded: LoadedModel, limit: int) -> HeldOut | None:
    """What a run measures on the way; None, with the reason in the log, where nothing can be."""
    watch = spec.train.watch
    try:
        found = example_rows(
            spec.examples, loaded, limit, spec.model.spotlight, split="holdout", most=watch.eval_examples
        )
    except ModelError as error:
        log.warning("the held-out loss is not measured: %s", error.problem)
        return None
    examples = {example.id: example for example in read_table(spec.examples, Example)}
    first = [examples[row.id] for row in found.rows[: watch.sample_answers]]
    shown = [(example.question, example.answer) for example in first]
    return HeldOut(loaded, found.rows, shown, spec.train.batch_size, folder)
