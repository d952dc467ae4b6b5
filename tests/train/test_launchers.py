"""Real jobs of two processes on this machine, under each launcher, beside the same training in one process.

Known limit: one machine only; two machines are two launchers here, each with one process, that meet on loopback.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from configs.errors import ModelError
from configs.training import DeepspeedSettings, TrainSettings
from tests.train.test_launch import losses, run
from train.launch import join, launch, planned, rehearsed
from train.launchers.base import environment, free_port
from train.launchers.torchrun import joins
from train.model import load_trained
from train.ranks import ranks
from train.record import engine_problem
from train.spec import FIGURES, LOG, SPEC, Spec
from train.zero import check_nvme, deepspeed_config, uses_deepspeed

STEPS = {"max_steps": 6, "save_steps": 6}
# Relative. Without exchanged gradients, what is learnt differs by 0.6 here.
SAME_LOSS, SAME_WEIGHTS = 1e-3, 0.05


@pytest.fixture(scope="module")
def alone(make_run_in, tmp_path_factory) -> dict[str, Path]:
    """The same training in one process, as an adapter and of all weights."""
    home = tmp_path_factory.mktemp("alone")
    folders = {method: make_run_in(home, method, method=method, **STEPS) for method in ("lora", "full")}
    for folder in folders.values():
        run(folder)
    return folders


def learnt(folder: Path, base: Path) -> torch.Tensor:
    """By how much training has moved the weights, in one row."""
    adapter = folder / "adapter" / "adapter_model.safetensors"
    if adapter.exists():
        parts = load_file(adapter)
        return torch.cat(
            [(parts[name.replace("_A", "_B")] @ parts[name]).flatten() for name in sorted(parts) if "lora_A" in name]
        )
    before, after = load_file(base / "model.safetensors"), load_file(folder / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    return torch.cat([(after[name] - before[name]).flatten() for name in sorted(after)])


def assert_same(folder: Path, alone: Path, base: Path, engine: str) -> None:
    """Two processes have learnt what one learns, in the engine that was asked for, and their result loads."""
    assert losses(folder) == pytest.approx(losses(alone), rel=SAME_LOSS)
    printed = "".join(file.read_text(errors="replace") for file in folder.glob("*.log"))
    assert printed.count(f"engine {engine}") == 2
    ours, theirs = learnt(folder, base), learnt(alone, base)
    assert (ours - theirs).norm() < SAME_WEIGHTS * theirs.norm()
    assert load_trained(folder, "cpu").max_context == 2048


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "method", "stage", "engine"),
    [
        ("torchrun", "lora", None, "DistributedDataParallel"),
        ("mpi", "lora", None, "DistributedDataParallel"),
        ("ray", "lora", None, "DistributedDataParallel"),
        ("deepspeed", "lora", 1, "DeepSpeedEngine"),
        ("deepspeed", "lora", 2, "DeepSpeedEngine"),
        ("deepspeed", "lora", 3, "DeepSpeedEngine"),
        ("deepspeed", "full", 3, "DeepSpeedEngine"),
    ],
)
def test_two_processes_learn_what_one_learns(make_run, tiny, alone, launcher, method, stage, engine) -> None:
    divided = {"deepspeed": {"stage": stage}} if stage else {}
    folder = make_run("two", batch_size=2, launcher=launcher, processes=2, method=method, **divided, **STEPS)
    run(folder)
    assert_same(folder, alone[method], tiny, engine)


@pytest.mark.slow
def test_two_machines_meet_and_learn_what_one_learns(make_run, tiny, alone) -> None:
    cluster = {"nodes": 2, "rendezvous": f"127.0.0.1:{free_port()}"}
    folder = make_run("nodes", batch_size=2, launcher="torchrun", cluster=cluster, **STEPS)
    other = threading.Thread(target=join, args=(folder, lambda *_: None))
    other.start()
    launch(folder, lambda *_: None)
    other.join()
    assert (folder / f"train.{socket.gethostname()}.log").exists()
    assert_same(folder, alone["lora"], tiny, "DistributedDataParallel")


def command_of(folder: Path) -> list[str]:
    return planned(Spec.read(folder / SPEC), folder).command


def test_torchrun_on_several_machines_names_the_meeting_point_and_the_run(make_run) -> None:
    cluster = {"nodes": 3, "rendezvous": "node1:29400"}
    words = command_of(make_run(".partial-abc", launcher="torchrun", processes=4, cluster=cluster, max_restarts=2))
    for option, value in [
        ("--nnodes", "3"),
        ("--nproc-per-node", "4"),
        ("--max-restarts", "2"),
        ("--rdzv-backend", "c10d"),
        ("--rdzv-endpoint", "node1:29400"),
        ("--rdzv-id", "wellread-abc"),
    ]:
        assert words[words.index(option) + 1] == value
    with pytest.raises(ModelError, match=r"rendezvous is ''.*host:port"):
        command_of(make_run("nowhere", launcher="torchrun", cluster={"nodes": 2}))


def test_only_the_machine_of_the_meeting_point_leads() -> None:
    def at(host: str) -> TrainSettings:
        cluster = {"nodes": 2, "rendezvous": f"{host}:29400"}
        return TrainSettings.model_validate({"launcher": "torchrun", "cluster": cluster})

    assert not joins(at("127.0.0.1"))
    assert not joins(at(socket.gethostname()))
    assert joins(at("192.0.2.1"))
    assert not joins(TrainSettings(launcher="torchrun"))


def test_a_run_that_nobody_leads_is_one_line(tmp_path) -> None:
    with pytest.raises(ModelError, match=r"no training has begun in .*nothing within 0 s"):
        join(tmp_path / "nothing", lambda *_: None, wait_s=0)


def test_mpirun_gets_the_machines_and_what_their_processes_need(make_run, tmp_path) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("# two of them\nnode1 slots=4\nnode2 slots=2\n")
    cluster = {"nodes": 2, "hostfile": str(hostfile)}
    spec = Spec.read(make_run("mpi", launcher="mpi", processes=4, cluster=cluster) / SPEC)
    plan = planned(spec, tmp_path)
    words = plan.command
    assert words[:3] == ["mpirun", "-np", "8"]
    assert words[words.index("--hostfile") + 1] == str(hostfile)
    # The second machine has fewer slots than processes.
    assert words[words.index("--map-by") + 1] == "ppr:4:node:OVERSUBSCRIBE"
    assert ("--allow-run-as-root" in words) == (os.geteuid() == 0)
    passed = {words[place + 1] for place, word in enumerate(words) if word == "-x"}
    assert passed >= {"MASTER_ADDR", "MASTER_PORT", *environment(spec.train)}
    assert plan.environment["MASTER_ADDR"] == "node1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("node1 slots=4\n", r"lists 1 machine\(s\), but train.cluster.nodes is 2"),
        ("node1 slots=4\nnode2 slots=many\n", "'node2 slots=many' is not a machine"),
        (None, "cannot read the hostfile"),
    ],
)
def test_a_hostfile_that_does_not_fit_is_one_line(make_run, tmp_path, text, says) -> None:
    hostfile = tmp_path / "hosts"
    if text:
        hostfile.write_text(text)
    for launcher in ("mpi", "deepspeed"):
        folder = make_run(launcher, launcher=launcher, cluster={"nodes": 2, "hostfile": str(hostfile)})
        with pytest.raises(ModelError, match=says):
            command_of(folder)
    with pytest.raises(ModelError, match=r"no train.cluster.hostfile"):
        command_of(make_run("none", launcher="mpi", cluster={"nodes": 2}))


def test_deepspeed_on_several_machines_writes_what_its_programs_read(make_run, tmp_path) -> None:
    hostfile = tmp_path / "hosts"
    hostfile.write_text("node1\nnode2\n")
    folder = make_run("ds", launcher="deepspeed", processes=4, cluster={"nodes": 2, "hostfile": str(hostfile)})
    spec = Spec.read(folder / SPEC)
    plan = planned(spec, folder)
    assert plan.files["hostfile"] == "node1 slots=4\nnode2 slots=4\n"
    assert plan.environment["DS_ENV_FILE"] == str(folder / "deepspeed.env")
    assert "OMP_WAIT_POLICY=" in plan.files["deepspeed.env"]
    assert plan.needs == ("pdsh",)
    assert plan.command[plan.command.index("--master_addr") + 1] == "node1"
    assert json.loads(plan.files["deepspeed.json"]) == deepspeed_config(spec.train, on_gpu=False)


def zero(**asked: object) -> dict[str, object]:
    settings = TrainSettings.model_validate({"launcher": "deepspeed", "deepspeed": asked})
    config = deepspeed_config(settings, on_gpu=True)["zero_optimization"]
    assert isinstance(config, dict)
    return config


def test_deepspeeds_configuration_follows_the_settings(tmp_path) -> None:
    assert {zero(stage=stage)["stage"] for stage in (1, 2, 3)} == {1, 2, 3}
    assert not {"offload_optimizer", "offload_param"} & zero(stage=3).keys()
    assert zero(stage=2, offload="cpu")["offload_optimizer"] == {"device": "cpu", "pin_memory": True}
    assert "offload_param" not in zero(stage=2, offload="cpu")
    assert zero(stage=3, offload="cpu")["offload_param"] == {"device": "cpu", "pin_memory": True}
    disk = zero(stage=3, offload="nvme", nvme=str(tmp_path))["offload_optimizer"]
    assert disk == {"device": "nvme", "pin_memory": True, "nvme_path": str(tmp_path)}
    with pytest.raises(ValidationError, match="offload: nvme needs stage: 3"):
        zero(stage=2, offload="nvme", nvme=str(tmp_path))


def test_settings_of_ones_own_are_laid_over_deepspeeds(tmp_path) -> None:
    extra = tmp_path / "extra.json"
    extra.write_text('{"zero_optimization": {"reduce_bucket_size": 1000}, "wall_clock_breakdown": true}')
    settings = TrainSettings.model_validate({"launcher": "deepspeed", "deepspeed": {"extra": str(extra)}})
    config = deepspeed_config(settings, on_gpu=False)
    assert config["wall_clock_breakdown"] is True
    assert config["zero_optimization"]["reduce_bucket_size"] == 1000
    assert config["zero_optimization"]["stage"] == 2
    for text, says in [("{", "is not JSON"), ("[]", "holds no JSON object")]:
        extra.write_text(text)
        with pytest.raises(ModelError, match=says):
            deepspeed_config(settings, on_gpu=False)
    extra.unlink()
    with pytest.raises(ModelError, match="cannot read"):
        deepspeed_config(settings, on_gpu=False)


def test_deepspeed_trains_where_it_is_asked_for() -> None:
    assert uses_deepspeed(TrainSettings(launcher="deepspeed"))
    assert uses_deepspeed(TrainSettings(launcher="slurm", deepspeed=DeepspeedSettings(on=True)))
    assert not uses_deepspeed(TrainSettings(launcher="slurm"))


def test_a_disk_that_is_not_there_is_one_line(tmp_path) -> None:
    asked = DeepspeedSettings(stage=3, offload="nvme", nvme=tmp_path / "disk")
    with pytest.raises(ModelError, match="disk, which is no folder on this machine"):
        check_nvme(asked)
    check_nvme(DeepspeedSettings())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"RANK": "1", "WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "9"}, {}),
        ({"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"}, ("1", "2", "1")),
        (
            {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "MASTER_ADDR": "node1"},
            ("5", "8", "1"),
        ),
    ],
)
def test_ranks_are_told_in_torchs_words(given, expected) -> None:
    found = ranks(given)
    assert (found and (found["RANK"], found["WORLD_SIZE"], found["LOCAL_RANK"])) == expected
    assert not found or found["MASTER_ADDR"] == given.get("MASTER_ADDR", "127.0.0.1")


def test_ranks_on_several_machines_need_a_meeting_point() -> None:
    with pytest.raises(ModelError, match="MASTER_ADDR"):
        ranks({"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"})


@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "mpi", "ray"])
def test_a_rehearsal_tells_everything_and_writes_nothing(make_run, tmp_path, launcher) -> None:
    spec = Spec.read(make_run("spec", launcher=launcher, processes=2) / SPEC)
    folder = tmp_path / "never"
    told = rehearsed(spec, folder)
    assert not folder.exists()
    assert str(folder / SPEC) in told["command"]
    assert Spec.model_validate_json(told["files"][str(folder / SPEC)]) == spec
    assert told["environment"]["OMP_WAIT_POLICY"]
    assert told["missing"] == ""


def test_a_launcher_that_is_not_installed_is_one_line_with_the_remedy(make_run, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = make_run("mpi", launcher="mpi", processes=2)
    with pytest.raises(ModelError, match=r"the program mpirun is not installed.*apt-get install openmpi-bin"):
        launch(folder, lambda *_: None)
    assert [path.name for path in folder.iterdir()] == [SPEC]


def test_engines_that_were_not_asked_for_are_refused() -> None:
    plain = torch.nn.Linear(1, 1)
    assert engine_problem(plain, TrainSettings()) == ""
    for launcher in ("torchrun", "mpi", "ray", "slurm"):
        settings = TrainSettings(launcher=launcher, processes=2)
        assert "1 process(es) train, not 2" in engine_problem(plain, settings)
    assert "the engine is Linear, not DeepSpeed" in engine_problem(plain, TrainSettings(launcher="deepspeed"))


def test_the_command_line_prints_the_plan(make_run, examples, tiny, tmp_path) -> None:
    root = tmp_path / "root"
    script = (
        "import shutil, sys; from pathlib import Path; from configs.artifacts import Made, Workspace\n"
        "fill = lambda folder: Made({'n': int(bool(shutil.copy(sys.argv[2], folder)))})\n"
        "Workspace(Path(sys.argv[1])).build('examples', fill, inputs={}, settings={})"
    )
    subprocess.run([sys.executable, "-c", script, str(root), str(examples)], check=True)
    settings = ["--set", f"root={root}", "--set", f"model.name={tiny}", "--set", "train.processes=2"]
    command = [sys.executable, "-m", "app.entry", "train", "--launcher", "mpi", "--dry-run", "--json", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    plan = json.loads(done.stdout)
    assert plan["command"][:3] == ["mpirun", "-np", "2"]
    assert not (root / "models").exists()
    assert FIGURES not in done.stdout
    assert LOG not in done.stdout
