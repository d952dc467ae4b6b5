"""`wellread train`: fine-tunes the language model; `wellread train retriever` fine-tunes the embedder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.console import Progress, show_rows, show_version
from app.options import AsJson, ConfigFile, Debug, Overrides
from app.stage import run_stage
from configs.load import load_config

if TYPE_CHECKING:
    from configs.artifacts import Version

train_app = typer.Typer(invoke_without_command=True, help="Fine-tune the language model, or the embedder.")


@train_app.callback()
def train(
    context: typer.Context,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fine-tune the model on the examples; resumes where a stopped run left off."""
    if context.invoked_subcommand:
        return
    from train.stage import run_train

    run_stage(run_train, config, set_, as_json=as_json)


@train_app.command()
def retriever(
    pairs: Annotated[
        Path | None, typer.Option(help='JSONL file of your own pairs: {"question": "...", "passage": "..."}.')
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fine-tune the embedder on questions and the passages that answer them; used only if it finds more."""
    from train.retriever.stage import make_retriever, use_if_better

    settings = load_config(config, set_ or ())
    with Progress() as progress:
        version = make_retriever(settings, progress, pairs)
    show_version(version, as_json=as_json)
    if not as_json:
        _show_comparison(version)
    use_if_better(settings, version)


def _show_comparison(version: "Version") -> None:
    figures = version.manifest.figures
    rows = [
        (
            f"{named} {metric}",
            *(f"{figures[f'{kind}_{metric}_{which}']:.3f}" for which in ("base", "trained")),
            _gain(figures, kind) if metric == "ndcg@10" else "",
        )
        for kind, named in (("dense", "embedder alone"), ("hybrid", "with BM25"))
        for metric in ("ndcg@10", "mrr@10")
    ]
    held_out = version.manifest.counts["holdout"]
    show_rows(f"{held_out} held-out questions", ("", "untrained", "trained", "gain (95% interval)"), rows)


def _gain(figures: "dict[str, float]", kind: str) -> str:
    gain, low, high = (figures[f"{kind}_gain{end}"] for end in ("", "_low", "_high"))
    return f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"
