"""The `wellread` command line: each stage of the loop is one command, and the Makefile calls them in order.

Every command takes `--config`, `--set`, `--json` and `--debug`. Heavy libraries are imported inside the commands that
need them, so that `wellread --help` answers at once.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a gate said no, 130 stopped with Ctrl-C.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.console import guarded, say, set_up_logging, show_json
from app.data import data_app
from app.evaluate import eval_app
from app.extract import extract
from app.guard import guard
from app.models import add_model_commands
from app.options import AsJson, ConfigFile, Debug, Overrides
from app.people import feedback_app, monitor_app
from app.stage import run_stage
from app.train import train_app
from configs.load import load_config

if TYPE_CHECKING:
    from fastapi import FastAPI

    from serve.wire import ChatResponse

# Set before torch is imported: without it, OpenMP threads spin while they wait, and two busy processes on two cores
# fall to a ninth of their speed. The others keep libraries from calling home.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}

NAMES = {"page": "Chat page", "api": "API"}

app = typer.Typer(
    name="wellread",
    help="Turns a website or a folder of documents into an assistant that has read it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(guard)
app.command()(extract)
app.add_typer(data_app, name="data")
app.add_typer(train_app, name="train")
app.add_typer(eval_app, name="eval")
add_model_commands(app)
app.add_typer(feedback_app, name="feedback")
app.add_typer(monitor_app, name="monitor")


@app.command()
def ingest(config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Read the site or folder: crawl, extract, clean, deduplicate, cut into passages."""
    from ingest.pipeline import run_ingest

    run_stage(run_ingest, config, set_, as_json=as_json)


@app.command()
def index(
    force: Annotated[
        bool, typer.Option("--force", help="Take the new index even if it finds less than the current one.")
    ] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Embed the passages and build the index; exit code 3 if it finds less than the current one."""
    from ingest.index_stage import run_index

    run_stage(lambda settings, progress: run_index(settings, progress, force=force), config, set_, as_json=as_json)


@app.command()
def examples(config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Make training and evaluation examples from the documents."""
    from ingest.pipeline import run_examples

    run_stage(run_examples, config, set_, as_json=as_json)


@app.command()
def serve(config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Serve the OpenAI-compatible API."""
    from serve.server import run_server

    run_server(load_config(config, set_ or ()), on_ready=lambda url: show_addresses({"api": f"{url}/v1"}, as_json))


@app.command()
def chat(config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Serve the API and the chat page in one process."""
    from app.chat import mount
    from app.chat_events import Sampling
    from ingest.pipeline import questions
    from serve.server import run_server

    settings = load_config(config, set_ or ())
    defaults = settings.serve
    sampling = Sampling(
        temperature=defaults.temperature,
        max_tokens=defaults.max_new_tokens,
        repetition_penalty=defaults.repetition_penalty,
    )

    def with_page(api: "FastAPI", url: str) -> None:
        mount(api, url, examples=questions(settings, 3), sampling=sampling)

    def ready(url: str) -> None:
        show_addresses({"page": f"{url}/chat", "api": f"{url}/v1"}, as_json)

    run_server(settings, with_page, ready)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    server: Annotated[str | None, typer.Option(help="Server address; by default the configured one.")] = None,
    url_prefix: Annotated[str | None, typer.Option(help="Only pages whose address begins so.")] = None,
    since: Annotated[str | None, typer.Option(help="Only pages from this day, month or year on.")] = None,
    until: Annotated[str | None, typer.Option(help="Only pages up to this day, month or year.")] = None,
    language: Annotated[str | None, typer.Option(help="Only pages in this language, such as en.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only pages with this tag; may be repeated.")] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Ask a running server, and show the answer with its citations."""
    from app.ask import ask_server, filters_of, show_answer

    settings = load_config(config, set_ or ()).serve
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    filters = filters_of(url_prefix, since, until, language, tag)
    response = ask_server(server or f"http://{host}:{settings.port}", question, filters)
    show_json(response.model_dump(mode="json")) if as_json else show_answer(response)


@app.command(name="config")
def show_config(
    config: ConfigFile = None, set_: Overrides = None, as_json: AsJson = False, debug: Debug = False
) -> None:
    """Print the settings in force, defaults included."""
    import yaml

    # These URLs may hold a password; nothing else in the tree is secret.
    settings = load_config(config, set_ or ()).model_dump(mode="json")
    for section, name in (("feedback", "database"), ("index", "url")):
        if settings[section][name]:
            settings[section][name] = "(set)"
    show_json(settings) if as_json else sys.stdout.write(yaml.safe_dump(settings, sort_keys=False))


@app.command()
def demo(
    site: Annotated[str | None, typer.Option(help="Read this website.")] = None,
    docs: Annotated[Path | None, typer.Option(help="Read this folder.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub id or folder of the language model.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Answer one question, then exit.")] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """The whole loop once: read, index, train, evaluate, serve, answer."""
    from app.ask import show_answer
    from app.demo import run_demo

    def answered(response: "ChatResponse") -> None:
        show_json(response.model_dump(mode="json")) if as_json else show_answer(response)

    settings = load_config(config, set_ or ())
    run_demo(settings, config, set_ or [], site=site, docs=docs, model=model, once=once, answered=answered)


def show_addresses(addresses: dict[str, str], as_json: bool) -> None:
    """Where a server that is ready can be reached."""
    if as_json:
        show_json(addresses)
        sys.stdout.flush()
        return
    for name, address in addresses.items():
        say(f"{NAMES[name]:<10} {address}")


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    debug = "--debug" in arguments
    set_up_logging(debug=debug)
    return guarded(lambda: app(arguments, standalone_mode=False), debug=debug)
