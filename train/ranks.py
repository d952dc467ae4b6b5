"""Which of the training processes this one is, in the words of torch, whatever launcher started it.

In: the variables that Open MPI, MPICH and Intel MPI, Slurm and Horovod give each process. Out: `RANK`, `WORLD_SIZE`,
`LOCAL_RANK`, `MASTER_ADDR` and `MASTER_PORT`, which torch, Accelerate and DeepSpeed read. Known limit: on several
machines the launcher has to name the first one in `MASTER_ADDR`.
"""

from collections.abc import Mapping

from configs.errors import ModelError

# Rank, processes in all, rank on this machine, processes on this machine. torchrun and deepspeed set torch's own names.
NAMES = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("HOROVOD_RANK", "HOROVOD_SIZE", "HOROVOD_LOCAL_RANK", "HOROVOD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
)
PORT = "29400"


def ranks(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are to be added to `environ`; none where torch's own are there, or nothing says otherwise.

    Raises:
        ModelError: processes run on several machines, and nothing names the first of them.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        return {}
    for rank, size, local, locally in NAMES:
        # A shell on a Slurm node carries SLURM_* too; only a started task has a process number.
        if rank in environ and size in environ:
            found = {
                "RANK": environ[rank],
                "WORLD_SIZE": environ[size],
                "LOCAL_RANK": environ.get(local, environ[rank]),
            }
            return found | _meeting_point(environ, alone=environ.get(locally, "1") == environ[size])
    return {}


def _meeting_point(environ: Mapping[str, str], *, alone: bool) -> dict[str, str]:
    if not alone and "MASTER_ADDR" not in environ:
        raise ModelError(
            "the training processes run on several machines, and MASTER_ADDR names none of them",
            "Set train.cluster.rendezvous to host:port of the first machine",
        )
    return {"MASTER_ADDR": environ.get("MASTER_ADDR", "127.0.0.1"), "MASTER_PORT": environ.get("MASTER_PORT", PORT)}
