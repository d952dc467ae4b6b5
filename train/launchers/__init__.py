"""What may start training processes: one file for each launcher, each of which makes a `base.Plan`."""

from train.launchers import deepspeed, horovod, k8s, local, mpi, ray, slurm, torchrun
from train.launchers.base import Launcher

LAUNCHERS: dict[str, Launcher] = {
    "local": local.plan,
    "torchrun": torchrun.plan,
    "deepspeed": deepspeed.plan,
    "horovod": horovod.plan,
    "k8s": k8s.plan,
    "mpi": mpi.plan,
    "ray": ray.plan,
    "slurm": slurm.plan,
}
# They run the training on machines of their own, and later.
CLUSTERS = ("slurm", "k8s")
