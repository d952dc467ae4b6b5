"""Every shell block of the README that starts something is run as it stands, on a small folder and short settings."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(sh|bash)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
STAGES = [block.strip() for language, block in BLOCKS if language == "sh"]
REQUESTS = [block.strip() for language, block in BLOCKS if language == "bash"]
# Stopped from outside, because they serve until then.
SERVERS = ["make chat"]
# Running it here would run this test again.
ITSELF = ["make test"]

# What each stage leaves behind, and how many folders of the root are there after it when it is run in order.
MADE = {"make data": {"pages", "documents", "chunks"}, "make index": {"index"}, "make train": {"examples", "models"}}
MADE["make eval"] = {"evaluations"}
FOLDERS = {"make data": 5, "make index": 6, "make train": 8, "make eval": 9}

PAGES = {
    "pump": "The pump moves water from the well into the tank, and it starts when the tank is half empty.",
    "lathe": "The lathe turns a piece of wood around its axis, so that a cutting tool can shape it evenly.",
    "crane": "The crane lifts heavy parts from the floor to the workbench, and carries at most two tons.",
    "forge": "The forge heats iron until it glows, and a bellows below it keeps the fire hot enough.",
    "press": "The press flattens sheets of metal between two plates, which close slowly for safety.",
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of documents, a root and a port that the stages are pointed at, by their environment alone."""
    return make_place(tmp_path_factory.mktemp("stages"))


def make_place(folder):
    (folder / "docs").mkdir()
    for name, text in PAGES.items():
        page = f"# The {name}\n\n{text}\n\n## How to stop the {name}\n\nPush the red button on the {name} to stop it.\n"
        (folder / "docs" / f"{name}.md").write_text(page)
    port = free_port()
    settings = f"--set root={folder}/root --set serve.port={port}"
    environment = {"CONFIG": "configs/ci.yaml", "DOCS": f"{folder}/docs", "SET": settings, "CI": "true"}
    return folder, port, {**os.environ, **environment}


def run(block, place):
    done = subprocess.run(
        ["bash", "-euc", block], cwd=ROOT, env=place[2], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_readme_shows_the_two_commands_and_every_stage():
    assert STAGES[:2] == ["make demo", "make test"]
    assert set(STAGES) >= {"make data", "make index", "make train", "make eval", "make chat"}
    assert len(REQUESTS) == 1


@pytest.mark.slow
def test_demo_runs_to_the_first_answer_with_its_citations(tmp_path):
    place = make_place(tmp_path)
    shown = run("make demo", place)
    assert "Q: " in shown
    # Which passage the model cites differs between processors; that it cites one, with its quote, does not.
    assert re.search(r"^\[\d\] .*\n +file://.*\.md\n +\"", shown, re.MULTILINE), shown
    assert f"http://127.0.0.1:{place[1]}/chat" in shown


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in STAGES if block not in [*SERVERS, *ITSELF, "make demo"]])
def test_a_stage_runs(block, place):
    shown = run(block, place)
    assert "Error" not in shown
    made = {path.parent.name for path in (place[0] / "root").glob("*/current")}
    assert MADE[block] <= made
    assert len(made) <= FOLDERS[block]


@pytest.mark.slow
def test_chat_serves_the_page_and_answers_the_request_of_the_readme(place):
    _, port, environment = place
    server = subprocess.Popen(["bash", "-euc", *SERVERS], cwd=ROOT, env=environment, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 180
        while not ready(address) and server.poll() is None and time.monotonic() < deadline:
            time.sleep(0.3)
        assert "<html" in httpx.get(f"{address}/chat/", follow_redirects=True).text
        request = REQUESTS[0].replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        answered = subprocess.run(["bash", "-euc", request], capture_output=True, text=True, check=True)
        message = json.loads(answered.stdout)["choices"][0]["message"]
        assert message["content"]
        assert set(message) >= {"content", "citations", "grounded", "guard"}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def ready(address):
    try:
        return httpx.get(f"{address}/readyz").is_success
    except httpx.HTTPError:
        return False
