"""The executors: every task once, errors as they are, and the same bytes from this machine's processes and from Ray."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from configs.errors import ArtifactError
from ingest.executor import Here, Processes, executor_of
from tests.ingest.samples import page_table

# Started as a program of its own: Ray leaves threads and processes behind in the one that it runs in.
RAY = """
import sys
from pathlib import Path
from configs.errors import ArtifactError
from ingest.executor import executor_of
from ingest.parts import run_parts
from ingest.records import write_table
from ingest.steps import Extract
from ingest.records import Outcome

for name in ("ray", "local"):
    folder = Path(sys.argv[2]) / name
    folder.mkdir()
    results = run_parts(
        Extract(True), Path(sys.argv[1]), folder, previous=None, executor=executor_of(name, 2), progress=lambda *_: None
    )
    write_table(folder / "outcomes.parquet", results, Outcome)
    if name == "ray":
        import ray

        nodes = ray.nodes()
        print(len(nodes), int(ray.cluster_resources()["CPU"]), nodes[0]["NodeManagerAddress"])


class Fails:
    def run(self):
        raise ArtifactError("this one is damaged", "Delete it")


try:
    list(executor_of("ray", 2).run([Fails()]))
except ArtifactError as error:
    print(error)
"""

EXECUTORS = [Here(), Processes(1), Processes(2, worth_s=0), Processes(2, worth_s=0.0001)]


@dataclass(frozen=True)
class Writes:
    """A task that writes who it was, or does what is asked of it."""

    out: Path
    number: int
    does: str = ""

    def run(self) -> int:
        if self.does == "fail":
            raise ArtifactError("this one is damaged", "Delete it")
        if self.does == "die":
            os._exit(9)
        (self.out / f"{self.number}").write_text(str(os.getpid()))
        return self.number


@pytest.mark.parametrize("executor", EXECUTORS, ids=["here", "one", "two", "later"])
def test_every_task_runs_once(executor, tmp_path):
    tasks = [Writes(tmp_path, number) for number in range(12)]
    assert sorted(executor.run(tasks)) == list(range(12))
    assert len(list(tmp_path.iterdir())) == 12
    assert list(executor.run([])) == []


def test_workers_are_other_processes_and_little_work_needs_none(tmp_path):
    list(Processes(2, worth_s=0).run([Writes(tmp_path, number) for number in range(40)]))
    assert str(os.getpid()) not in {path.read_text() for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        path.unlink()
    list(Processes(2, worth_s=1e9).run([Writes(tmp_path, number) for number in range(40)]))
    assert {path.read_text() for path in tmp_path.iterdir()} == {str(os.getpid())}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_a_task_comes_out_as_it_is(workers, tmp_path):
    tasks = [Writes(tmp_path, number, "fail" if number == 3 else "") for number in range(6)]
    with pytest.raises(ArtifactError, match=r"this one is damaged. Delete it"):
        list(Processes(workers, worth_s=0).run(tasks))


def test_a_worker_that_dies_is_one_clear_line(tmp_path):
    tasks = [Writes(tmp_path, number, "die" if number == 1 else "") for number in range(4)]
    with pytest.raises(ArtifactError, match=r"worker processes died.*work\.workers=1"):
        list(Processes(2, worth_s=0).run(tasks))


def test_no_number_of_workers_means_all_cores():
    assert vars(executor_of("local", 0)) == vars(Processes(len(os.sched_getaffinity(0))))


def test_ray_gives_the_bytes_that_one_machine_gives(tmp_path):
    pages = page_table(tmp_path / "pages.parquet", 150)
    done = subprocess.run([sys.executable, "-c", RAY, pages, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1 2 127.0.0.2", "this one is damaged. Delete it"]
    local, ray = ((tmp_path / name / "outcomes.parquet").read_bytes() for name in ("local", "ray"))
    assert local == ray
