"""The command line as people meet it: help, JSON, and one clear line with the right exit code for every mistake."""

import errno
import http.server
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from app.cli import run
from app.console import guarded, say
from configs.load import SHIPPED
from feedback.store import Feedback, Interaction, Store

COMMANDS = [
    *"ingest index examples train eval promote rollback models".split(),
    *"serve chat ask guard config demo data feedback monitor".split(),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wellread.yaml").write_text((SHIPPED / "ci.yaml").read_text())
    return tmp_path


def outcome(capsys, *arguments):
    """(exit code, stdout, stderr) of a command line."""
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def only_error(capsys, *arguments):
    """(exit code, the one error line) of a command line that fails; a second line or a traceback fails the test."""
    code, out, err = outcome(capsys, *arguments)
    errors = [line for line in err.splitlines() if not line.startswith(("read", "crawl", "extracting"))]
    assert "Traceback" not in err
    assert out == ""
    assert len(errors) == 1, err
    assert errors[0].startswith("Error: ")
    return code, errors[0]


def test_help_lists_every_command_at_once(capsys):
    started = [sys.executable, "-X", "importtime", "-m", "app.entry", "--help"]
    shown = subprocess.run(started, capture_output=True, text=True, check=True)
    assert [name for name in COMMANDS if f" {name} " not in shown.stdout] == []
    # Heavy libraries would make `--help` wait for seconds.
    assert [name for name in ("torch", "transformers", "gradio", "mlflow") if f" {name}\n" in shown.stderr] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    code, out, _ = outcome(capsys, command, "--help")
    assert code == 0
    assert "Usage:" in out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ingest", "--set", "train.epoch=2"], 2, ["train.epoch", "did you mean 'epochs'"]),
        (["ingest", "--config", "nosuch.yaml"], 2, ["nosuch.yaml"]),
        (["ingest"], 2, ["source.site"]),
        (["ingest", "--set", "source.folder=nosuch"], 1, ["nosuch"]),
        (["ingest", "--set", "source.site=http://127.0.0.1:9/"], 1, ["source.allow_private=true"]),
        (["index"], 1, ["Run `wellread ingest` first"]),
        (["examples"], 1, ["Run `wellread index` first"]),
        (["train"], 1, ["Run `wellread examples` first"]),
        (["eval"], 1, ["Run `wellread examples` first"]),
        (["rollback"], 1, ["no previous model"]),
        (["promote", "nosuch"], 1, ["no model 'nosuch'", "wellread models"]),
        (["serve", "--set", "serve.port=0"], 1, ["Run `wellread index` first"]),
        (["ask", " "], 2, ["the question is empty"]),
        (["ask", "Why?", "--server", "http://127.0.0.1:9"], 1, ["http://127.0.0.1:9", "wellread serve"]),
        (["data", "show", "nosuch"], 1, ["Run `wellread ingest` first"]),
        (["demo", "--site", "https://example.org/", "--docs", "x"], 1, ["Give one of SITE and DOCS"]),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_with_its_remedy(capsys, here, arguments, code, says):
    found, line = only_error(capsys, *arguments)
    assert found == code
    assert [part for part in says if part not in line] == []


@pytest.mark.parametrize("arguments", [["nosuch"], ["ingest", "--nosuch"], ["ask"], ["data", "rejects", "--limit=-1"]])
def test_wrong_usage_is_exit_code_2(capsys, arguments):
    code, _, err = outcome(capsys, *arguments)
    assert code == 2
    assert "Traceback" not in err


def test_debug_shows_the_traceback(capsys, here):
    code, _, err = outcome(capsys, "index", "--debug")
    assert code == 1
    assert "Traceback" in err


def test_a_port_in_use_is_told_before_anything_loads(capsys, here):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = only_error(capsys, "chat", "--set", f"serve.port={port}")
    assert code == 1
    assert f"port {port}" in line
    assert "serve.port=0" in line


def test_the_demo_tells_of_a_port_in_use_before_it_reads_anything(capsys, here):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = only_error(capsys, "demo", "--docs", "docs", "--set", f"serve.port={port}")
    assert code == 1
    assert f"port {port}" in line
    assert not (here / ".wellread").exists()


def test_escape_sequences_from_outside_never_reach_the_terminal(capsys, here):
    with closing(Store(f"sqlite:///{here}/.wellread/feedback.db")) as store:
        store.record(Interaction("i1", "What \x1b[2Jis it?", "\x9b31mThat.", "base"))
        store.add_feedback(Feedback("i1", "up"))
    logging.getLogger("ingest").warning("from \x1b]0;a title\x07")
    _, out, err = outcome(capsys, "feedback", "list")
    say("so \x1b[31m")
    logging.getLogger("ingest").warning("and \x1b]0;a title\x07")
    _, late = capsys.readouterr()
    shown = "".join((out, err, late))
    assert "That." in shown
    assert not {"\x1b", "\x9b", "\x07"} & set(shown)


def test_a_reader_who_has_seen_enough_gets_no_traceback(here):
    command = f"{sys.executable} -m app.entry config --json | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=here, check=True)
    assert done.stdout.strip() == "{"
    assert done.stderr == ""


def test_a_really_full_disk_is_one_line(capsys):
    def write_to_a_full_device():
        with Path("/dev/full").open("w") as out:
            out.write("x" * 100_000)

    assert guarded(write_to_a_full_device, debug=False) == 1
    assert "the disk is full" in capsys.readouterr().err


def test_a_full_disk_is_recognised_inside_a_librarys_own_error(capsys):
    def fail():
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301  the wrapped error is what is tried
        except OSError as error:
            raise RuntimeError("could not save") from error

    assert guarded(fail, debug=False) == 1
    assert "the disk is full" in capsys.readouterr().err


def test_an_unexpected_error_is_one_line_that_asks_for_a_report(capsys):
    assert guarded(lambda: 1 / 0, debug=False) == 1
    line = capsys.readouterr().err
    assert "ZeroDivisionError" in line
    assert "--debug" in line
    assert len(line.splitlines()) == 1


@contextmanager
def slow_site():
    """A site whose second page never ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/robots.txt":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b'<main><p>Start.</p><a href="/next">next</a></main>')
            if self.path != "/":
                time.sleep(60)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def test_ctrl_c_says_that_what_was_done_is_kept(here):
    with slow_site() as address:
        sets = ["--set", f"source.site={address}", "--set", "source.allow_private=true"]
        process = subprocess.Popen(
            [sys.executable, "-m", "app.entry", "ingest", *sets], stderr=subprocess.PIPE, text=True, cwd=here
        )
        deadline = time.monotonic() + 60
        while not list(here.glob(".wellread/pages/.partial*/crawl.db")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert list(here.glob(".wellread/pages/.partial*"))


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.4])
def test_ctrl_c_while_the_command_is_still_loading_is_no_traceback(here, seconds):
    process = subprocess.Popen(
        [sys.executable, "-m", "app.entry", "index"], stderr=subprocess.PIPE, text=True, cwd=here
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=30)[1]
    # Before Python itself is up there is nobody to catch the signal; after the command has ended, nothing to stop.
    assert process.returncode in (130, 1, -signal.SIGINT)
    assert "app/" not in err


def test_a_root_that_cannot_be_made_is_named_with_the_setting(capsys, here):
    (here / "file").write_text("in the way")
    (here / "docs").mkdir()
    (here / "docs" / "a.md").write_text("# A\n\nSome text.\n")
    code, line = only_error(capsys, "ingest", "--set", "source.folder=docs", "--set", "root=file")
    assert code == 1
    assert "file/pages" in line
    assert "--set root=" in line


DOCS = {
    "pump.md": "# Pump\n\nThe pump moves water from the well into the tank, and starts when the tank is half empty.\n",
    "lathe.md": "# Lathe\n\nThe lathe turns a piece of wood around its axis, so that a tool can cut it evenly.\n",
    "tiny.md": "# Tiny\n\nToo short.\n",
}


@pytest.fixture
def read(capsys, here):
    """A workspace that has read three small files."""
    (here / "docs").mkdir()
    for name, text in DOCS.items():
        (here / "docs" / name).write_text(text)
    code, out, err = outcome(capsys, "ingest", "--set", "source.folder=docs", "--json")
    assert code == 0, err
    return json.loads(out)


def test_json_is_one_document_that_names_the_version(read):
    assert read["stage"] == "chunks"
    assert read["counts"]["documents"] == 2
    assert (Path(read["path"]) / "manifest.json").exists()


def test_data_list_show_and_rejects(capsys, here, read):
    versions = json.loads(outcome(capsys, "data", "list", "--json")[1])
    assert [version["stage"] for version in versions] == ["pages", "extracted", "cleaned", "documents", "chunks"]
    assert json.loads(outcome(capsys, "data", "show", read["version"])[1])["version"] == read["version"]
    url = f"file://{here}/docs/pump.md"
    assert json.loads(outcome(capsys, "data", "show", url, "--json")[1])["outline"] == ["Pump"]
    rejects = json.loads(outcome(capsys, "data", "rejects", "--rule", "too_short", "--json")[1])
    assert [row["url"].rpartition("/")[2] for row in rejects] == ["tiny.md"]
    assert json.loads(outcome(capsys, "data", "rejects", "--rule", "nosuch", "--json")[1]) == []
    code, out, _ = outcome(capsys, "data", "list")
    assert code == 0
    assert "documents" in out


@pytest.fixture
def voted(here):
    """A store with one answer that has a vote with a correction, and one without."""
    with closing(Store(f"sqlite:///{here}/.wellread/feedback.db")) as store:
        store.record(Interaction("i1", "What is [bold]it[/bold]?", "That.", "base", grounded=True))
        store.record(Interaction("i2", "And this?", "No.", "base"))
        store.add_feedback(Feedback("i1", "down", "It is this.", "wrong", "ann"))


def test_feedback_list_shows_the_vote_with_its_question(capsys, here, voted):
    rows = json.loads(outcome(capsys, "feedback", "list", "--json")[1])
    assert [(row["vote"], row["correction"], row["answer"]) for row in rows] == [("down", "It is this.", "That.")]
    table = outcome(capsys, "feedback", "list")[1]
    # What people wrote is shown as it is, never as markup of the terminal.
    assert "[bold]" in "".join(table.split())


def test_feedback_export_writes_json_lines(capsys, here, voted):
    code, out, _ = outcome(capsys, "feedback", "export", "votes.jsonl")
    assert code == 0
    assert "1 rows" in out
    assert json.loads((here / "votes.jsonl").read_text())["question"] == "What is [bold]it[/bold]?"


def test_feedback_export_writes_into_a_device_instead_of_replacing_it(capsys, here, voted):
    (here / "null").symlink_to(os.devnull)
    assert outcome(capsys, "feedback", "export", "null")[0] == 0
    assert (here / "null").is_symlink()


def test_monitor_report_counts_the_interactions(capsys, here, voted):
    report = json.loads(outcome(capsys, "monitor", "report", "--json")[1])
    assert (report["interactions"], report["grounded"], report["approval"]) == (2, 0.5, 0.0)
    assert "approval" in outcome(capsys, "monitor", "report")[1]


def test_an_empty_store_has_no_data_yet(capsys, here):
    assert "no data yet" in outcome(capsys, "monitor", "report")[1]
    assert json.loads(outcome(capsys, "feedback", "list", "--json")[1]) == []


def test_config_prints_the_settings_in_force_without_the_password(capsys, here, monkeypatch):
    monkeypatch.setenv("WELLREAD_FEEDBACK__DATABASE", "postgresql://u:hidden@localhost/x")
    code, out, _ = outcome(capsys, "config", "--set", "train.epochs=7")
    assert code == 0
    assert "epochs: 7" in out
    assert "hidden" not in out


def test_models_of_an_empty_workspace(capsys, here):
    assert json.loads(outcome(capsys, "models", "--json")[1]) == []


def test_the_console_script_is_installed():
    assert shutil.which("wellread", path=str(Path(sys.executable).parent))
