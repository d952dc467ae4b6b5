"""Trains the injection model: `python -m guards.training.injection --data DIR [--manuals DIR] [--jailbreaks FILE]`.

In: the folder of the public sets; manuals in HTML, `train/` to learn from and `test/` to measure on; a JSON list of
public jailbreak prompts. Out: the weights that `guards.detectors.injection` reads, with figures for attacks of
categories that the model which judged them had not seen. One fit without half of the data, to measure, calibrate and
choose thresholds; then one on everything. Each takes about four minutes on one core.

Known limits: the calibration and the thresholds come from the first fit, and are used for the second.
"""

import argparse
import json
import logging
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from guards.detectors.injection import PLACES, SOURCES, WEIGHTS, Model, Source
from guards.detectors.injection_rules import structural, surest
from guards.training import encoder
from guards.training.injection_data import Draw, Example, Pool, clusters, fold
from guards.training.injection_trials import Trial, passage_trials, unseen_manuals, user_trials

VERSION = "1"
LAYERS, EXAMPLES, RATE, MAX_TOKENS, BATCH_TOKENS = 3, 7500, 3e-4, 256, 1024
HELD_OUT = 0
# The share of the texts of each harmless set that may reach a threshold. Of these do not count: what is unsafe but no
# injection, and chats that begin with a system prompt, which look much like the start of a jailbreak.
FALSE_ALARMS = 0.02
APART = ("xstest unsafe", "chat (dpo)")

logger = logging.getLogger(__name__)

Judged = tuple[Trial, float, float]


@dataclass(frozen=True)
class Inputs:
    """Where everything is; `jailbreaks` with their folds."""

    data: Path
    manuals: Path | None
    jailbreaks: tuple[tuple[int, str], ...]

    def trials(self) -> list[Trial]:
        unseen = [] if self.manuals is None else unseen_manuals(self.manuals / "test")
        return [*passage_trials(self.data), *unseen, *user_trials(self.data, self.jailbreaks)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the injection model.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--manuals", type=Path, help="folder with manuals in HTML under train/ and test/")
    parser.add_argument("--jailbreaks", type=Path, help="JSON list of public jailbreak prompts")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="path of the weights without ending")
    parser.add_argument("--jobs", type=int, default=1, help="fits at a time, each on one core")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    texts = json.loads(chosen.jailbreaks.read_text(encoding="utf-8")) if chosen.jailbreaks else []
    jailbreaks = tuple((fold(str(number)), text) for number, text in zip(clusters(texts), texts, strict=True))
    train(Inputs(chosen.data, chosen.manuals, jailbreaks), chosen.out, jobs=chosen.jobs)


def train(inputs: Inputs, out: Path, *, jobs: int = 1) -> None:
    """Measure on the held-out fold with a model that has not seen it, fit on everything, and write the weights."""
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(jobs) as workers:
        part = Path(folder, "part")
        measured = workers.submit(_fit_and_export, inputs, part, HELD_OUT)
        final = workers.submit(_fit_and_export, inputs, out, None)
        measured.result()
        judged = judge(Model(part), [trial for trial in inputs.trials() if trial.fold in (HELD_OUT, None)])
        final.result()
    finish(judged, out)


def finish(judged: Sequence[Judged], out: Path) -> None:
    """Calibrate, choose thresholds, and write both with the figures to the weights' JSON."""
    calibration = {source: calibrate(judged, source) for source in SOURCES}
    scored = [(trial, chance(peak, calibration[trial.source]), rule) for trial, peak, rule in judged]
    thresholds = {source: choose_threshold(scored, source) for source in SOURCES}
    figures = report(scored, thresholds)
    meta_path = out.with_name(out.name + ".json")
    meta = json.loads(meta_path.read_text(encoding="utf-8"))
    meta |= {"calibration": calibration, "thresholds": thresholds, "held_out": figures}
    meta_path.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    _write_scores(scored, out.with_name(out.name + ".held_out.json"))
    logger.info("held out: %s", json.dumps({name: row["reached"] for name, row in figures["sets"].items()}, indent=1))


def _fit_and_export(inputs: Inputs, out: Path, held: int | None) -> None:
    torch.set_num_threads(1)
    manuals = None if inputs.manuals is None else inputs.manuals / "train"
    model, tokenizer = fit(Pool(inputs.data, manuals, inputs.jailbreaks, held))
    plain = dict.fromkeys(SOURCES, (1.0, 0.0))
    halves = dict.fromkeys(SOURCES, 0.5)
    meta: dict[str, Any] = {"version": VERSION, "calibration": plain, "thresholds": halves}
    encoder.export(model, tokenizer, out, labels=SOURCES, max_tokens=PLACES, **meta)


def judge(model: Model, trials: Sequence[Trial]) -> list[Judged]:
    """Each trial with its highest logit by the model and its highest score by the rules."""
    return [
        (trial, model.peak(trial.text, trial.source), surest(structural(trial.text, trial.source))) for trial in trials
    ]


def fit(pool: Pool, *, seed: int = 0, examples: int = EXAMPLES) -> tuple[encoder.TextEncoder, Tokenizer]:
    """One model on examples drawn from the pool; each is seen once."""
    torch.manual_seed(seed)
    model, tokenizer = encoder.load_base(LAYERS, len(SOURCES), pooled=False)
    draw = Draw(pool, seed)
    tokens, targets = _encode(tokenizer, [draw.example() for _ in range(examples)])
    logger.info("%d texts, %d tokens", len(tokens), sum(map(len, tokens)))
    encoder.fit(model, [encoder.batches(tokens, BATCH_TOKENS, seed)], _loss(targets), rate=RATE)
    return model, tokenizer


def _encode(tokenizer: Tokenizer, examples: Sequence[Example]) -> tuple[list[list[int]], list[encoder.Floats]]:
    """Token ids, and targets float32 [tokens, sources], NaN where they do not count."""
    tokenizer.enable_truncation(MAX_TOKENS)
    ids, targets = [], []
    for example in examples:
        encoding = tokenizer.encode(example.text)
        own = np.full((len(encoding.ids), len(SOURCES)), np.nan, dtype=np.float32)
        starts = np.array([start for start, _ in encoding.offsets])
        inside = np.array(encoding.special_tokens_mask) == 0
        for start, end, *values in example.marks:
            for column, value in enumerate(values):
                if value is not None:
                    own[inside & (starts >= start) & (starts < end), column] = value
        ids.append(encoding.ids)
        targets.append(own)
    return ids, targets


def _loss(targets: Sequence[encoder.Floats]) -> Callable[[Tensor, encoder.Batch], Tensor]:
    """Binary cross-entropy for each token and source, over the known targets."""

    def loss(logits: Tensor, batch: encoder.Batch) -> Tensor:
        wanted = torch.full(logits.shape, torch.nan)
        for row, place in enumerate(batch.places):
            wanted[row, : len(targets[place])] = torch.from_numpy(targets[place])
        known = ~wanted.isnan()
        return functional.binary_cross_entropy_with_logits(logits[known], wanted[known])

    return loss


def calibrate(judged: Sequence[Judged], source: Source) -> tuple[float, float]:
    """Slope and intercept; attacked and harmless texts weigh the same, and so do the sets of either."""
    rows = [(trial, peak) for trial, peak, _ in judged if trial.source == source]
    sizes: dict[tuple[bool, str], int] = defaultdict(int)
    for trial, _ in rows:
        sizes[trial.attacked, trial.name] += 1
    sets = {attacked: sum(which == attacked for which, _ in sizes) for attacked in (True, False)}
    weights = [500 / sets[trial.attacked] / sizes[trial.attacked, trial.name] for trial, _ in rows]
    targets = np.array([trial.attacked for trial, _ in rows], dtype=np.float32)
    peaks = np.array([peak for _, peak in rows], dtype=np.float32)
    slope, intercept = encoder.platt(peaks, targets, np.array(weights, dtype=np.float32))
    return round(slope, 4), round(intercept, 4)


def chance(peak: float, calibration: tuple[float, float]) -> float:
    """Calibrated probability of a logit."""
    return float(1 / (1 + np.exp(-np.clip(peak * calibration[0] + calibration[1], -30, 30))))


def choose_threshold(scored: Sequence[Judged], source: Source) -> float:
    """The lowest threshold from 0.5 up that few texts of any harmless set reach."""
    harmless: dict[str, list[float]] = defaultdict(list)
    for trial, score, rule in scored:
        if trial.source == source and not trial.attacked and trial.name not in APART:
            harmless[trial.name].append(max(score, rule))
    highest = [float(np.quantile(own, 1 - FALSE_ALARMS, method="lower")) for own in harmless.values()]
    return round(max(0.5, *highest) + 1e-3, 3)


def report(scored: Sequence[Judged], thresholds: dict[Source, float]) -> dict[str, Any]:
    """For each set and each category of attacks: how many texts there are, and the share that reaches the threshold."""
    sets: dict[str, list[bool]] = defaultdict(list)
    categories: dict[str, list[bool]] = defaultdict(list)
    for trial, score, rule in scored:
        hit = max(score, rule) >= thresholds[trial.source]
        sets[trial.name].append(hit)
        if trial.category:
            categories[trial.category].append(hit)
    return {"sets": _shares(sets), "categories": _shares(categories)}


def _shares(groups: dict[str, list[bool]]) -> dict[str, dict[str, float]]:
    return {name: {"n": len(hits), "reached": round(sum(hits) / len(hits), 4)} for name, hits in groups.items()}


def _write_scores(scored: Sequence[Judged], path: Path) -> None:
    rows: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for trial, score, rule in scored:
        rows[trial.source].append((int(trial.attacked), round(max(score, rule), 4)))
    path.write_text(json.dumps(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
