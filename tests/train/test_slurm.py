"""Slurm's programs are shell scripts here that know two machines, both of which are this one; all else is real.

The script that is handed to `sbatch` is run by bash with the variables that Slurm sets, down to a trained model.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs.artifacts import Made, Workspace
from configs.errors import ArtifactError, ModelError
from configs.schema import Config
from tests.train.test_launch import losses
from train.job import main
from train.launch import launch, planned
from train.launchers.base import free_port, missing
from train.spec import CHECKPOINTS, COMPLETE, ERROR, LOG, PROGRESS, SPEC, Spec, read_progress
from train.stage import run_train

FAKES = {
    # A job waits until the test runs it.
    "sbatch": 'echo "$@" >> "$FAKE/sent"; echo 17',
    "squeue": 'cat "$FAKE/queue" 2>/dev/null || true',
    "scontrol": 'if [ "$1" = requeue ]; then echo "$2" >> "$FAKE/requeued"; else printf "127.0.0.1\\n127.0.0.2\\n"; fi',
    # One task on each of the two machines, each with what is behind srun's own options.
    "srun": """while [ "${1#--}" != "$1" ]; do shift; done
trap 'kill $first $second 2>/dev/null' INT TERM
SLURM_NODEID=0 "$@" & first=$!
SLURM_NODEID=1 "$@" & second=$!
wait $first; code=$?; wait $second || code=$?; exit $code""",
}
STEPS = {"max_steps": 6, "save_steps": 3}


def two() -> dict[str, object]:
    return {"launcher": "slurm", "batch_size": 2, "cluster": {"nodes": 2, "rendezvous": f":{free_port()}"}}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the fakes keep what they were told."""
    home = tmp_path / "slurm"
    home.mkdir()
    for name, body in FAKES.items():
        (home / name).write_text(f"#!/bin/bash\n{body}\n")
        (home / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(home))
    return home


def start_job(script: Path) -> "subprocess.Popen[bytes]":
    """What Slurm does when the job's turn comes; output goes where the script says."""
    log = next(line for line in script.read_text().splitlines() if line.startswith("#SBATCH --output="))
    variables = {"SLURM_JOB_ID": "17", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "a[1-2]"}
    variables["SLURM_CPUS_ON_NODE"] = "2"
    with Path(shlex.split(log.partition("=")[2])[0]).open("ab") as out:
        return subprocess.Popen(["bash", str(script)], stdout=out, stderr=out, env={**os.environ, **variables})


def sent(slurm: Path) -> list[str]:
    return (slurm / "sent").read_text().splitlines() if (slurm / "sent").exists() else []


def make_config(root: Path, model: str, **train: object) -> Config:
    training = {"batch_size": 2, "learning_rate": 1e-2, "max_tokens": 1024, "precision": "float32", **STEPS, **train}
    return Config.model_validate(
        {"root": root, "model": {"name": model, "device": "cpu"}, "train": training, "seed": 3}
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # mlflow 3.17 with SQLAlchemy 2.1
def test_a_job_of_two_machines_is_sent_once_trains_and_becomes_a_version(slurm, tmp_path, tiny, examples, make_run):
    alone = make_run("alone", **STEPS)
    launch(alone, lambda *_: None)
    root = tmp_path / "root"
    config = make_config(root, str(tiny), **two())
    Workspace(root).build(
        "examples",
        lambda folder: Made({"n": (folder / "examples.parquet").write_bytes(examples.read_bytes())}),
        inputs={},
        settings={},
    )
    with pytest.raises(ArtifactError, match="job 17 was sent; it trains in"):
        run_train(config, lambda *_: None)
    (slurm / "queue").write_text("job 17 is PENDING\n")
    with pytest.raises(ArtifactError, match="job 17 is PENDING"):
        run_train(config, lambda *_: None)
    assert len(sent(slurm)) == 1
    script = Path(sent(slurm)[0].split()[-1])
    assert start_job(script).wait() == 0, (script.parent / LOG).read_text()
    (slurm / "queue").unlink()
    version = run_train(config, lambda *_: None)
    assert losses(version.path) == pytest.approx(losses(alone), rel=1e-3)
    assert (version.path / LOG).read_text().count("engine DistributedDataParallel") == 2
    assert version.manifest.counts["steps"] == 6
    assert len(sent(slurm)) == 1


@pytest.mark.slow
def test_a_job_whose_time_is_over_makes_a_checkpoint_and_goes_back_into_the_queue(slurm, make_run, monkeypatch):
    folder = make_run("long", **two(), max_steps=100_000, save_steps=100_000)
    (folder / "slurm.sh").write_text(planned(Spec.read(folder / SPEC), folder).files["slurm.sh"])
    job = start_job(folder / "slurm.sh")
    # Before `launch` has seen a step there is nothing to save.
    while len(read_progress(folder / PROGRESS)) < 20:
        assert job.poll() is None, (folder / LOG).read_text()
        time.sleep(0.1)
    job.send_signal(signal.SIGUSR1)
    assert job.wait() == 0, (folder / LOG).read_text()
    assert (slurm / "requeued").read_text().split() == ["17"]
    (checkpoint,) = (folder / CHECKPOINTS).glob("checkpoint-*")
    assert (checkpoint / COMPLETE).exists()


def test_a_job_whose_time_is_over_before_a_step_is_not_sent_round_for_ever(slurm, make_run) -> None:
    (slurm / "srun").write_text('#!/bin/bash\ntouch "$FAKE/begun"\nexec sleep 600\n')
    folder = make_run("short", **two())
    (folder / "slurm.sh").write_text(planned(Spec.read(folder / SPEC), folder).files["slurm.sh"])
    job = start_job(folder / "slurm.sh")
    while not (slurm / "begun").exists():
        assert job.poll() is None, (folder / LOG).read_text()
        time.sleep(0.1)
    job.send_signal(signal.SIGUSR1)
    assert job.wait() == 1
    assert json.loads((folder / ERROR).read_text())["remedy"] == "Raise train.cluster.time"
    assert not (slurm / "requeued").exists()


def test_a_job_that_failed_says_why_once_and_is_then_sent_again(slurm, make_run) -> None:
    folder = make_run(**two())
    assert launch(folder, lambda *_: None) == "job 17 was sent"
    (folder / ERROR).write_text('{"problem": "out of memory", "remedy": "Lower it", "again": false}')
    with pytest.raises(
        ModelError, match=r"the job failed: out of memory.*Lower it; the next start sends the job again"
    ):
        launch(folder, lambda *_: None)
    launch(folder, lambda *_: None)
    assert len(sent(slurm)) == 2


def test_a_cluster_that_refuses_is_one_line(slurm, make_run) -> None:
    (slurm / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
    with pytest.raises(ModelError, match="sbatch ended with code 1: sbatch: error: invalid partition specified: gpu"):
        launch(make_run(**two()), lambda *_: None)


def test_without_slurm_one_line_says_so(make_run) -> None:
    with pytest.raises(ModelError, match=r"train.launcher is slurm, but the program sbatch is not installed"):
        launch(make_run(**two()), lambda *_: None)


def test_the_script_asks_for_what_the_settings_say(make_run, tmp_path) -> None:
    cluster = {"nodes": 3, "gpus": 4, "cpus": 16, "memory": "64G", "partition": "long", "time": "2:00:00"}
    folder = tmp_path / "a b%j"
    text = planned(Spec.read(make_run(launcher="slurm", processes=4, cluster=cluster) / SPEC), folder).files["slurm.sh"]
    options = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert options == [
        "job-name='wellread-a b%j'",
        "nodes=3",
        "ntasks-per-node=1",
        "cpus-per-task=16",
        "mem=64G",
        "gpus-per-node=4",
        "partition=long",
        "time=2:00:00",
        f"output='{tmp_path}/a b%%j/{LOG}'",
        "open-mode=append",
        "requeue",
        "signal=B:USR1@120",
    ]
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    assert text.splitlines()[-1] == f"exec {sys.executable} -m train.job '{tmp_path}/a b%j/{SPEC}'"


def test_a_job_of_a_run_that_is_finished_ends_at_once(make_run) -> None:
    folder = make_run(**two())
    (folder / "figures.json").write_text("{}")
    assert main([str(folder / SPEC)]) == 0


def test_inside_a_job_the_machines_meet_at_the_first(slurm, make_run, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "1005")
    plan = planned(Spec.read(make_run("in", launcher="slurm", cluster={"nodes": 2}) / SPEC), slurm)
    assert plan.command[:2] == ["srun", "--nodes=2"]
    assert plan.command[plan.command.index("--rdzv-endpoint") + 1] == "127.0.0.1:29405"
    assert not missing(plan)
