"""Every stage of ingest is killed in the middle and run again: the bytes are those of a run that nobody disturbed."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs.artifacts import Workspace
from configs.load import SHIPPED, load_config
from ingest.executor import Processes
from ingest.pipeline import run_ingest

PAGES = 150
STAGES = ("read", "extracting", "cleaning", "comparing", "chunking")
TABLES = (
    ("extracted", "outcomes.parquet"),
    ("cleaned", "outcomes.parquet"),
    ("documents", "documents.parquet"),
    ("documents", "rejects.parquet"),
    ("chunks", "chunks.parquet"),
)
POLICY = "stages: {document: [{guard: pii, action: redact}]}"

# Kills itself, as the kernel would, once the stage has come to its second report or, where it makes one, to its last.
CHILD = """
import multiprocessing, os, signal, sys
from configs.load import SHIPPED, load_config
from ingest.executor import Processes
from ingest.pipeline import run_ingest

if __name__ == "__main__":
    stage, *overrides = sys.argv[1:]
    Processes.__init__.__kwdefaults__["worth_s"] = 0  # so little work would be done without processes
    seen = []

    def watch(what, done, total):
        if what == stage and done:
            seen.append(done)
            if len(seen) == 2 or done == total:
                print(len(multiprocessing.active_children()), flush=True)
                os.kill(os.getpid(), signal.SIGKILL)

    run_ingest(load_config(SHIPPED / "ci.yaml", overrides, {}), watch)
"""


def quiet(_what, _done, _total):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("docs")
    for number in range(PAGES):
        # Every tenth repeats another, and every fifteenth is too short.
        topic = number - 1 if number % 10 == 9 else number
        text = (
            f"# Pump {topic}\n\nPump {topic} moves {topic * 7} litres a minute, ask ada{topic}@example.org about it.\n"
        )
        rest = f"\n## Care of pump {topic}\n\nOil number {topic % 13} goes into the left opening every {topic} days.\n"
        (home / f"{number:03}.md").write_text("# Nothing\n" if number % 15 == 1 else text + rest)
    return home


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.write_text(POLICY)
    return file


def overrides(root: Path, folder: Path, policy: Path, workers: int) -> list[str]:
    return [f"root={root}", f"source.folder={folder}", f"guards.policy={policy}", f"work.workers={workers}"]


def ingested(root: Path, folder: Path, policy: Path, workers: int = 1) -> dict[tuple[str, str], bytes]:
    run_ingest(load_config(SHIPPED / "ci.yaml", overrides(root, folder, policy, workers), {}), quiet)
    workspace = Workspace(root)
    return {(stage, name): (workspace.current(stage).path / name).read_bytes() for stage, name in TABLES}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, folder: Path, policy: Path) -> dict[tuple[str, str], bytes]:
    return ingested(tmp_path_factory.mktemp("unbroken"), folder, policy)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_killed_in_the_middle_ends_with_the_same_bytes(
    stage: str, tmp_path: Path, folder: Path, policy: Path, unbroken: dict[tuple[str, str], bytes]
) -> None:
    command = [sys.executable, "-c", CHILD, stage, *overrides(tmp_path, folder, policy, 1)]
    killed = subprocess.run(command, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

    assert ingested(tmp_path, folder, policy) == unbroken
    assert not list(tmp_path.glob("*/.partial-*"))


def test_parts_that_were_made_before_the_kill_are_not_made_again(tmp_path: Path, folder: Path, policy: Path) -> None:
    command = [sys.executable, "-c", CHILD, "extracting", *overrides(tmp_path, folder, policy, 1)]
    subprocess.run(command, check=False, capture_output=True)
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("extracted/.partial-*/parts/*.parquet")}
    assert 0 < len(made) < 3

    resumed: list[int] = []

    def watch(what: str, done: int, _total: int | None) -> None:
        if what == "extracting" and not resumed:
            resumed.append(done)
            assert {path: path.stat().st_mtime_ns for path in made} == made

    run_ingest(load_config(SHIPPED / "ci.yaml", overrides(tmp_path, folder, policy, 1), {}), watch)
    assert resumed[0] >= 64


def test_processes_give_the_same_bytes(
    tmp_path: Path,
    folder: Path,
    policy: Path,
    unbroken: dict[tuple[str, str], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(Processes.__init__.__kwdefaults__, "worth_s", 0)
    assert ingested(tmp_path, folder, policy, workers=2) == unbroken


def test_workers_end_with_the_run_that_started_them(tmp_path: Path, folder: Path, policy: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    command = [sys.executable, str(script), "cleaning", *overrides(tmp_path / "root", folder, policy, 2)]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        workers = child.stdout.readline()
        child.wait()
    assert (child.returncode, workers) == (-signal.SIGKILL, b"2\n")
    deadline = time.monotonic() + 30
    while _in_session(child.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _in_session(child.pid)


def _in_session(session: int) -> list[str]:
    """Processes of a session that are not mere entries waiting for somebody to ask how they ended."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if len(fields) > 3 and fields[3] == str(session) and fields[0] != "Z":
            found.append(entry.name)
    return found


# Kills itself at the n-th step that cannot be undone: a rename, a removal.
AT_A_STEP = """
import os, shutil, signal, sys
from configs.load import SHIPPED, load_config
from ingest.pipeline import run_ingest

if __name__ == "__main__":
    number, *overrides = sys.argv[1:]
    steps = 0

    def counted(function):
        def step(*arguments, **options):
            global steps
            steps += 1
            if steps == int(number):
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return step

    os.replace, shutil.rmtree = counted(os.replace), counted(shutil.rmtree)
    run_ingest(load_config(SHIPPED / "ci.yaml", overrides, {}), lambda *_: None)
    print(steps)
"""


def test_killed_before_any_rename_or_removal_the_next_run_ends_with_the_same_bytes(
    tmp_path: Path, folder: Path, policy: Path, unbroken: dict[tuple[str, str], bytes]
) -> None:
    def killed(number: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", AT_A_STEP, str(number), *overrides(tmp_path / str(number), folder, policy, 1)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    whole = killed(0)
    assert whole.returncode == 0, whole.stderr
    steps = int(whole.stdout)
    assert steps > 20
    # Each of them takes a second: those of one run in four, in an order that reaches every stage.
    for number in range(2, steps + 1, 4):
        assert killed(number).returncode == -signal.SIGKILL
        assert ingested(tmp_path / str(number), folder, policy) == unbroken, f"killed before step {number} of {steps}"
