"""`wellread train`: fine-tunes the language model; `wellread train retriever` fine-tunes the embedder."""

import typer

from app.options import AsJson, ConfigFile, Debug, Overrides
from app.stage import run_stage

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
    from train.stages import run_train

    run_stage(run_train, config, set_, as_json=as_json)
