"""The export gate: asks the trained, the merged and the exported model, and says what speaks against the export.

In: the trained model, held-out questions, limits. Out: a `Verdict` (`train/export/parity.py` compares).

Known limit: up to three copies of the weights in float32 are in memory at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from train.export.base import EXACT, Engine, Format, Source
from train.export.parity import Question, Said, Verdict, as_good, ask, same_answers, same_input
from train.export.torch_engine import TorchEngine
from train.model import load_model

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Limits:
    """What is asked for, and what an export may deviate by; see `configs/export.py`.

    Attributes:
        tokens: greedy tokens that are compared at equal precision.
        longest: tokens that an answer may have whose F1 is taken.
    """

    tokens: int
    longest: int
    tolerance: float
    rise: float
    drop: float


class ExportGate:
    """Compares exports with one trained model."""

    def __init__(self, trained: TorchEngine, questions: Sequence[Question], limits: Limits, progress: Progress) -> None:
        self.trained, self.questions, self.limits = trained, questions, limits
        self.progress = progress
        self.said = self._ask("the trained model", trained, limits.longest)

    def judge(self, known: Format, source: Source, folder: Path, quantization: str) -> Verdict:
        """Compare the export in `folder` with the trained model; a rounded one, by way of the merged model."""
        if quantization == EXACT:
            return self._equal(known.reopen(source, folder), "the export")
        first = self._equal(TorchEngine(load_model(str(source.merged), "cpu", "float32")), "the merged model")
        second = self._rounded(known.reopen(source, folder))
        renamed = {f"merged_{name}": value for name, value in first.figures.items()}
        return Verdict({**renamed, **second.figures}, [*first.against, *second.against])

    def _equal(self, other: Engine, what: str) -> Verdict:
        read = same_input(self.trained, other, self.questions)
        most = self.limits.tokens
        theirs = self._ask(what, other, most)
        answered = same_answers(self.trained, self.questions, self.said.cut(most), theirs, self.limits.tolerance)
        return Verdict(read.figures | answered.figures, [*read.against, *answered.against])

    def _rounded(self, other: Engine) -> Verdict:
        read = same_input(self.trained, other, self.questions)
        theirs = self._ask("the export", other, self.limits.longest)
        good = as_good(self.questions, self.said, theirs, self._text, self.limits.rise, self.limits.drop)
        return Verdict(read.figures | good.figures, [*read.against, *good.against])

    def _text(self, tokens: list[int]) -> str:
        return str(self.trained.loaded.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _ask(self, what: str, engine: Engine, most: int) -> Said:
        total = len(self.questions)
        self.progress(f"ask {what}", 0, total)
        return ask(engine, self.questions, most, lambda done: self.progress(f"ask {what}", done, total))
