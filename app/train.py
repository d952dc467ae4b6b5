"""`wellread train`: fine-tunes the language model; `wellread train retriever` fine-tunes the embedder."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from app.console import Progress, say, show_json, show_rows, show_version, tell
from app.options import AsJson, ConfigFile, Debug, Overrides
from app.stage import run_stage
from app.sweep import sweep
from configs.errors import ConfigError
from configs.load import load_config
from configs.training import Launcher

if TYPE_CHECKING:
    from configs.artifacts import Version

train_app = typer.Typer(invoke_without_command=True, help="Fine-tune the language model, or the embedder.")
train_app.command()(sweep)


@train_app.callback()
def train(
    context: typer.Context,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run; fail if there is none.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Show what would be trained, and whether it can be; train nothing.")
    ] = False,
    launcher: Annotated[
        str | None, typer.Option(help="What starts the training processes, instead of train.launcher.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command, environment and files; start and write nothing.")
    ] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fine-tune the model on the examples; goes on where a stopped run left off."""
    if context.invoked_subcommand:
        return
    set_ = [*(set_ or ()), *_launched_by(launcher)]
    if check:
        from app.train_check import show_check

        show_check(load_config(config, set_), as_json=as_json)
        return
    if dry_run:
        _rehearse(config, set_, as_json=as_json)
        return
    if _takes_part(config, set_):
        return
    from train.stage import run_train

    run_stage(lambda settings, progress: run_train(settings, progress, resume=resume), config, set_, as_json=as_json)


def _launched_by(launcher: str | None) -> list[str]:
    known = get_args(Launcher)
    if launcher is not None and launcher not in known:
        raise ConfigError(f"--launcher {launcher!r} is no launcher", f"Known: {', '.join(known)}")
    return [f"train.launcher={launcher}"] if launcher else []


def _rehearse(config: Path | None, overrides: list[str], *, as_json: bool) -> None:
    from train.launch import rehearsed
    from train.stage import run_of

    folder, spec = run_of(load_config(config, overrides))
    plan = rehearsed(spec, folder)
    if as_json:
        show_json(plan)
        return
    for name, value in plan["environment"].items():
        tell(f"export {name}={shlex.quote(value)}")
    tell(shlex.join(plan["command"]))
    for path, text in plan["files"].items():
        tell(f"\n# {path}")
        tell(text.rstrip())
    if plan["missing"]:
        say(f"Not on this machine: {plan['missing']}. {plan['remedy']}")


def _takes_part(config: Path | None, overrides: list[str]) -> bool:
    """Train under the lead of another machine, if there is one."""
    from train.launch import join
    from train.launchers.torchrun import joins

    settings = load_config(config, overrides)
    if not joins(settings.train):
        return False
    from train.stage import run_of

    with Progress() as progress:
        join(run_of(settings)[0], progress)
    say(f"Done; the model is with the first machine, {settings.train.cluster.rendezvous}")
    return True


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
