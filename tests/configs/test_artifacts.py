"""Versions: the same work is done once, a crash leaves nothing half-published, two at once are told apart."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from configs.artifacts import Made, Workspace, write_text_atomic
from configs.errors import ArtifactError


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path / "root")


def write(text, counts=None):
    def make(folder):
        (folder / "out.txt").write_text(text)
        return Made(counts=counts or {"lines": 1}, figures={"loss": 0.5}, fingerprint=text)

    return make


def test_a_version_holds_what_was_made_and_says_where_it_comes_from(workspace):
    version = workspace.build("chunks", write("hello"), inputs={"documents": "abc"}, settings={"max": 3})
    manifest = json.loads((version.path / "manifest.json").read_text())
    assert (version.path / "out.txt").read_text() == "hello"
    assert manifest["inputs"] == {"documents": "abc"}
    assert manifest["settings"] == {"max": 3}
    assert manifest["counts"] == {"lines": 1}
    assert manifest["figures"] == {"loss": 0.5}
    assert manifest["packages"]["wellread"]
    assert version.path.name == version.id == manifest["version"]
    assert workspace.current("chunks").id == version.id


def test_the_same_inputs_and_settings_run_once(workspace):
    first = workspace.build("chunks", write("a"), inputs={"x": "1"}, settings={"y": 2})

    def never(_folder):
        raise AssertionError("this must not run")

    again = workspace.build("chunks", never, inputs={"x": "1"}, settings={"y": 2})
    assert again.id == first.id
    assert (first.reused, again.reused) == (False, True)


@pytest.mark.parametrize("change", [{"inputs": {"x": "2"}}, {"settings": {"y": 3}}, {"logic": 2}])
def test_any_change_of_inputs_settings_or_logic_is_another_version(workspace, change):
    base = {"inputs": {"x": "1"}, "settings": {"y": 2}}
    first = workspace.build("chunks", write("a"), **base)
    second = workspace.build("chunks", write("b"), **{**base, **change})
    assert first.id != second.id
    assert {version.id for version in workspace.versions("chunks")} == {first.id, second.id}


def test_going_back_to_earlier_settings_makes_the_earlier_version_current(workspace):
    first = workspace.build("chunks", write("a"), inputs={}, settings={"y": 1})
    workspace.build("chunks", write("b"), inputs={}, settings={"y": 2})
    workspace.build("chunks", write("a"), inputs={}, settings={"y": 1})
    assert workspace.current("chunks").id == first.id


def test_a_snapshot_always_runs_and_is_named_by_what_it_found(workspace):
    def snapshot(text):
        return workspace.build("pages", write(text), inputs={}, settings={"site": "s"}, snapshot=True)

    first, same, other = snapshot("a"), snapshot("a"), snapshot("b")
    assert (first.reused, same.reused, other.reused) == (False, True, False)
    assert first.id == same.id != other.id
    assert [path.name for path in (workspace.root / "pages").glob(".partial*")] == []


def test_a_failed_stage_leaves_nothing_behind(workspace):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        workspace.build("chunks", fail, inputs={}, settings={})
    assert list((workspace.root / "chunks").glob("*partial*")) == []
    with pytest.raises(ArtifactError, match="wellread ingest"):
        workspace.current("chunks")


def test_a_resumable_stage_finds_what_it_had_done(workspace):
    def fail(folder):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    def go_on(folder):
        return Made(counts={"found": int((folder / "half.txt").exists())})

    with pytest.raises(KeyboardInterrupt):
        workspace.build("models", fail, inputs={}, settings={}, resumable=True)
    version = workspace.build("models", go_on, inputs={}, settings={}, resumable=True)
    assert version.manifest.counts == {"found": 1}


def test_a_missing_or_damaged_version_is_named_with_its_remedy(workspace):
    with pytest.raises(ArtifactError, match="Run `wellread index` first"):
        workspace.current("index")
    version = workspace.build("index", write("a"), inputs={}, settings={})
    (version.path / "manifest.json").write_text("{broken")
    with pytest.raises(ArtifactError, match="damaged"):
        workspace.current("index")
    with pytest.raises(ArtifactError, match="nosuch"):
        workspace.version("index", "nosuch")


HOLD = """
import sys, time
from pathlib import Path
from configs.artifacts import Made, Workspace
def make(folder):
    (folder / "half.txt").write_text("half")
    print("working", flush=True)
    time.sleep(60)
    return Made()
Workspace(Path(sys.argv[1])).build("chunks", make, inputs={}, settings={})
"""


def start_holding(root):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "working\n"
    return process


def test_two_processes_at_the_same_version_the_second_is_told(workspace):
    process = start_holding(workspace.root)
    try:
        with pytest.raises(ArtifactError, match=f"process {process.pid} is already at work"):
            workspace.build("chunks", write("a"), inputs={}, settings={})
    finally:
        process.kill()
        process.communicate()


def test_after_kill_9_the_stage_runs_again_from_a_clean_folder(workspace):
    process = start_holding(workspace.root)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(0.05)
    version = workspace.build("chunks", write("a"), inputs={}, settings={})
    assert sorted(path.name for path in version.path.iterdir()) == ["manifest.json", "out.txt"]


def test_an_atomic_write_replaces_and_leaves_no_temporary(tmp_path):
    path = tmp_path / "f"
    write_text_atomic(path, "one")
    write_text_atomic(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_figure_that_is_no_number_does_not_make_the_version_unreadable(workspace):
    made = Made(figures={"loss": float("nan"), "perplexity": float("inf")})
    workspace.build("models", lambda _folder: made, inputs={}, settings={})
    figures = workspace.current("models").manifest.figures
    assert math.isnan(figures["loss"])
    assert math.isinf(figures["perplexity"])


def test_what_comes_out_names_the_version_and_other_inputs_may_lead_to_it(workspace):
    first = workspace.build("chunks", write("same"), inputs={"x": "1"}, settings={})
    other = workspace.build("chunks", write("same"), inputs={"x": "2"}, settings={})
    assert (other.id, other.reused) == (first.id, True)

    def never(_folder):
        raise AssertionError("this must not run")

    assert workspace.build("chunks", never, inputs={"x": "2"}, settings={}).id == first.id


def test_work_goes_on_from_the_version_that_it_led_to_last(workspace):
    assert workspace.previous("pages", {"site": "a"}) is None
    settings = {"site": "a"}
    ids = [
        workspace.build("pages", write(text), inputs={}, settings=settings, snapshot=True).id
        for text in ("v1", "v2", "v1")
    ]
    workspace.build("pages", write("v3"), inputs={}, settings={"site": "b"}, snapshot=True)
    assert ids[0] == ids[2] != ids[1]
    assert workspace.previous("pages", {"site": "a"}).id == ids[0]


def test_a_folder_in_the_place_of_a_version_is_one_clear_line(workspace):
    version = workspace.build("chunks", write("a"), inputs={}, settings={})
    (version.path / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"cannot publish .*Delete that folder"):
        workspace.build("chunks", write("a"), inputs={}, settings={})


def test_a_root_that_is_a_file_has_no_earlier_version(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert Workspace(tmp_path / "file").previous("pages", {}) is None
