"""`wellread demo`: the whole loop once, by the same commands that a user types.

Each stage runs as a command of its own, which is printed first; so the demo shows how it is done, and each stage gives
its memory back. Without a site or folder it builds wellread's own manual with mkdocs, serves it on loopback, and reads
that. The manual's server stays up with the chat page, so that citations can be opened.
"""

import http.server
import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from app.ask import ask_server
from app.console import INTERRUPTED, say
from configs.errors import GateRefused, ServeError, SourceError, WellreadError
from configs.schema import Config
from serve.wire import ChatResponse

MANUAL = Path(__file__).parent.parent / "docs"
# One fixed port, so that a second run finds the same addresses and has nothing to do again.
MANUAL_PORT = 8765

STAGES = (["ingest"], ["index"], ["examples"], ["train"], ["eval", "--model", "reference"], ["eval"])

Answered = Callable[[ChatResponse], None]


def run_demo(
    config: Config,
    config_file: Path | None,
    overrides: Sequence[str],
    *,
    site: str | None,
    docs: Path | None,
    model: str | None,
    once: bool,
    answered: Answered,
) -> None:
    """Read, index, train, evaluate, serve and answer.

    Args:
        config: the settings in force before the demo's own.
        config_file, overrides: passed on to each stage.
        site, docs: what to read; neither means the manual, unless the settings name a source.
        model: language model to use instead of the configured one.
        once: stop after the first answer.
        answered: shows the first answer.

    Raises:
        WellreadError: a stage failed; its own line has been shown already.
    """
    _check_port(config.serve.host, config.serve.port)
    options = [*(["--config", str(config_file)] if config_file else []), *_sets(overrides)]
    options += _sets([f"model.name={model}"] if model else [])
    chosen = _chosen_source(config, site, docs)
    if chosen is not None:
        _loop(config, [*options, *chosen], answered, once=once)
        return
    with manual_site(config.root / "manual") as address:
        source = _sets([f"source.site={address}", "source.allow_private=true", "source.delay_s=0"])
        _loop(config, [*options, *source], answered, once=once)


def _loop(config: Config, options: list[str], answered: Answered, *, once: bool) -> None:
    # Imported here: it brings the whole ingest room, and `wellread --help` must not wait for that.
    from ingest.pipeline import questions

    for command in STAGES:
        _stage([*command, *options])
    try:
        _stage(["promote", *options])
    except GateRefused:
        say("The gate kept the earlier model; that one answers below.")
    # One that the model was not trained on.
    asked = next(iter(questions(config, 1)), "What is this about?")
    with _chat_server(options) as (server, address):
        say(f"\nQ: {asked}\n")
        answered(ask_server(address, asked))
        _show_addresses(address, asked)
        if not once:
            say("Ctrl-C stops the server.")
            server.wait()


def _chosen_source(config: Config, site: str | None, docs: Path | None) -> list[str] | None:
    if site and docs:
        raise SourceError(f"both a site ({site}) and a folder ({docs}) were given", "Give one of SITE and DOCS")
    if site:
        return _sets([f"source.site={json.dumps(site)}", "source.folder=null"])
    if docs:
        return _sets([f"source.folder={json.dumps(str(docs))}", "source.site=null"])
    return [] if config.source.site or config.source.folder else None


def _stage(arguments: Sequence[str]) -> None:
    say(f"\n$ wellread {shlex.join(arguments)}")
    # Its result goes to stderr, since stdout is kept for the answer.
    code = subprocess.run(_command(arguments), stdout=sys.stderr, check=False).returncode  # noqa: S603  our own
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code == GateRefused.exit_code:
        raise GateRefused(f"wellread {arguments[0]} said no")
    if code:
        raise WellreadError(f"`wellread {arguments[0]}` failed with exit code {code}", "Its message stands above")


@contextmanager
def _chat_server(options: Sequence[str]) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The server in a process of its own, and its address as it tells it itself once it is ready."""
    say(f"\n$ wellread chat {shlex.join(options)}")
    server = subprocess.Popen(_command(["chat", *options, "--json"]), stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        yield server, _address(server)
    finally:
        server.terminate()
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            server.kill()


def _address(server: "subprocess.Popen[str]") -> str:
    lines = ""
    for line in server.stdout or ():
        lines += line
        if line.startswith("}"):
            return str(json.loads(lines)["api"]).removesuffix("/v1")
    raise ServeError(f"the server stopped with exit code {server.wait()}", "Its message stands above")


def _show_addresses(address: str, question: str) -> None:
    body = shlex.quote(json.dumps({"messages": [{"role": "user", "content": question}]}))
    request = f"curl -s {address}/v1/chat/completions -H 'Content-Type: application/json' -d {body}"
    say(f"\nChat page  {address}/chat\nAPI        {address}/v1\nTry        {request}\n")


@contextmanager
def manual_site(folder: Path) -> Iterator[str]:
    """Build the manual into `folder`, serve it on loopback, and give its address."""
    if not (MANUAL.parent / "mkdocs.yml").exists():
        raise SourceError("the manual's sources are not installed", "Run the demo in a checkout, or give SITE or DOCS")
    say("$ mkdocs build")
    built = subprocess.run(  # noqa: S603  fixed arguments
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--clean", "--site-dir", str(folder.resolve())],
        cwd=MANUAL.parent,
        # mkdocs writes the time of the build into the pages, and every stage would run again for that.
        env={**os.environ, "SOURCE_DATE_EPOCH": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        raise SourceError(f"mkdocs could not build the manual: {built.stderr.strip()[-300:]}", "Run `make install`")
    handler = partial(_QuietHandler, directory=str(folder))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", MANUAL_PORT), handler)
    except OSError:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        say(f"The manual is at {address}")
        yield address
    finally:
        server.shutdown()
        server.server_close()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a log line for each."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        """Nothing: the crawl has its own progress."""


def _check_port(host: str, port: int) -> None:
    """Tell at once, not after minutes of training, that the server could not start.

    Raises:
        ServeError: the port cannot be had.
    """
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise ServeError(
            f"port {port} on {host} cannot be used: {error.strerror}",
            "Stop what uses it, or let a free one be picked: --set serve.port=0",
        ) from None


def _sets(overrides: Sequence[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "app.entry", *arguments]
