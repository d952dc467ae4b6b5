"""`wellread eval`: measures a language model on the held-out questions."""

from typing import Annotated

import typer

from app.options import AsJson, ConfigFile, Debug, Overrides
from app.stage import run_stage

eval_app = typer.Typer(invoke_without_command=True, help="Measure a language model, or the search.")


@eval_app.callback()
def evaluate(
    context: typer.Context,
    model: Annotated[
        str, typer.Option(help="latest, base, champion, previous, reference (the champion, else base), or a version.")
    ] = "latest",
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Answer the held-out questions with a model, and measure the answers."""
    if context.invoked_subcommand:
        return
    from train.stages import run_eval

    run_stage(lambda settings, progress: run_eval(settings, model, progress), config, set_, as_json=as_json)
