"""The stage that evaluates: examples and a model -> evaluations.

One version is one model's: its figures, and a file of rows for each set that it was measured on. Killed at any point
and run again, it goes on behind the last batch that was done.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from configs.artifacts import Made, Version, Workspace, write_text_atomic
from configs.errors import ArtifactError
from configs.schema import Config
from ingest.records import Progress
from train.evaluation.held_out import held_out_documents, held_out_rows, sections_of
from train.evaluation.jsonl import Kept, Rows, read_rows, write_rows
from train.settings import evaluation_settings, model_settings
from train.which import find_model

# Imported where they are used: torch, transformers and datasets take ten seconds.
if TYPE_CHECKING:
    from ingest.records import Example
    from train.chat import Encoded
    from train.model import LoadedModel

__all__ = ["SETS", "held_out_rows", "rows_of", "run_eval"]

# To be raised when the same model gives other figures on the same examples: another prompt, or another metric.
LOGIC = 2
# What a model is measured on, each with a file of rows in its version.
SETS = ("answers", "documents", "probes", "general")
GENERATED = "generated.jsonl"
# Longest answer to a probe or a general question, whatever `max_new_tokens` allows: these are short.
SHORT = 40


def run_eval(config: Config, which: str, progress: Progress) -> Version:
    """Measure one model on held-out examples and documents, on probes, and on general questions.

    Args:
        which: `base`, `latest`, `reference` (what the gate compares with: the champion, or the base model while there
            is none), an alias such as `champion`, or the id of a `models` version.

    Raises:
        ArtifactError: there are no held-out examples, or no such model; or the file of probes is wrong.
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
        lambda folder: _fill_evaluation(folder, workspace, examples, model, config, progress),
        inputs=inputs,
        settings=model_settings(config) | base | {"evaluate": evaluation_settings(config)},
        logic=LOGIC,
        resumable=True,
    )


def rows_of(evaluation: Version) -> dict[str, Rows]:
    """The rows of an evaluation, by set; none of a set that was not measured.

    Raises:
        ArtifactError: a file is damaged.
    """
    files = {name: evaluation.path / f"{name}.jsonl" for name in SETS}
    return {name: read_rows(path, ["id"]) if path.exists() else [] for name, path in files.items()}


def _fill_evaluation(
    folder: Path, workspace: Workspace, examples: Version, model: Version | None, config: Config, progress: Progress
) -> Made:
    from train.evaluation.figures import figures_of

    progress("load", 0, None)
    loaded = _load(model, config)
    limit = min(config.model.max_context, loaded.max_context) - config.evaluate.max_new_tokens
    most = config.evaluate.max_examples
    chosen, too_long = held_out_rows(examples, loaded, limit, most, config.model.spotlight)
    if not chosen:
        raise ArtifactError(
            f"examples {examples.id} hold no held-out example of at most {limit} tokens",
            "Raise examples.holdout_share or model.max_context, or read more documents",
        )
    rows = _measured(folder, workspace, examples, loaded, chosen, config, progress)
    figures = figures_of([row for name in SETS for row in rows[name]])
    for name in SETS:
        write_rows(folder / f"{name}.jsonl", rows[name])
    write_text_atomic(folder / "figures.json", json.dumps(figures, indent=2) + "\n")
    (folder / GENERATED).unlink()
    answerable = sum(row.answerable for row, _ in chosen)
    counts = {name: len(rows[name]) for name in SETS[1:]}
    return Made({"examples": len(chosen), "answerable": answerable, "too_long": too_long, **counts}, figures)


def _load(model: Version | None, config: Config) -> "LoadedModel":
    from train.model import load_model, load_trained

    if model:
        return load_trained(model.path, config.model.device, config.model.dtype)
    return load_model(config.model.name, config.model.device, config.model.dtype)


def _measured(
    folder: Path,
    workspace: Workspace,
    examples: Version,
    loaded: "LoadedModel",
    chosen: "Sequence[tuple[Example, Encoded]]",
    config: Config,
    progress: Progress,
) -> dict[str, Rows]:
    from train.evaluation.general import read_general
    from train.evaluation.measure import Work, measure_answers, measure_documents, measure_general, measure_probes
    from train.evaluation.probes import read_probes

    settings = config.evaluate
    # A mistake in it is told before minutes of answering.
    probes = read_probes(settings.probes, settings.probe_file)
    documents = held_out_documents(workspace, examples, settings.documents)
    sections = sections_of([row for row, _ in chosen])
    work = Work(loaded, Kept(folder / GENERATED), settings.batch_size, progress)
    short = min(settings.max_new_tokens, SHORT)
    return {
        "answers": measure_answers(work, chosen, sections, settings.max_new_tokens),
        "documents": measure_documents(
            work, documents, window=settings.window, stride=settings.stride, max_tokens=settings.document_tokens
        ),
        "probes": measure_probes(work, probes, short),
        "general": measure_general(work, read_general(settings.general), short),
    }
