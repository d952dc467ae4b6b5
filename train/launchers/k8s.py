"""Kubernetes: a job of Kubeflow's, as a manifest for `kubectl`.

`cluster.job` chooses the kind: `pytorchjob` (training operator, `kubeflow.org/v1`), `trainjob` (trainer 2,
`trainer.kubeflow.org/v1alpha1`, with a runtime of its own) or `mpijob` (MPI operator, `kubeflow.org/v2beta1`). In each
the pods run the entry that every launcher runs, in the run folder on the claim that all of them mount. A pod that fails
is started again, and goes on from the last checkpoint.

Known limits: the claim is mounted at the workspace's own path, and what is outside of it no pod sees; pods run as user
and group 10001, the image's, who must be able to write there; the image of an MPI job needs Open MPI and an ssh server.
"""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from configs.errors import ModelError
from configs.training import TrainSettings
from train.launchers.base import Plan, entry, environment, job_name
from train.ranks import PORT
from train.spec import Spec

FILE = "job.yaml"
USER = 10001  # of the Dockerfile
RETRIES = 3
NOTICE_S = 120  # a pod that is to end gets the time for the step under way and its checkpoint
SSH_PORT = 2222  # a server that is not root's may not take 22
INSTALL = "Install kubectl and choose the cluster as its context, or choose another train.launcher"
RESOURCES = {
    "pytorchjob": "pytorchjobs.v1.kubeflow.org",
    "trainjob": "trainjobs.v1alpha1.trainer.kubeflow.org",
    "mpijob": "mpijobs.v2beta1.kubeflow.org",
}
# Which conditions of the job hold; nothing where there is no such job.
CONDITIONS = '{.kind} {.metadata.name}{range .status.conditions[?(@.status=="True")]} {.type}{end}'

Tree = dict[str, Any]


class _Plain(yaml.SafeDumper):
    """Writes what stands in two places twice, for people to read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # yaml dictates the signature
        return True


def plan(spec: Spec, folder: Path) -> Plan:
    """`kubectl` with the manifest, which is written into the run folder.

    Raises:
        ModelError: something that training reads is not in the workspace.
    """
    check_in_workspace(spec, folder)
    cluster = spec.train.cluster
    named = [RESOURCES[cluster.job], name_of(folder), "--namespace", cluster.namespace]
    return Plan(
        # A job of that name that is over is deleted first; a new one is made in any case.
        ["kubectl", "replace", "--force", "--filename", str((folder / FILE).resolve())],
        files={FILE: yaml.dump_all(manifests(spec, folder), Dumper=_Plain, sort_keys=False)},
        submits=True,
        install=INSTALL,
        state=["kubectl", "get", *named, "--ignore-not-found", "--output", f"jsonpath={CONDITIONS}"],
    )


def manifests(spec: Spec, folder: Path) -> list[Tree]:
    """The objects of the job."""
    kinds = {"pytorchjob": _pytorchjob, "trainjob": _trainjob, "mpijob": _mpijob}
    return kinds[spec.train.cluster.job](spec, folder)


def name_of(folder: Path) -> str:
    """The job's name, which begins those of its pods: of at most 63 letters, digits and hyphens with what is added."""
    return re.sub(r"[^a-z0-9-]", "-", job_name(folder).lower())[:40].rstrip("-")


def workspace_of(folder: Path) -> Path:
    """The workspace, above `models/<version>`."""
    return folder.resolve().parents[1]


def check_in_workspace(spec: Spec, folder: Path) -> None:
    """Whether pods see all that training reads.

    Raises:
        ModelError: they do not.
    """
    root, train = workspace_of(folder), spec.train
    model = Path(spec.model.name)
    read = {
        "the examples": spec.examples,
        "train.start": spec.start,
        "train.data": train.data,
        "train.preference.data": train.preference.data,
        "train.deepspeed.extra": train.deepspeed.extra,
        "model.name": model if model.is_dir() else None,
    }
    for name, path in read.items():
        if path is not None and not path.resolve().is_relative_to(root):
            raise ModelError(
                f"{name} is {path}, which is not in the workspace {root}: the pods would not see it",
                "Copy it into the workspace and name it by its whole path there",
            )


def _pytorchjob(spec: Spec, folder: Path) -> list[Tree]:
    settings, nodes = spec.train, spec.train.cluster.nodes
    pod = _pod(settings, _container(settings, folder, "pytorch", _torchrun(settings, folder)))
    counts = {"Master": 1} | ({"Worker": nodes - 1} if nodes > 1 else {})
    replicas = {
        name: {"replicas": count, "restartPolicy": "OnFailure", "template": {"spec": pod}}
        for name, count in counts.items()
    }
    return [
        _object("kubeflow.org/v1", "PyTorchJob", settings, folder)
        | {
            "spec": {
                "nprocPerNode": str(settings.processes),
                "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": RETRIES * nodes},
                "pytorchReplicaSpecs": replicas,
            }
        }
    ]


def _trainjob(spec: Spec, folder: Path) -> list[Tree]:
    settings, nodes = spec.train, spec.train.cluster.nodes
    group, version = "trainer.kubeflow.org", "trainer.kubeflow.org/v1alpha1"
    container = _container(settings, folder, "node", _torchrun(settings, folder))
    pod = _pod(settings, container) | {"restartPolicy": "OnFailure"}
    # By these names the trainer finds what it has to give the variables of torchrun to.
    job = {
        "name": "node",
        "template": {
            "metadata": {"labels": {f"{group}/trainjob-ancestor-step": "trainer"}},
            "spec": {"backoffLimit": RETRIES * nodes, "template": {"spec": pod}},
        },
    }
    runtime = {
        "mlPolicy": {"numNodes": nodes, "torch": {}},
        "template": {"spec": {"replicatedJobs": [job]}},
    }
    train = {
        "runtimeRef": {"apiGroup": group, "kind": "TrainingRuntime", "name": name_of(folder)},
        "trainer": {"numNodes": nodes, "numProcPerNode": settings.processes},
    }
    return [
        _object(version, "TrainingRuntime", settings, folder) | {"spec": runtime},
        _object(version, "TrainJob", settings, folder) | {"spec": train},
    ]


def _mpijob(spec: Spec, folder: Path) -> list[Tree]:
    settings = spec.train
    # The worker does as its user what a system's ssh server does as root.
    server = {"PidFile": "/tmp/sshd.pid", "HostKey": "~/.ssh/id_rsa", "StrictModes": "no", "Port": str(SSH_PORT)}  # noqa: S108
    options = " ".join(f"-o {name}={value.replace('~', '$HOME')}" for name, value in server.items())
    worker = _container(settings, folder, "worker", ["sh", "-c", f"exec /usr/sbin/sshd -De -f /dev/null {options}"])
    launcher = _container(settings, folder, "launcher", ["sh", "-c", mpirun(settings, folder)])
    del launcher["resources"]
    return [
        _object("kubeflow.org/v2beta1", "MPIJob", settings, folder)
        | {
            "spec": {
                "slotsPerWorker": settings.processes,
                "mpiImplementation": "OpenMPI",
                "sshAuthMountPath": "/home/wellread/.ssh",
                "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": RETRIES},
                "mpiReplicaSpecs": {
                    "Launcher": {
                        "replicas": 1,
                        "restartPolicy": "OnFailure",
                        "template": {"spec": _pod(settings, launcher)},
                    },
                    "Worker": {
                        "replicas": settings.cluster.nodes,
                        "restartPolicy": "OnFailure",
                        "template": {"spec": _pod(settings, worker)},
                    },
                },
            }
        }
    ]


def mpirun(settings: TrainSettings, folder: Path) -> str:
    """What the launcher of an MPI job runs, as a line for `sh`; the operator says in a hostfile who the workers are."""
    rsh = f"-p {SSH_PORT} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectionAttempts=10"
    # Through ssh a worker's process gets nothing of the pod's own variables.
    names = ["PATH", "MASTER_ADDR", "MASTER_PORT", *(variable["name"] for variable in _variables(settings))]
    words = ["mpirun", "-np", str(settings.processes * settings.cluster.nodes), "--bind-to", "none"]
    words += ["--map-by", f"ppr:{settings.processes}:node:OVERSUBSCRIBE", "--mca", "plm_rsh_args", rsh]
    words += [word for name in names for word in ("-x", name)]
    # `sh` looks for python where PATH says, which mpirun itself would not.
    words += ["sh", "-c", f"exec {shlex.join(['python', '-m', *entry(folder)])}"]
    hosts = "${OMPI_MCA_orte_default_hostfile:-/etc/mpi/hostfile}"
    return (
        f'MASTER_ADDR=$(head -n 1 "{hosts}" | cut -d " " -f 1) MASTER_PORT={PORT}; '
        f"export MASTER_ADDR MASTER_PORT; exec {shlex.join(words)}"
    )


def _object(version: str, kind: str, settings: TrainSettings, folder: Path) -> Tree:
    labels = {"app.kubernetes.io/name": "wellread", "app.kubernetes.io/component": "train"}
    metadata = {"name": name_of(folder), "namespace": settings.cluster.namespace, "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _torchrun(settings: TrainSettings, folder: Path) -> list[str]:
    # Machines, processes and where they meet it reads from PET_* variables, which the operator sets.
    restarts = ["--max-restarts", str(settings.max_restarts)]
    return ["python", "-m", "torch.distributed.run", *restarts, "--module", *entry(folder)]


def _pod(settings: TrainSettings, container: Tree) -> Tree:
    volumes = [
        {"name": "workspace", "persistentVolumeClaim": {"claimName": settings.cluster.claim}},
        # Processes of one machine exchange tensors through it, and 64 MB are too few.
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    owner = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}
    return {
        "containers": [container],
        "volumes": volumes,
        "securityContext": owner
        | {"fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": NOTICE_S,
    }


def _container(settings: TrainSettings, folder: Path, name: str, command: Iterable[str]) -> Tree:
    cluster, root = settings.cluster, str(workspace_of(folder))
    asked = {"cpu": str(cluster.cpus or ""), "memory": cluster.memory, "nvidia.com/gpu": str(cluster.gpus or "")}
    amounts = {what: amount for what, amount in asked.items() if amount}
    return {
        "name": name,
        "image": cluster.image,
        "command": list(command),
        "workingDir": root,
        "env": _variables(settings),
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "volumeMounts": [{"name": "workspace", "mountPath": root}, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _variables(settings: TrainSettings) -> list[dict[str, str]]:
    values = environment(settings)
    # Those of this machine's cores and of this installation say nothing about the pods'.
    del values["OMP_NUM_THREADS"], values["PYTHONPATH"]
    if settings.cluster.cpus:
        values["OMP_NUM_THREADS"] = str(max(1, settings.cluster.cpus // settings.processes))
    return [{"name": name, "value": value} for name, value in values.items()]
