"""What may start training processes: one file for each launcher, each of which makes a `base.Plan`."""

from train.launchers import deepspeed, local, torchrun
from train.launchers.base import Launcher

LAUNCHERS: dict[str, Launcher] = {"local": local.plan, "torchrun": torchrun.plan, "deepspeed": deepspeed.plan}
