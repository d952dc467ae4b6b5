"""The stage that exports: a model -> exports, in a form that other programs run, once it is shown to answer alike.

In: a version of the models, a format. Out: a version of `exports` with the model, `README.md` (the model card) and
`export.json` (source, format, figures of the parity gate, SHA-256 of every file). It is made under a temporary name:
an export that the gate refuses leaves nothing behind.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.artifacts import Made, Version, Workspace, write_text_atomic
from configs.errors import ArtifactError, GateRefused
from configs.schema import Config
from train.export import FORMATS
from train.which import find_trained

# Imported where they are used: torch and transformers take ten seconds.
if TYPE_CHECKING:
    from train.export.base import Format
    from train.export.parity import Question, Verdict
    from train.model import LoadedModel

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
FACTS = "export.json"


def run_export(
    config: Config,
    which: str,
    format_name: str,
    quantization: str | None,
    progress: Progress,
    *,
    force: bool = False,
    out: Path | None = None,
) -> Version:
    """Export a model.

    Args:
        which: `latest`, an alias, or a version.
        format_name: one of `FORMATS`.
        quantization: how weights are stored; None takes the format's default.
        force: keep the export although the gate refuses it; its figures say so.
        out: a folder that gets a copy.

    Raises:
        ArtifactError: there is no such model, format or quantisation, or `out` holds something.
        ModelError: the model cannot be written in this format.
        GateRefused: it does not answer as the trained model does.
    """
    model = find_trained(config, which)
    known = _format(format_name)
    quantization = _quantization(known, format_name, quantization)
    _free(out)
    examples = Workspace(config.root).current("examples")
    settings = {"format": format_name, "quantization": quantization, "force": force}
    gate = config.export.model_dump(mode="json") | {"max_new_tokens": config.evaluate.max_new_tokens}
    version = Workspace(config.root).build(
        "exports",
        lambda folder: _fill(folder, config, model, examples, (format_name, quantization), force, progress),
        inputs={"models": model.id, "examples": examples.id},
        settings=settings | {"export": gate},
        publish=False,
    )
    if out is not None:
        _copy(version.path, out)
    return version


def _format(name: str) -> "Format":
    if name not in FORMATS:
        raise ArtifactError(f"there is no export format {name!r}", f"Known: {', '.join(FORMATS)}")
    # Each brings an engine of its own, which only its own export should need.
    found: Format = import_module(f"train.export.{name}").FORMAT
    return found


def _quantization(known: "Format", name: str, wanted: str | None) -> str:
    chosen = wanted or known.quantizations[0]
    if chosen not in known.quantizations:
        raise ArtifactError(f"{name} cannot be written as {chosen!r}", f"It can as: {', '.join(known.quantizations)}")
    return chosen


def _fill(
    folder: Path,
    config: Config,
    model: Version,
    examples: Version,
    form: tuple[str, str],
    force: bool,
    progress: Progress,
) -> Made:
    from train.card import model_card

    verdict, prompts = _write(folder, config, model, examples, form, progress)
    figures = {name: round(value, 6) for name, value in verdict.figures.items()}
    if verdict.against:
        reasons = "; ".join(verdict.against)
        if not force:
            raise GateRefused(
                f"the export of {model.id} as {form[0]} {form[1]} does not answer as the model does: {reasons}",
                "Choose a quantisation that loses less, or keep it all the same with --force",
            )
        log.warning("kept although the gate refuses it: %s", reasons)
    # Others read what is exported: mkdtemp and some savers make files private.
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    card = model_card(config, model, {"format": form[0], "quantization": form[1], **figures})
    write_text_atomic(folder / "README.md", card)
    facts = {"model": model.id, "format": form[0], "quantization": form[1], "figures": figures}
    facts |= {"against": verdict.against, "sha256": _hashes(folder)}
    write_text_atomic(folder / FACTS, json.dumps(facts, indent=2) + "\n")
    return Made(counts={"prompts": prompts, "against": len(verdict.against)}, figures=figures)


def _write(
    folder: Path, config: Config, model: Version, examples: Version, form: tuple[str, str], progress: Progress
) -> "tuple[Verdict, int]":
    """Write the model and compare it; returns the verdict and the number of prompts."""
    from train.export.base import EXACT, Source
    from train.export.gate import ExportGate, Limits
    from train.export.merged import merge
    from train.export.torch_engine import TorchEngine
    from train.model import load_trained, stop_ids

    known, settings = _format(form[0]), config.export
    _check(known, model)
    progress("load", 0, None)
    loaded = load_trained(model.path, "cpu", "float32")
    longest = settings.tokens if form[1] == EXACT else max(settings.tokens, config.evaluate.max_new_tokens)
    limits = Limits(
        settings.tokens, longest, settings.logprob_tolerance, settings.max_perplexity_rise, settings.max_f1_drop
    )
    context = min(config.model.max_context, loaded.max_context)
    questions = _questions(config, examples, loaded, context - longest)
    gate = ExportGate(TorchEngine(loaded), questions, limits, progress)
    with tempfile.TemporaryDirectory(prefix=".merged-", dir=folder) as scratch:
        source = Source(model.path, Path(scratch) / "model", f"wellread-{model.id}", context, stop_ids(loaded))
        if form[0] != "adapter":
            progress("merge", 0, None)
            # Merging uses up what it merges, and the gate asks the trained model again.
            merge(load_trained(model.path, "cpu", "float32"), source.merged)
        progress("write", 0, None)
        known.write(source, folder, form[1])
        return gate.judge(known, source, folder, form[1]), len(questions)


def _check(known: "Format", model: Version) -> None:
    """Find out before prompts are asked and weights merged what the format's `check` knows.

    Raises:
        ModelError: the model cannot be written in this format, or not here.
    """
    from train.embedded import quiet
    from train.export.base import Source
    from train.model import load_outline, stop_ids
    from train.spec import SPEC, Spec

    own = model.path / "model"
    outline = load_outline(str(own) if own.is_dir() else Spec.read(model.path / SPEC).model.name)
    with tempfile.TemporaryDirectory(prefix="wellread-outline-") as scratch:
        found: Any = outline.model
        # As saving the weights would do.
        found.config.architectures = [type(found).__name__]
        with quiet():
            found.config.save_pretrained(scratch)
            outline.tokenizer.save_pretrained(scratch)
        known.check(Source(model.path, Path(scratch), model.id, outline.max_context, stop_ids(outline)))


def _questions(config: Config, examples: Version, loaded: "LoadedModel", limit: int) -> "list[Question]":
    from train.evaluation.stage import held_out_rows
    from train.export.parity import questions_of

    rows, _ = held_out_rows(examples, loaded, limit, config.export.prompts, config.model.spotlight)
    if not rows:
        raise ArtifactError(
            f"examples {examples.id} hold no held-out example of at most {limit} tokens",
            "Raise examples.holdout_share or model.max_context: without one, nothing shows that an export is right",
        )
    return questions_of(rows)


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 by path, of all files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _free(out: Path | None) -> None:
    """Found out before an hour's work: whether the copy has a place to go to."""
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ArtifactError(f"{out} is not empty", "Name a new folder with --out")


def _copy(path: Path, out: Path) -> None:
    partial = out.with_name(f".partial-{out.name}-{os.getpid()}")
    try:
        shutil.copytree(path, partial)
        if out.is_dir():
            out.rmdir()
        os.replace(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
