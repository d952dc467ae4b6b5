"""What a person does, with nothing replaced: read documents, ask on the page, see the source, vote, find the vote."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from configs.load import SHIPPED
from tests.app.conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PUMP = "The pump moves water from the well into the tank, and it starts when the tank is half empty."
CRANE = "The crane lifts heavy parts from the floor to the workbench, and carries at most two tons."


def wellread(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "app.entry", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where two pages have been read and indexed, with the settings that did it."""
    folder = tmp_path_factory.mktemp("loop")
    (folder / "docs").mkdir()
    (folder / "docs" / "pump.md").write_text(f"# The pump\n\n{PUMP}\n")
    (folder / "docs" / "crane.md").write_text(f"# The crane\n\n{CRANE}\n")
    settings = (SHIPPED / "ci.yaml").read_text().replace("source:\n", "source:\n  folder: docs\n")
    (folder / "wellread.yaml").write_text(settings)
    wellread(folder, "ingest")
    wellread(folder, "index")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """`wellread chat` in that folder, with the embedded model."""
    command = [sys.executable, "-m", "app.entry", "chat", "--set", "serve.port=0", "--json"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    addresses = json.loads("".join(next(server.stdout) for _ in range(4)))
    yield addresses["page"].removesuffix("/chat")
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)


def test_ask_see_the_source_vote_and_find_the_vote(folder: Path, address: str, open_page: OpenPage) -> None:
    # The server's front door leads to the page.
    visit = open_page(address)
    visit.page.set_default_timeout(120_000)
    turn = visit.answer("What does the pump do?")
    expect(visit.page.locator(".wr-card").first).to_contain_text("moves water from the well into the tank")
    turn.get_by_role("button", name="Good answer").click()
    expect(visit.page.get_by_text("Vote saved")).to_be_visible()
    rows = json.loads(wellread(folder, "feedback", "list", "--json"))
    assert [(row["vote"], row["question"]) for row in rows] == [("up", "What does the pump do?")]
    assert rows[0]["answer"]
    assert rows[0]["passages"][0]["url"].endswith("/docs/pump.md")
    report = json.loads(wellread(folder, "monitor", "report", "--json"))
    assert (report["interactions"], report["approval"]) == (1, 1.0)


def test_a_question_that_the_documents_do_not_answer_is_declined_with_the_nearest_sources(
    address: str, open_page: OpenPage
) -> None:
    visit = open_page(f"{address}/chat")
    visit.page.set_default_timeout(120_000)
    turn = visit.answer("Who painted the ceiling of the Sistine Chapel?")
    expect(turn).to_contain_text("The documents do not answer this question")


def test_a_second_server_on_the_same_port_is_told(folder: Path, address: str) -> None:
    port = address.rpartition(":")[2]
    second = subprocess.run(
        [sys.executable, "-m", "app.entry", "chat", "--set", f"serve.port={port}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in second.stderr
