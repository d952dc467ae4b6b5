"""`wellread extract`: one line of JSON a file, in order, and one line on stderr for each that cannot be read."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from app.console import guarded
from app.extract import extract

app = typer.Typer()
app.command()(extract)


@app.callback()
def one_of_several() -> None:
    """With one command only, typer takes no name for it."""


def run(capsys, *files):
    code = guarded(lambda: app(["extract", *map(str, files)], standalone_mode=False), debug=False)
    captured = capsys.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err.splitlines()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.html").write_text("<title>A page</title><p>before</p><h2>Größe</h2><p>Text \ud83d.</p>", "utf-8", "replace")
    Path("b.md").write_text("# Title\n\nText.\n\n```\nx  = 1\n```\n")
    Path("c.rst").write_text("Head\n====\n\nBody.\n")
    return tmp_path


def test_files_are_answered_in_order(capsys, here):
    code, rows, errors = run(capsys, "b.md", "a.html", "c.rst")
    assert (code, errors) == (0, [])
    assert [row["path"] for row in rows] == ["b.md", "a.html", "c.rst"]
    assert rows[0]["sections"] == [{"level": 1, "heading": "Title", "text": "Text.\n\nx  = 1"}]
    assert (rows[1]["title"], rows[1]["text"].split("\n")[2]) == ("A page", "Größe")
    assert [part["level"] for part in rows[1]["sections"]] == [0, 2]
    assert list(rows[2]) == ["path", "title", "text", "sections"]


def test_what_cannot_be_read_is_one_line_each_and_the_rest_is_read(capsys, here):
    Path("empty.html").write_text("<p></p>")
    Path("image.png").write_bytes(b"\x89PNG")
    Path("broken.pdf").write_bytes(b"%PDF-1.4 cut off")
    code, rows, errors = run(capsys, "nosuch.html", "empty.html", "image.png", ".", "broken.pdf", "b.md")
    assert code == 1
    assert [row["path"] for row in rows] == ["b.md"]
    assert [line.split(": ")[0] for line in errors] == ["nosuch.html", "empty.html", "image.png", ".", "broken.pdf"]
    assert "No such file" in errors[0]
    assert "empty" in errors[1]
    assert ".html" in errors[2]


@pytest.mark.parametrize(
    ("given", "text"),
    [(b"<p>From a &lt;pipe&gt;</p>", "From a <pipe>"), (b"1 < 2, says\nthe text", "1 < 2, says\nthe text")],
)
def test_standard_input(capsys, monkeypatch, here, given, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
    assert [row["text"] for row in run(capsys, "-")[1]] == [text]


def test_a_reader_who_has_seen_enough(here):
    command = f"{sys.executable} -c 'from tests.app.test_extract_command import app; app()' extract"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} {'b.md ' * 3000}| head -n 1"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == "b.md"
    assert done.stderr == ""
