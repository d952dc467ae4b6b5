"""The stages of this room, each from the settings to one version, and the promotion between them:

    run_train     examples -> models        the adapter (or weights), its spec, its figures; recorded in MLflow
    run_eval      examples, a model -> evaluations
    run_promote   a model -> champion, if the gate has nothing against it

Only these functions read the settings tree; what they call takes plain values.
"""

import json
import logging
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.artifacts import Made, Version, Workspace, write_text_atomic
from configs.errors import ArtifactError, GateRefused
from configs.schema import Config
from ingest.records import Example, read_table
from train.gate import reasons_against, refuse
from train.launch import launch
from train.registry import ALIASES, CHAMPION, Registered, Registry
from train.spec import CHECKPOINTS, FIGURES, PROGRESS, Spec, read_progress

# Imported where they are used: torch, transformers and datasets take ten seconds that promoting, or finding that
# nothing has to run, need not pay.
if TYPE_CHECKING:
    from guards.spotlight import Mode
    from train.chat import Encoded
    from train.model import LoadedModel

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
EXAMPLES = "examples.parquet"
# Held-out loss is measured before and after training on this many examples: seconds on a CPU, enough to see a trend.
HOLDOUT_SAMPLE = 8
BASE, LATEST, REFERENCE = "base", "latest", "reference"


def run_train(config: Config, progress: Progress) -> Version:
    """Fine-tune the configured model on the current examples; continues a run that was killed.

    Raises:
        ArtifactError: there are no examples yet.
        ModelError: the model cannot be loaded or trained.
    """
    workspace = Workspace(config.root)
    examples = workspace.current("examples")
    version = workspace.build(
        "models",
        lambda folder: _fill_model(folder, examples, config, progress),
        inputs={"examples": examples.id},
        settings=_model_settings(config) | {"train": config.train.model_dump(mode="json"), "seed": config.seed},
        resumable=True,
    )
    progress("record", 0, None)
    _record(config.root, version)
    Registry(config.root).register(version)
    return version


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
    model = _find_model(config, which)
    inputs = {"examples": examples.id} | ({"models": model.id} if model else {})
    # A trained model brings its own base, whatever is configured now.
    base = {"model": model.manifest.settings["model"]} if model else {}
    return workspace.build(
        "evaluations",
        lambda folder: _fill_evaluation(folder, examples, model, config, progress),
        inputs=inputs,
        settings=_model_settings(config) | base | {"evaluate": _evaluation_settings(config)},
    )


def run_promote(config: Config, which: str = LATEST, *, force: bool = False) -> Registered:
    """Make a model the champion, if its evaluation is not worse than that of the champion (or of the base model).

    Raises:
        GateRefused: it is worse, or has not been evaluated on the same examples; not with `force`, which is logged.
        ArtifactError: there is no such model.
    """
    candidate = _find_model(config, which)
    if candidate is None:
        raise ArtifactError("the base model is not a trained one", "Promote a trained one: `wellread models`")
    registry = Registry(config.root)
    note = ""
    try:
        _pass_gate(config, candidate, registry.resolve(CHAMPION))
    except GateRefused as refusal:
        if not force:
            raise
        note = f"forced: {refusal.problem}"
        log.warning("%s: %s", candidate.id, note)
    return registry.promote(candidate.id, note)


def _fill_model(folder: Path, examples: Version, config: Config, progress: Progress) -> Made:
    Spec(examples=(examples.path / EXAMPLES).resolve(), model=config.model, train=config.train, seed=config.seed).write(
        folder
    )
    # A run that was killed after training, while its figures were taken, is not trained again.
    if not (folder / FIGURES).exists():
        launch(folder, progress)
    curve = read_progress(folder / PROGRESS)
    counts: dict[str, int] = json.loads((folder / FIGURES).read_text())
    figures = {
        "loss_first": curve[0]["loss"],
        "loss_last": curve[-1]["loss"],
        "tokens_per_second": round(sum(row["tokens"] for row in curve) / sum(row["seconds"] for row in curve), 2),
        "training_seconds": round(sum(row["seconds"] for row in curve), 2),
        **_holdout_loss(folder, examples, config, progress),
    }
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return Made(counts={"steps": len(curve), **counts}, figures=figures)


def _holdout_loss(folder: Path, examples: Version, config: Config, progress: Progress) -> dict[str, float]:
    """Loss on a few held-out examples before and after; empty when there are none that fit."""
    from train.model import load_model, load_trained

    progress("held-out loss", 0, 2)
    trained = load_trained(folder, config.model.device, config.model.dtype)
    limit = min(config.train.max_tokens, trained.max_context)
    held_out, _ = _held_out(examples, trained, limit, HOLDOUT_SAMPLE, config.model.spotlight)
    if not held_out:
        return {}
    rows = [encoded for _, encoded in held_out]
    after = _loss(trained, rows)
    progress("held-out loss", 1, 2)
    model: Any = trained.model
    if hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            before = _loss(trained, rows)
    else:
        before = _loss(load_model(config.model.name, config.model.device, config.model.dtype), rows)
    progress("held-out loss", 2, 2)
    return {"holdout_loss_before": before, "holdout_loss_after": after}


def _loss(loaded: "LoadedModel", rows: "list[Encoded]") -> float:
    from train.evaluate import answer_loss

    return round(answer_loss(loaded, rows, 2), 6)


def _held_out(
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
    from train.evaluate import answer_loss, greedy_answers
    from train.metrics import score
    from train.model import load_model, load_trained

    settings = config.evaluate
    progress("load", 0, None)
    if model:
        loaded = load_trained(model.path, config.model.device, config.model.dtype)
    else:
        loaded = load_model(config.model.name, config.model.device, config.model.dtype)
    limit = min(config.model.max_context, loaded.max_context) - settings.max_new_tokens
    chosen, too_long = _held_out(examples, loaded, limit, settings.max_examples, config.model.spotlight)
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
    from train.metrics import abstains, citation_precision, token_f1

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


def _find_model(config: Config, which: str) -> Version | None:
    """The version that a name stands for; None for the base model."""
    workspace = Workspace(config.root)
    if which == BASE:
        return None
    if which == LATEST:
        return workspace.current("models")
    if which == REFERENCE:
        champion = Registry(config.root).resolve(CHAMPION)
        return champion.version if champion else None
    if which in ALIASES:
        found = Registry(config.root).resolve(which)
        if found is None:
            raise ArtifactError(f"no model is {which} yet", "Run `wellread promote`")
        return found.version
    try:
        return workspace.version("models", which)
    except ArtifactError:
        raise ArtifactError(
            f"there is no model {which!r} in {config.root}",
            "See `wellread models`, or give latest, base, reference, champion or previous",
        ) from None


def _pass_gate(config: Config, candidate: Version, champion: Registered | None) -> None:
    ours = _evaluations(config, candidate)
    theirs = _evaluations(config, champion.version if champion else None)
    against = champion.id if champion else "the base model"
    for measured in reversed(ours):
        for other in reversed(theirs):
            if _same_task(measured, other):
                allowed = config.evaluate.max_f1_drop
                refuse(candidate.id, reasons_against(measured.manifest.figures, other.manifest.figures, allowed))
                return
    raise GateRefused(
        f"model {candidate.id} and {against} have not been evaluated on the same examples",
        f"Run `wellread eval --model {candidate.id}` and `wellread eval --model reference`, or promote with --force",
    )


def _evaluations(config: Config, model: Version | None) -> list[Version]:
    """Evaluations of a model (None: of the base that is configured), oldest first."""
    wanted = model.id if model else None
    return [
        found
        for found in Workspace(config.root).versions("evaluations")
        if found.manifest.inputs.get("models") == wanted
        and (model or found.manifest.settings.get("model") == config.model.name)
    ]


def _same_task(one: Version, other: Version) -> bool:
    same_examples = one.manifest.inputs["examples"] == other.manifest.inputs["examples"]
    return same_examples and one.manifest.settings["evaluate"] == other.manifest.settings["evaluate"]


def _record(root: Path, version: Version) -> None:
    # Imported here: six seconds that evaluating and promoting need not pay.
    from train.track import track_training

    try:
        track_training(root, version, read_progress(version.path / PROGRESS))
    # The model is finished and usable whatever becomes of its record.
    except Exception as error:  # noqa: BLE001
        log.warning("the run was not recorded in MLflow: %s", error)


def _model_settings(config: Config) -> dict[str, Any]:
    return config.model.model_dump(mode="json", include={"dtype", "max_context", "spotlight"}) | {
        "model": config.model.name
    }


def _evaluation_settings(config: Config) -> dict[str, Any]:
    """What decides the figures; the gate's own limit and the batch size do not."""
    return config.evaluate.model_dump(mode="json", include={"max_examples", "max_new_tokens"})
