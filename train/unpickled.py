"""Has DeepSpeed read its own checkpoints without running code that is in them.

In: nothing. Out: DeepSpeed's loader, replaced in this process. Its files are pickles, which it reads with
`weights_only=False`: whoever can write to the run folder could run code in the training processes. Read here, they may
hold tensors, plain values, and the three classes of DeepSpeed's own that its optimizers write.

Known limit: DeepSpeed's other loaders (of universal checkpoints, and for its `fast` writer) are not used, and are as
they were.
"""

import pickle
from typing import Any

import torch

from configs.errors import ModelError


def read_deepspeed_safely() -> None:
    """Replace the loader; call it before an engine is made."""
    from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine

    TorchCheckpointEngine.load = _load


def _load(_engine: Any, path: str, map_location: Any = None) -> Any:
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    with torch.serialization.safe_globals([LossScaler, DynamicLossScaler, ZeroStageEnum, fragment_address]):
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            said = str(error).splitlines()[0]
            raise ModelError(
                f"{path} holds more than weights: {said}", "Delete that checkpoint; an older one may be complete"
            ) from None
