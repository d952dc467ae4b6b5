"""Loads the model that training starts from: the base model, in 4 bits where asked for, or one that was trained before.

In: a spec and what was chosen for this machine. Out: a `LoadedModel` on the CPU, or on this process's GPU in 4 bits.

Known limit: an adapter that training goes on with keeps its own rank and modules, whatever `train.lora` says.
"""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from configs.errors import ModelError
from train.hardware import Chosen
from train.model import LoadedModel, load_model
from train.spec import Spec


def load_start(spec: Spec, chosen: Chosen) -> LoadedModel:
    """The model to train.

    Raises:
        ModelError: it cannot be loaded, or `spec.start` does not suit the method.
    """
    options = loading_options(spec.train.method, chosen)
    if spec.start is None:
        return _ready(load_model(spec.model.name, "cpu", chosen.weights, options=options), spec)
    if (spec.start / "adapter_config.json").exists():
        return _from_adapter(spec, spec.start, chosen, options)
    if spec.train.method != "full":
        raise ModelError(
            f"{spec.start} holds full weights, and train.method is {spec.train.method}: its adapter would be tied to "
            f"{spec.model.name}, which it does not fit",
            f"Set train.method=full, or model.name={spec.start}",
        )
    return load_model(str(spec.start), "cpu", chosen.weights, options=options)


def loading_options(method: str, chosen: Chosen) -> dict[str, Any]:
    """Arguments of `from_pretrained`, past the precision."""
    options: dict[str, Any] = {"attn_implementation": chosen.attention}
    if method == "qlora":
        # 4-bit NormalFloat, its constants quantised too (Dettmers et al. 2023, section 3).
        options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, chosen.precision),
        )
        # Quantised weights cannot be moved: each process loads them where it trains.
        options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    return options


def _ready(loaded: LoadedModel, spec: Spec) -> LoadedModel:
    if spec.train.method == "qlora":
        from peft import prepare_model_for_kbit_training

        # Norms in float32 and inputs with gradients; checkpointing itself is switched on by the trainer.
        prepare_model_for_kbit_training(loaded.model, use_gradient_checkpointing=False)  # type: ignore[no-untyped-call]
    return loaded


def _from_adapter(spec: Spec, adapter: Path, chosen: Chosen, options: dict[str, Any]) -> LoadedModel:
    loaded = load_model(spec.model.name, "cpu", chosen.weights, adapter, options=options, trainable=True)
    if spec.train.method != "full":
        return loaded
    model: Any = loaded.model
    merged = model.merge_and_unload().requires_grad_(requires_grad=True)
    return LoadedModel(merged, loaded.tokenizer, loaded.name, loaded.device, loaded.max_context)
