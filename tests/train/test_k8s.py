"""Kubernetes' jobs: manifests held against Kubeflow's own models, and what the pods run, run here.

PyTorchJob, the replicas of each kind and all pods are checked with kubeflow-training's models and the kubernetes
client's, TrainJob and TrainingRuntime with kubeflow-trainer-api's, so that a field of the wrong name, type or place is
refused. For MPIJob v2beta1 no package has a model: its own few fields are those of mpi-operator's
`pkg/apis/kubeflow/v2beta1/types.go`. Known limit: no cluster is asked.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from kubeflow.training import models as training
from kubeflow_trainer_api import models as trainer
from kubernetes.client import models as kubernetes

from configs.errors import ModelError
from configs.training import Launcher, ModelSettings, TrainSettings
from tests.train.test_launch import losses
from train.launch import launch, planned
from train.launchers import CLUSTERS, LAUNCHERS
from train.launchers.base import free_port
from train.launchers.k8s import name_of
from train.spec import LOG, SPEC, Spec

STEPS = {"max_steps": 6, "save_steps": 6, "learning_rate": 1e-2, "max_tokens": 1024, "precision": "float32"}
PLAIN = {"str": str, "int": int, "bool": bool}
MPIJOB = {
    "slotsPerWorker": int,
    "runPolicy": dict,
    "mpiReplicaSpecs": dict,
    "sshAuthMountPath": str,
    "launcherCreationPolicy": str,
    "mpiImplementation": str,
    "runLauncherAsWorker": bool,
}


def assert_is(value: Any, kind: str, where: str) -> None:
    """Hold a tree against a model of OpenAPI's generator: no unknown field, the right types, nothing missing."""
    if found := re.fullmatch(r"(dict\(str, |list\[)(.+)[)\]]", kind):
        items = value.items() if found[1].startswith("dict") else enumerate(value)
        assert isinstance(value, dict if found[1].startswith("dict") else list), where
        for name, item in items:
            assert_is(item, found[2], f"{where}.{name}")
    elif kind in PLAIN:
        assert type(value) is PLAIN[kind], f"{where} is {value!r}, no {kind}"
    elif kind != "object":
        model = getattr(training, kind, None) or getattr(kubernetes, kind)
        names = {outside: inside for inside, outside in model.attribute_map.items()}
        assert set(value) <= set(names), f"{where}: {set(value) - set(names)}"
        # Raises where a required field is missing.
        model(**{names[name]: item for name, item in value.items()})
        for name, item in value.items():
            assert_is(item, model.openapi_types[names[name]], f"{where}.{name}")


def assert_same_after_reading(tree: dict[str, Any], model: Any) -> None:
    """Hold a tree against a pydantic model, which drops what it does not know."""
    assert model.from_dict(tree).to_dict() == tree


@pytest.fixture
def make(tmp_path: Path, tiny: Path, examples: Path):
    """Writes a run into a workspace: `make(cluster={...}, processes=2)` -> its folder."""

    def write(job: str, *, nodes: int = 1, processes: int = 1, batch_size: int = 4, **cluster: Any) -> Path:
        root = tmp_path / "root"
        folder = root / "models" / f".partial-{job}"
        folder.mkdir(parents=True)
        shutil.copytree(tiny, root / "tiny", dirs_exist_ok=True)
        shutil.copy(examples, root / "examples.parquet")
        train = {"launcher": "k8s", "processes": processes, "batch_size": batch_size, **STEPS}
        settings = TrainSettings.model_validate(train | {"cluster": {"job": job, "nodes": nodes, **cluster}})
        model = ModelSettings(name=str(root / "tiny"), device="cpu")
        Spec(examples=root / "examples.parquet", model=model, train=settings, seed=3).write(folder)
        return folder

    return write


def manifests(folder: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(planned(Spec.read(folder / SPEC), folder).files["job.yaml"]))


BIG = {"nodes": 3, "processes": 2, "gpus": 2, "cpus": 8, "memory": "64G", "namespace": "ml", "claim": "shared"}


@pytest.mark.parametrize("asked", [{}, BIG], ids=["small", "big"])
def test_a_pytorchjob_is_what_its_operator_takes(make, asked) -> None:
    (job,) = manifests(make("pytorchjob", **asked))
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    assert_is(job, "KubeflowOrgV1PyTorchJob", "job")
    replicas = {name: spec["replicas"] for name, spec in job["spec"]["pytorchReplicaSpecs"].items()}
    assert replicas == ({"Master": 1, "Worker": 2} if asked else {"Master": 1})


@pytest.mark.parametrize("asked", [{}, BIG], ids=["small", "big"])
def test_a_trainjob_and_its_runtime_are_what_the_trainer_takes(make, asked) -> None:
    runtime, job = manifests(make("trainjob", **asked))
    assert_same_after_reading(runtime, trainer.TrainerV1alpha1TrainingRuntime)
    assert_same_after_reading(job, trainer.TrainerV1alpha1TrainJob)
    assert job["spec"]["runtimeRef"]["name"] == runtime["metadata"]["name"]
    assert job["spec"]["trainer"] == {"numNodes": asked.get("nodes", 1), "numProcPerNode": asked.get("processes", 1)}


@pytest.mark.parametrize("asked", [{}, BIG], ids=["small", "big"])
def test_an_mpijob_is_what_its_operator_takes(make, asked) -> None:
    (job,) = manifests(make("mpijob", **asked))
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v2beta1", "MPIJob")
    assert_is(job["metadata"], "V1ObjectMeta", "metadata")
    for name, value in job["spec"].items():
        assert type(value) is MPIJOB[name]
    assert_is(job["spec"]["runPolicy"], "KubeflowOrgV1RunPolicy", "runPolicy")
    assert_is(job["spec"]["mpiReplicaSpecs"], "dict(str, KubeflowOrgV1ReplicaSpec)", "mpiReplicaSpecs")
    assert set(job["spec"]["mpiReplicaSpecs"]) == {"Launcher", "Worker"}
    assert "nvidia.com/gpu" not in str(job["spec"]["mpiReplicaSpecs"]["Launcher"])


def test_the_check_itself_refuses_what_is_wrong(make) -> None:
    (job,) = manifests(make("pytorchjob"))
    for wrong in ({"nprocPerNode": 2}, {"nProcPerNode": "2"}, {"pytorchReplicaSpecs": None}):
        with pytest.raises((AssertionError, ValueError, AttributeError)):
            assert_is({**job, "spec": {**job["spec"], **wrong}}, "KubeflowOrgV1PyTorchJob", "job")
    _, job = manifests(make("trainjob"))
    with pytest.raises(AssertionError):
        assert_same_after_reading({**job, "spec": {**job["spec"], "image": "x"}}, trainer.TrainerV1alpha1TrainJob)


@pytest.mark.parametrize("kind", ["pytorchjob", "trainjob", "mpijob"])
def test_pods_are_nobody_special_and_have_what_was_asked_for(make, kind) -> None:
    folder = make(kind, **BIG)
    pods = [pod for tree in manifests(folder) for pod in pods_of(tree)]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "shared"}
        (container,) = pod["containers"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["volumeMounts"][0]["mountPath"] == str(folder.parents[1])
        assert {"name": "OMP_NUM_THREADS", "value": "4"} in container["env"]
    amounts = {"cpu": "8", "memory": "64G", "nvidia.com/gpu": "2"}
    assert pods[-1]["containers"][0]["resources"] == {"requests": amounts, "limits": amounts}


def pods_of(tree: Any) -> list[dict[str, Any]]:
    """Every pod's specification in a manifest."""
    if isinstance(tree, list):
        return [pod for item in tree for pod in pods_of(item)]
    if not isinstance(tree, dict):
        return []
    return [tree] if "containers" in tree else [pod for item in tree.values() for pod in pods_of(item)]


@pytest.mark.slow
def test_what_the_pods_run_learns_what_one_process_learns(make, make_run) -> None:
    alone = make_run("alone", **STEPS)
    launch(alone, lambda *_: None)
    for folder in (run_pytorchjob(make), run_mpijob(make)):
        assert losses(folder) == pytest.approx(losses(alone), rel=1e-3)
        assert (folder / LOG).read_text().count("engine DistributedDataParallel") == 2


def run_pytorchjob(make) -> Path:
    """The pods' commands, with the variables that the training operator gives them."""
    folder = make("pytorchjob", nodes=2, batch_size=2)
    (job,) = manifests(folder)
    replicas = job["spec"]["pytorchReplicaSpecs"]
    port, nproc = str(free_port()), job["spec"]["nprocPerNode"]
    given = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": nproc, "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
    pods = [
        start(folder, replicas[name]["template"]["spec"], {**given, "PET_NODE_RANK": str(rank), "RANK": str(rank)})
        for rank, name in enumerate(("Master", "Worker"))
    ]
    assert [pod.wait() for pod in pods] == [0, 0], (folder / LOG).read_text()
    return folder


def run_mpijob(make) -> Path:
    """The launcher's command, with a hostfile as the MPI operator writes it: the worker is this machine."""
    folder = make("mpijob", processes=2, batch_size=2)
    (job,) = manifests(folder)
    hosts = folder / "hostfile"
    hosts.write_text("localhost slots=2\n")
    given = {"OMPI_MCA_orte_default_hostfile": str(hosts)}
    # Only here is it root that starts it.
    given |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    pod = start(folder, job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"], given)
    assert pod.wait() == 0, (folder / LOG).read_text()
    return folder


def start(folder: Path, pod: dict[str, Any], given: dict[str, str]) -> "subprocess.Popen[bytes]":
    (container,) = pod["containers"]
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    # As the image has it: python is wellread's own.
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    here = {"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    with (folder / LOG).open("ab") as out:
        return subprocess.Popen(
            container["command"], env={**here, **variables, **path, **given}, stdout=out, stderr=out, cwd=folder.parent
        )


def test_a_job_is_sent_once_and_again_when_it_is_over(make, tmp_path, monkeypatch) -> None:
    home = tmp_path / "bin"
    home.mkdir()
    said = home / "said"
    (home / "kubectl").write_text(
        f'#!/bin/sh\ncase $1 in\nget) cat {said} 2>/dev/null ;;\n*) echo "$@" >> {home}/sent ;;\nesac\nexit 0\n'
    )
    (home / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    folder = make("pytorchjob", nodes=2)
    launch(folder, lambda *_: None)
    said.write_text("PyTorchJob wellread-pytorchjob Created Running")
    assert launch(folder, lambda *_: None) == "PyTorchJob wellread-pytorchjob Created Running"
    assert (home / "sent").read_text() == f"replace --force --filename {folder}/job.yaml\n"
    said.write_text("PyTorchJob wellread-pytorchjob Created Failed")
    launch(folder, lambda *_: None)
    assert len((home / "sent").read_text().splitlines()) == 2


def test_what_is_outside_of_the_workspace_is_refused(make, tmp_path) -> None:
    folder = make("pytorchjob")
    spec = Spec.read(folder / SPEC)
    outside = spec.model_copy(update={"examples": tmp_path / "examples.parquet"})
    with pytest.raises(ModelError, match=r"the examples is .*, which is not in the workspace"):
        planned(outside, folder)


def test_every_launcher_that_the_settings_know_has_a_plan() -> None:
    assert set(get_args(Launcher)) == set(LAUNCHERS)
    assert set(CLUSTERS) < set(LAUNCHERS)


def test_names_are_such_as_kubernetes_takes(tmp_path) -> None:
    assert name_of(tmp_path / ".partial-0A_b.c") == "wellread-0a-b-c"
    assert len(name_of(tmp_path / ("x" * 100))) == 40
