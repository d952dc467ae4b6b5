"""A GGUF file for llama.cpp, of weights as they are or quantised.

In: a folder with a merged model (`train/export/merged.py`). Out: one `.gguf` file with weights, tokenizer and chat
template. One weight is in memory at a time. Norms and biases stay float32, as in llama.cpp's own quantiser, and so do
weights whose rows do not divide into blocks of 32; embeddings and output keep 8 bits, which llama.cpp does with 6.

Known limits: architectures `llama` and `qwen2`; the plain quantisations that the package `gguf` can compute (no
K-quants); tokenizers of byte-level BPE (`train/export/gguf_tokenizer.py`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import quantize
from numpy.typing import NDArray
from safetensors import safe_open
from transformers import AutoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from configs.errors import ModelError
from train.export.base import Engine, Format, Source
from train.export.gguf_tokenizer import add_tokenizer, known_parts

QUANTIZATIONS = ("q8_0", "f16", "f32", "q5_1", "q5_0", "q4_1", "q4_0")
ARCHITECTURES = {"LlamaForCausalLM": gguf.MODEL_ARCH.LLAMA, "Qwen2ForCausalLM": gguf.MODEL_ARCH.QWEN2}
VOCABULARY = ("token_embd.weight", "output.weight")
BLOCK = 32  # weights of a row that share a scale
FILE = "model.gguf"


def write_gguf(merged: Path, file: Path, quantization: str, name: str) -> None:
    """Write `merged` as a GGUF file.

    Args:
        merged: folder that transformers loads (`config.json`, safetensors, tokenizer).
        quantization: one of `QUANTIZATIONS`.
        name: what the file calls the model.

    Raises:
        ModelError: llama.cpp has no such architecture, rotary scaling or tokenizer, or we cannot write it.
    """
    config = AutoConfig.from_pretrained(merged, local_files_only=True)
    architecture = _architecture(config)
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[architecture])
    kind = gguf.GGMLQuantizationType[quantization.upper()]
    _add_hyperparameters(writer, config, name, kind)
    add_tokenizer(writer, merged, config.vocab_size)
    factors = _rope_factors(config)
    plans = list(_plans(merged, config, architecture, kind))
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for _, target, shape, stored in plans:
        writer.add_tensor_info(target, shape, np.dtype(np.float32), _bytes(shape, stored), raw_dtype=stored)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for weight, (_, target, _, stored) in zip(_weights(merged, plans), plans, strict=True):
            writer.write_tensor_data(quantize(_turned(weight, target, config, architecture), stored))
    finally:
        writer.close()


Plan = tuple[str, str, tuple[int, ...], gguf.GGMLQuantizationType]  # name there, name here, shape, how it is stored


def _architecture(config: Any) -> gguf.MODEL_ARCH:
    found = (config.architectures or ["none"])[0]
    if found not in ARCHITECTURES:
        raise ModelError(
            f"cannot write {found} as GGUF", f"It is possible for {', '.join(ARCHITECTURES)}; export it as merged"
        )
    return ARCHITECTURES[found]


def _add_hyperparameters(writer: gguf.GGUFWriter, config: Any, name: str, kind: gguf.GGMLQuantizationType) -> None:
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_file_type(_file_type(kind))
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(_head(config))
    writer.add_value_length(_head(config))
    writer.add_rope_dimension_count(_head(config))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _file_type(kind: gguf.GGMLQuantizationType) -> int:
    named = "ALL_F32" if kind == gguf.GGMLQuantizationType.F32 else f"MOSTLY_{kind.name}"
    return int(gguf.LlamaFileType[named])


def _head(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def rotary_frequencies(config: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Angle per token of each pair of a head's dimensions: as the model has it, and without scaling.

    Raises:
        ModelError: the scaling is one that depends on the length of the text.
    """
    rope = config.rope_parameters
    kind = rope.get("rope_type", "default")
    plain = 1.0 / rope["rope_theta"] ** (torch.arange(0, _head(config), 2, dtype=torch.float32) / _head(config))
    if kind == "default":
        return plain.numpy(), plain.numpy()
    if kind not in ("llama3", "linear"):
        raise ModelError(f"cannot write the rotary scaling {kind!r} as GGUF", "Export it as merged")
    scaled, _ = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    return scaled.numpy(), plain.numpy()


def _rope_factors(config: Any) -> NDArray[np.float32] | None:
    """What llama.cpp divides each rotary frequency by; None where they are the plain ones."""
    scaled, plain = rotary_frequencies(config)
    return None if scaled is plain or np.array_equal(scaled, plain) else (plain / scaled).astype(np.float32)


def _plans(merged: Path, config: Any, architecture: gguf.MODEL_ARCH, kind: gguf.GGMLQuantizationType) -> Iterator[Plan]:
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for file in sorted(merged.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in sorted(weights.keys()):
                target = names.get_name(name, try_suffixes=(".weight", ".bias"))
                if target is None:
                    raise ModelError(f"cannot write the weight {name} as GGUF", "Export it as merged")
                shape = tuple(weights.get_slice(name).get_shape())
                yield name, target, shape, _stored(target, shape, kind)


def _stored(target: str, shape: Sequence[int], kind: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    """How one weight is stored, see the module's description."""
    if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
        return kind if len(shape) > 1 else gguf.GGMLQuantizationType.F32
    if len(shape) < 2 or shape[-1] % BLOCK:
        return gguf.GGMLQuantizationType.F32
    return gguf.GGMLQuantizationType.Q8_0 if target in VOCABULARY else kind


def _bytes(shape: Sequence[int], kind: gguf.GGMLQuantizationType) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape)) // block * size


def _weights(merged: Path, plans: Sequence[Plan]) -> Iterator[NDArray[np.float32]]:
    """The weights of all plans, which are in the order of the files."""
    wanted = {name for name, *_ in plans}
    for file in sorted(merged.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in sorted(wanted.intersection(weights.keys())):
                yield weights.get_tensor(name).float().numpy()


def _turned(
    weight: NDArray[np.float32], target: str, config: Any, architecture: gguf.MODEL_ARCH
) -> NDArray[np.float32]:
    """Llama's query and key rows in the order that llama.cpp rotates them: pairs side by side instead of halves."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(target.split(".")[-2], 0)
    if architecture != gguf.MODEL_ARCH.LLAMA or not heads:
        return weight
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def check(source: Source) -> None:
    """Refuse what llama.cpp does not know of.

    Raises:
        ModelError: as `write_gguf`, as far as it does not concern weights.
    """
    config = AutoConfig.from_pretrained(source.merged, local_files_only=True)
    _architecture(config)
    rotary_frequencies(config)
    known_parts(source.merged)


def write(source: Source, folder: Path, quantization: str) -> None:
    """Write the model into an export's folder."""
    write_gguf(source.merged, folder / FILE, quantization, source.name)


def reopen(source: Source, folder: Path) -> Engine:
    """The written file in llama.cpp."""
    from train.export.llama_cpp import LlamaCpp

    vocabulary = AutoConfig.from_pretrained(source.merged, local_files_only=True).vocab_size
    return LlamaCpp(folder / FILE, source.context, vocabulary, min(source.stops))


FORMAT = Format(write, reopen, QUANTIZATIONS, check)
