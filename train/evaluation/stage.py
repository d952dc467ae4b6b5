"""The stage that evaluates: examples and a model -> evaluations."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from configs.artifacts import Made, Version, Workspace, write_text_atomic
from configs.errors import ArtifactError
from configs.schema import Config
from ingest.records import Example, read_table
from train.settings import evaluation_settings, model_settings
from train.which import find_model

# Imported where they are used: torch, transformers and datasets take ten seconds.
if TYPE_CHECKING:
    from guards.spotlight import Mode
    from train.chat import Encoded
    from train.model import LoadedModel

Progress = Callable[[str, int, int | None], None]
EXAMPLES = "examples.parquet"


def run_eval(config: Config, which: str, progress: Progress) -> Version:
    """Answer held-out examples with one model, and measure the answers.

    Args:
        which: `base`, `latest`, `reference` (what the gate compares with: the champion, or the base model while there
            is none), an alias such as `champion`, or the id of a `models` version.

    Raises:
        ArtifactError: there are no held-out examples, or no such model.
        ModelError: the model cannot be loaded.
    """
    workspace = Workspace(config.root)
    examples = workspace.current("examples")
    model = find_model(config, which)
    inputs = {"examples": examples.id} | ({"models": model.id} if model else {})
    # A trained model brings its own base, whatever is configured now.
    base = {"model": model.manifest.settings["model"]} if model else {}
    return workspace.build(
        "evaluations",
        lambda folder: _fill_evaluation(folder, examples, model, config, progress),
        inputs=inputs,
        settings=model_settings(config) | base | {"evaluate": evaluation_settings(config)},
    )


def held_out_rows(
    examples: Version, loaded: "LoadedModel", limit: int, most: int, spotlight: "Mode"
) -> "tuple[list[tuple[Example, Encoded]], int]":
    """At most `most` held-out examples that fit in `limit` tokens, by id, and how many were left out as too long."""
    from train.chat import encode_fitting
    from train.model import stop_ids

    rows = (row for row in read_table(examples.path / EXAMPLES, Example) if row.split == "holdout")
    # Ids are hashes: their order is random, and the same in every run.
    chosen = sorted(rows, key=lambda row: row.id)[:most]
    return encode_fitting(loaded.tokenizer, stop_ids(loaded), chosen, limit, spotlight)


def _fill_evaluation(
    folder: Path, examples: Version, model: Version | None, config: Config, progress: Progress
) -> Made:
    from train.evaluation.answers import answer_loss, greedy_answers
    from train.evaluation.metrics import score
    from train.model import load_model, load_trained

    settings = config.evaluate
    progress("load", 0, None)
    if model:
        loaded = load_trained(model.path, config.model.device, config.model.dtype)
    else:
        loaded = load_model(config.model.name, config.model.device, config.model.dtype)
    limit = min(config.model.max_context, loaded.max_context) - settings.max_new_tokens
    chosen, too_long = held_out_rows(examples, loaded, limit, settings.max_examples, config.model.spotlight)
    if not chosen:
        raise ArtifactError(
            f"examples {examples.id} hold no held-out example of at most {limit} tokens",
            "Raise examples.holdout_share or model.max_context, or read more documents",
        )
    rows = [encoded for _, encoded in chosen]
    total = len(rows)
    progress("answer", 0, total)
    answers = greedy_answers(
        loaded, rows, settings.max_new_tokens, settings.batch_size, lambda done: progress("answer", done, total)
    )
    loss = answer_loss(loaded, rows, settings.batch_size)
    figures = score(answers, [row.answer for row, _ in chosen], [row.answerable for row, _ in chosen])
    figures |= {"loss": round(loss, 6), "perplexity": round(math.exp(min(loss, 700.0)), 6)}
    _write_answers(folder, chosen, answers, figures)
    answerable = sum(row.answerable for row, _ in chosen)
    return Made(counts={"examples": total, "answerable": answerable, "too_long": too_long}, figures=figures)


def _write_answers(
    folder: Path, chosen: "list[tuple[Example, Encoded]]", answers: list[str], figures: Mapping[str, float]
) -> None:
    from train.evaluation.metrics import abstains, citation_precision, token_f1

    write_text_atomic(folder / "figures.json", json.dumps(figures, indent=2) + "\n")
    with (folder / "answers.jsonl").open("w", encoding="utf-8") as out:
        for (row, _), answer in zip(chosen, answers, strict=True):
            read = {
                "id": row.id,
                "question": row.question,
                "answer": answer,
                "expected": row.answer,
                "answerable": row.answerable,
                "abstained": abstains(answer),
                "f1": round(token_f1(answer, row.answer), 4),
                "citation_precision": citation_precision(answer, row.answer),
                "passages": [chunk.url for chunk in row.passages],
            }
            out.write(json.dumps(read, ensure_ascii=False) + "\n")
