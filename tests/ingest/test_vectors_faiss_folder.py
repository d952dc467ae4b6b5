"""A saved FAISS index: opened whole or refused with what to do, whatever happened to the writer or to its files."""

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from configs.errors import ArtifactError
from ingest.vectors.faiss_index import FaissIndex
from ingest.vectors.kinds import IVFPQ_FROM, Params
from ingest.vectors.manifest import read_manifest
from ingest.vectors.stored import VECTORS_FILE
from tests.ingest.vector_contract import filled, numbers, some_vectors

PARAMS = Params(m=8, build=16, lists=16, code_bytes=8)
REMEDY = "Delete that folder and run `wellread index`"


def saved(folder: Path, kind: str = "hnsw", count: int = 60) -> FaissIndex:
    """An index of two segments, both with removed vectors."""
    index = FaissIndex.create(16, kind, PARAMS)
    filled(index, count)
    index.compact()
    index.add(np.arange(1000, 1010), some_vectors(10, seed=1))
    index.remove(numbers(100, 105, 1003))
    index.save(folder)
    return index


def files(folder: Path) -> dict[str, int]:
    """Inodes of all files."""
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def file_of(folder: Path, role: str) -> Path:
    return max(folder.glob(f"{role}-*"), key=lambda path: path.stat().st_size)


# Argument: a folder with an index. At every step that a save makes on the disk, a copy of this process is killed there.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
import numpy as np
from ingest.vectors import folder as saving
from ingest.vectors.faiss_index import FaissIndex
from tests.ingest.vector_contract import some_vectors

home, compacting, elsewhere = Path(sys.argv[1]), sys.argv[2] == "compact", sys.argv[3] == "elsewhere"

def change_and_save(source, target):
    index = FaissIndex.load(source)
    index.remove(np.array([110, 111, 1001]))
    index.add(np.arange(2000, 2009), some_vectors(9, seed=2))
    if compacting:
        index.compact()
    index.save(target)

def killed_at(number):
    steps = 0
    def counted(function):
        def step(*arguments, **options):
            nonlocal steps
            steps += 1
            if steps == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return step
    os.replace, os.fsync, os.unlink, os.link = map(counted, (os.replace, os.fsync, os.unlink, os.link))
    saving._Hashed.write = counted(saving._Hashed.write)

for number in range(1, 1000):
    copy = home.with_name(f"{number}")
    shutil.copytree(home, copy)
    child = os.fork()
    if not child:
        killed_at(number)
        change_and_save(copy, copy.with_name(f"{number}-new") if elsewhere else copy)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
        break
print(number)
"""


@pytest.mark.parametrize("what", ["change", "compact"])
@pytest.mark.parametrize("where", ["same", "elsewhere"])
def test_killed_at_any_step_of_saving_the_old_or_the_new_index_is_there_whole(
    what: str, where: str, tmp_path: Path
) -> None:
    old = saved(tmp_path / "old").ids.tolist()
    command = [sys.executable, "-c", KILLED, str(tmp_path / "old"), what, where]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"OMP_NUM_THREADS": "1"}, cwd=Path.cwd()
    )
    assert run.returncode == 0, run.stderr
    steps = int(run.stdout)
    assert steps > 15
    new = sorted({*old, *range(2000, 2009)} - {110, 111, 1001})
    ended = []
    for number in range(1, steps):
        copy = tmp_path / f"{number}"
        source = tmp_path / f"{number}-new" if where == "elsewhere" else copy
        if where == "elsewhere":
            assert FaissIndex.load(copy, verify=True).ids.tolist() == old
        there = (source / VECTORS_FILE).exists()
        found = FaissIndex.load(source, verify=True).ids.tolist() if there else None
        ended.append(found)
        assert found in (new, old if where == "same" else None), f"killed at step {number} of {steps}"
        # The next run takes it from there, and cleans up.
        again = FaissIndex.load(copy)
        again.save(source)
        assert set(files(source)) == read_manifest(source).names() | {VECTORS_FILE, ".lock"}
    assert new in ended
    assert ended[0] != new


def test_a_second_writer_is_refused_by_the_name_of_the_first(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from ingest.vectors import folder as saving
from ingest.vectors.faiss_index import FaissIndex

real = saving.write_manifest

def slow(*arguments):
    print("writing", flush=True)
    sys.stdin.readline()
    real(*arguments)

saving.write_manifest = slow
index = FaissIndex.load(Path(sys.argv[1]))
index.remove(index.ids[:5])
index.save(Path(sys.argv[1]))
"""
    index = saved(tmp_path / "vectors")
    command = [sys.executable, "-c", script, str(tmp_path / "vectors")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "writing\n"
        with pytest.raises(ArtifactError, match=rf"process {first.pid} is writing"):
            index.save(tmp_path / "vectors")
        assert len(FaissIndex.load(tmp_path / "vectors")) == len(index)
        first.communicate("go on\n")
    assert first.returncode == 0
    assert len(FaissIndex.load(tmp_path / "vectors")) == len(index) - 5
    index.save(tmp_path / "vectors")
    assert len(FaissIndex.load(tmp_path / "vectors", verify=True)) == len(index)


def test_a_new_version_costs_its_changes_only(tmp_path: Path) -> None:
    saved(tmp_path / "1", "exact", 400)
    before = files(tmp_path / "1")
    index = FaissIndex.load(tmp_path / "1")
    index.add(numbers(5), some_vectors(1, seed=3))
    index.save(tmp_path / "2")
    after = files(tmp_path / "2")
    assert files(tmp_path / "1") == before
    base = file_of(tmp_path / "1", "vectors").name
    assert after[base] == before[base]
    new = [path for path in (tmp_path / "2").iterdir() if path.name not in before]
    assert sum(path.stat().st_size for path in new) < 1000
    # The first version may go, under whoever uses it.
    shutil.rmtree(tmp_path / "1")
    assert len(FaissIndex.load(tmp_path / "2", verify=True)) == 408


def test_an_index_whose_folder_is_gone_is_saved_from_memory(tmp_path: Path) -> None:
    index = saved(tmp_path / "1")
    opened = FaissIndex.load(tmp_path / "1")
    shutil.rmtree(tmp_path / "1")
    for number, one in enumerate((index, opened)):
        one.save(tmp_path / f"new{number}")
        again = FaissIndex.load(tmp_path / f"new{number}", verify=True)
        assert again.ids.tolist() == index.ids.tolist()
        assert np.array_equal(again.get(index.ids), index.get(index.ids))


@pytest.mark.parametrize(("kind", "count"), [("exact", 60), ("hnsw", 60), ("ivfpq", IVFPQ_FROM)])
def test_damaged_files_are_refused_with_what_to_do(kind: str, count: int, tmp_path: Path) -> None:
    saved(tmp_path / "whole", kind, count)
    for role in ("ids", "vectors", "dead", *([] if kind == "exact" else ["structure"])):
        for damage in ("cut", "empty", "gone", "longer", "flipped"):
            folder = tmp_path / f"{role}-{damage}"
            shutil.copytree(tmp_path / "whole", folder)
            path = file_of(folder, role)
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 0xFF
            if damage == "gone":
                path.unlink()
            else:
                path.write_bytes({"cut": content[:-7], "empty": b"", "longer": content + b"x"}.get(damage, content))
            with pytest.raises(ArtifactError, match=REMEDY):
                FaissIndex.load(folder, verify=True)
            if role != "vectors" or damage != "flipped":
                with pytest.raises(ArtifactError, match=REMEDY):
                    FaissIndex.load(folder)


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_no_byte_of_a_vectors_header_ends_the_process(kind: str, tmp_path: Path) -> None:
    index = saved(tmp_path, kind)
    path = file_of(tmp_path, "vectors")
    content = path.read_bytes()
    for place in range(len(content) - 60 * 16 * 4):
        for value in (0x00, 0x7F, 0xFF):
            damaged = bytearray(content)
            damaged[place] = value
            path.write_bytes(damaged)
            try:
                opened = FaissIndex.load(tmp_path)
            except ArtifactError:
                continue
            assert np.array_equal(opened.ids, index.ids)
            opened.search(some_vectors(2), 5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": 2, "kind": "exact", "dimensions": 16, "params": {}, "segments": []}',
        '{"format": 1, "kind": "exact", "dimensions": 0, "params": {}, "segments": []}',
        '{"format": 1, "kind": "exact", "dimensions": 16, "params": {}, "segments": [], "more": 1}',
    ],
)
def test_a_damaged_manifest_is_refused(text: str, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / VECTORS_FILE).write_text(text)
    with pytest.raises(ArtifactError, match=REMEDY):
        FaissIndex.load(tmp_path)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ArtifactError, match=r"holds no vector index.*wellread index"):
            FaissIndex.load(folder)


def test_a_full_disk_is_told_and_the_old_index_stays(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
from configs.errors import ArtifactError
from ingest.vectors.faiss_index import FaissIndex
from tests.ingest.vector_contract import filled

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
index = FaissIndex.load(Path(sys.argv[1]))
filled(index, 4000)
try:
    index.save(Path(sys.argv[1]))
except ArtifactError as error:
    print(error)
"""
    index = saved(tmp_path)
    command = [sys.executable, "-c", script, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot write the vector index" in run.stdout
    assert FaissIndex.load(tmp_path, verify=True).ids.tolist() == index.ids.tolist()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    saved(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_threads_search_and_open_while_one_changes_and_saves(tmp_path: Path) -> None:
    index = saved(tmp_path)
    always = index.ids[:40]
    queries = index.get(always)
    stop = threading.Event()

    def search_on() -> int:
        searches = 0
        while not stop.is_set():
            for one in (index, FaissIndex.load(tmp_path)):
                cosines, ids = one.search(queries, 3)
                assert (ids[:, 0] == always).all()
                assert (np.diff(cosines, axis=1) <= 0).all()
                searches += 1
        return searches

    with ThreadPoolExecutor(3) as pool:
        searching = [pool.submit(search_on) for _ in range(3)]
        try:
            for number in range(25):
                index.add(np.arange(5000, 5020), some_vectors(20, seed=10 + number))
                index.remove(np.arange(5000, 5005))
                if number % 5 == 0:
                    index.compact()
                index.save(tmp_path)
        finally:
            stop.set()
        assert all(one.result() > 0 for one in searching)
    assert len(FaissIndex.load(tmp_path)) == len(index)
