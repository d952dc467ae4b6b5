"""Linear layers with their weights packed once for the processor at hand, for a model that only reads.

torch multiplies through MKL, which uses the widest instructions on Intel's processors only, and arranges the weights
anew in each call. oneDNN, which comes with torch as well, does neither. Same numbers up to rounding.

Known limits: float32 on a CPU. The operations are those that torch's own compiler makes use of and are not documented:
where they are missing or fail, `pack` changes nothing. A packed model cannot be trained or saved.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """A linear layer, as `nn.Linear`."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, values: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        made: Tensor = torch.ops.mkldnn._linear_pointwise(values, self._weight, self._bias, "none", [], "")
        return made


def pack(model: nn.Module) -> Callable[[], None] | None:
    """Pack the model's linear layers. Returns what undoes it, or None where they cannot be packed."""
    places = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Linear
    ]
    if not places or not all(_can_be(layer) for *_, layer in places):
        return None
    try:
        packed = [PackedLinear(layer) for *_, layer in places]
    # Undocumented operations may be missing, or refuse a processor, in ways of their own.
    except Exception:  # noqa: BLE001
        return None
    for (parent, name, _), layer in zip(places, packed, strict=True):
        setattr(parent, name, layer)

    def undo() -> None:
        for parent, name, layer in places:
            setattr(parent, name, layer)

    return undo


def _can_be(layer: nn.Linear) -> bool:
    return layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32
