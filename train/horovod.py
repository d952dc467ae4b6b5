"""Horovod (Sergeev and Del Balso 2018) under the trainers of transformers and TRL.

Horovod's optimizer averages the gradients. What the trainer's processes tell each other besides (batches, token counts,
random states, checkpoints) is its own code over torch.distributed, which `train/ranks.py` lets begin under `horovodrun`
too. So two processes learn what one learns.

Known limits: MASTER_PORT must be free on the first machine; neither Adasum nor compressed gradients; on GPUs gradients
pass through the machine's memory, unless Horovod was built with HOROVOD_GPU_OPERATIONS=NCCL.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from configs.training import TrainSettings

if TYPE_CHECKING:
    from transformers import Trainer as Base
else:
    # A mixin: the trainer comes behind it in the list of bases.
    Base = object


def mixed(trainer: type[Any], settings: TrainSettings) -> type[Any]:
    """The trainer class as the launcher needs it: with Horovod before it where that has started the processes."""
    return type(trainer.__name__, (HorovodMixin, trainer), {}) if settings.launcher == "horovod" else trainer


def optimizer_problem(optimizer: Any, world: int) -> str:
    """Why the optimizer would not reduce over all processes; empty when it does.

    Args:
        optimizer: the trainer's, as Accelerate has wrapped it.
        world: processes that there should be.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    if not hasattr(inner, "skip_synchronize"):
        return f"the optimizer is {type(inner).__name__}, not Horovod's"
    import horovod.torch as hvd

    return f"Horovod has {hvd.size()} process(es), not {world}" if hvd.size() != world else ""


class HorovodMixin(Base):
    """Stands before the trainer class in the list of bases."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        import horovod.torch as hvd

        hvd.init()
        self._hvd, self._reduced = hvd, ExitStack()
        super().__init__(*args, **kwargs)
        # All that preparing does but for DistributedDataParallel, which would reduce a second time.
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)

    def create_optimizer(self, model: Any = None) -> Any:
        """The trainer's optimizer, wrapped in Horovod's; all processes begin with the weights of the first."""
        fresh = self.optimizer is None
        super().create_optimizer(model)
        if fresh:
            named = list(_trained(self.model))
            self._hvd.broadcast_parameters(named, root_rank=0)
            # Its state is not broadcast: on a fresh AdamW that takes a step and changes the losses, and a run that goes
            # on reads the same file in every process.
            self.optimizer = self._hvd.DistributedOptimizer(
                self.optimizer,
                named_parameters=named,
                backward_passes_per_step=self.args.gradient_accumulation_steps,
                # The trainer multiplies the loss by the number of processes.
                op=self._hvd.Average,
            )
        return self.optimizer

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One forward and backward pass; after the last one of a step the gradients are averaged."""
        self._reduced.close()
        loss = super().training_step(*args, **kwargs)
        if self.accelerator.sync_gradients:
            # Here, since they are clipped before the optimizer's step, which must not reduce them again.
            optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)
            optimizer.synchronize()
            self._reduced.enter_context(optimizer.skip_synchronize())
        return loss


def _trained(model: Any) -> Iterable[tuple[str, torch.Tensor]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
