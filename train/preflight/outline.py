"""The shape of a model, without its weights: how many parameters, which layers, and the adapter that it would get.

In: an outline (`train.model.load_outline`). Out: a `Shape` for `memory.py`. Parameters are counted on torch's meta
device, by transformers and PEFT themselves.
"""

import copy
import warnings
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn

from configs.errors import ModelError
from train.model import LoadedModel
from train.preflight.memory import Shape


def shape_of(loaded: LoadedModel, adapter: LoraConfig) -> Shape:
    """The shape of a model and of the adapter that it would get.

    Raises:
        ModelError: the adapter's targets name no module of the model.
    """
    model: Any = loaded.model
    config = model.config.get_text_config()
    heads, hidden = config.num_attention_heads, config.hidden_size
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    linear = [
        module for name, module in model.named_modules() if isinstance(module, nn.Linear) and "lm_head" not in name
    ]
    extra, adapted = _adapter_parameters(model, adapter)
    return Shape(
        layers=config.num_hidden_layers,
        hidden=hidden,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or hidden // heads,
        feed_forward=getattr(config, "intermediate_size", None) or 4 * hidden,
        vocabulary=config.vocab_size,
        parameters=sum(weight.numel() for weight in model.parameters()),
        linear=sum(module.weight.numel() for module in linear),
        adapter=extra,
        adapted=adapted,
        rank=adapter.r,
        gated=bool(names & {"gate_proj", "gate_up_proj", "w1"}),
    )


def _adapter_parameters(model: nn.Module, adapter: LoraConfig) -> tuple[int, int]:
    """Parameters of the adapter, and modules that get one."""
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5.23 by an old name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            adapted: Any = get_peft_model(copy.deepcopy(model), copy.deepcopy(adapter), low_cpu_mem_usage=True)
    except ValueError as error:
        target = adapter.target_modules
        shown = sorted(target) if isinstance(target, set | list) else target
        # The first sentence alone: the others advise what the remedy says better.
        reason = str(error).splitlines()[0].partition(". ")[0][:200].rstrip(".")
        raise ModelError(
            f"train.lora.target = {shown!r} suits no module of this model: {reason}",
            "Use all-linear, or names of its linear layers",
        ) from None
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    return trained, sum(hasattr(module, "lora_A") for module in adapted.modules())
