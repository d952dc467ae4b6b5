"""OpenVINO's own form of a model, for OpenVINO GenAI on CPUs, integrated GPUs and NPUs of Intel.

In: a merged model. Out: `openvino/` with `openvino_model.xml`, tokenizer and detokenizer, which
`openvino_genai.LLMPipeline` loads. OpenVINO GenAI reads GGUF and writes its own form; so a GGUF file comes first
(`train/export/gguf.py`), and is deleted. The tokenizer is converted by OpenVINO Tokenizers.

Known limits: what GGUF can hold; needs the extra `openvino`. The chat template goes with the tokenizer's configuration
file, from which it is read again here with transformers, not with OpenVINO's own interpreter.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig

from configs.errors import ModelError
from train.chat import Turn, prompt_text
from train.export.base import Engine, Format, Source
from train.export.gguf import FILE, rotary_frequencies, write_gguf
from train.export.gguf import check as check_gguf
from train.model import load_tokenizer

FOLDER, NAME = "openvino", "openvino_model"
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def check(source: Source) -> None:
    """Refuse what cannot be written, or not here.

    Raises:
        ModelError: OpenVINO GenAI is not installed, or a GGUF file cannot hold the model.
    """
    _genai()
    check_gguf(source)


def write(source: Source, folder: Path, quantization: str) -> None:
    """Write the model as GGUF, and have OpenVINO GenAI write its own form of that.

    Raises:
        ModelError: OpenVINO GenAI is not installed, or cannot read this model.
    """
    genai = _genai()
    target = folder / FOLDER
    target.mkdir()
    write_gguf(source.merged, target / FILE, quantization, source.name)
    try:
        genai.LLMPipeline(str(target / FILE), "CPU", enable_save_ov_model=True)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1][:300]
        raise ModelError(f"OpenVINO GenAI cannot read this model: {first}", "Export it as gguf or merged") from None
    (target / FILE).unlink()
    _exact_rotation(target, source.merged)
    _own_tokenizer(target, source.merged)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "config.json"):
        if (source.merged / file).exists():
            shutil.copy(source.merged / file, target)


def reopen(source: Source, folder: Path) -> Engine:
    """The written model in OpenVINO."""
    return OpenVino(folder / FOLDER, source.stops)


def _own_tokenizer(folder: Path, merged: Path) -> None:
    """Convert the model's own tokenizer. That which OpenVINO GenAI 2026.4 makes of a GGUF file splits text otherwise:
    " [1]", as citations are written, became three tokens instead of two."""
    import openvino
    from openvino_tokenizers import convert_tokenizer

    parts = convert_tokenizer(load_tokenizer(str(merged)), with_detokenizer=True)
    for name, part in zip(("openvino_tokenizer", "openvino_detokenizer"), parts, strict=True):
        openvino.save_model(part, folder / f"{name}.xml")


def _exact_rotation(folder: Path, merged: Path) -> None:
    """Put the rotary frequencies back to float32. OpenVINO GenAI 2026.4 saves them in half precision, and their error
    grows with the place in the text: 0.03 nats after 500 tokens of a small model.

    Raises:
        ModelError: they are not where they should be.
    """
    import openvino

    exact, _ = rotary_frequencies(AutoConfig.from_pretrained(merged, local_files_only=True))
    file, partial = folder / f"{NAME}.xml", folder / "exact.xml"
    model = openvino.Core().read_model(file)
    rounded = [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Constant"
        and node.get_element_type() == openvino.Type.f16
        and sum(node.shape) == exact.size + len(node.shape) - 1
        and np.allclose(node.data.ravel(), exact, rtol=1e-3, atol=1e-7)
    ]
    if not rounded:
        raise ModelError("OpenVINO GenAI reads other rotary frequencies than the model has", "Export it as merged")
    for node in rounded:
        precise = openvino.op.Constant(exact.reshape(list(node.shape)))
        for used in node.output(0).get_target_inputs():
            used.get_node().output(0).replace(precise.output(0))
    openvino.save_model(model, partial, compress_to_fp16=False)
    # The weights are read from the old file while the new one is written.
    del model, rounded, node
    for suffix in (".xml", ".bin"):
        os.replace(partial.with_suffix(suffix), file.with_suffix(suffix))


class OpenVino:
    """OpenVINO's runtime on the CPU, computing in float32."""

    def __init__(self, folder: Path, stops: frozenset[int]) -> None:
        import openvino

        core = openvino.Core()
        self._request = core.compile_model(core.read_model(folder / f"{NAME}.xml"), "CPU", EXACT).create_infer_request()
        self._own_tokens: Any = _genai().Tokenizer(str(folder))
        self._tokenizer = load_tokenizer(str(folder))
        self._stops = stops

    def tokens(self, text: str) -> list[int]:
        found = self._own_tokens.encode(text, add_special_tokens=False).input_ids.data
        return [int(token) for token in found[0]]

    def prompt(self, messages: Sequence[Turn]) -> str:
        return prompt_text(self._tokenizer, messages)

    def greedy(self, prompt: Sequence[int], most: int) -> list[int]:
        answer: list[int] = []
        logits = self._run(list(prompt), 0)
        while True:
            answer.append(int(logits[-1].argmax()))
            if len(answer) == most or answer[-1] in self._stops:
                return answer
            logits = self._run(answer[-1:], len(prompt) + len(answer) - 1)

    def logprobs(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        logits = self._run([*prompt, *answer], 0)[len(prompt) - 1 : -1].astype(np.float64)
        top = logits.max(-1, keepdims=True)
        normal = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
        return [float(row[token]) for row, token in zip(normal, answer, strict=True)]

    def _run(self, tokens: Sequence[int], seen: int) -> Any:
        """Logits (tokens x vocabulary); `seen` tokens are in the cache, which 0 empties."""
        if seen == 0:
            self._request.reset_state()
        inputs = {
            "input_ids": np.array([tokens], dtype=np.int64),
            "attention_mask": np.ones((1, seen + len(tokens)), dtype=np.int64),
            "position_ids": np.arange(seen, seen + len(tokens), dtype=np.int64)[None],
            "beam_idx": np.zeros(1, dtype=np.int32),
        }
        return self._request.infer(inputs)[0][0]


def _genai() -> Any:
    try:
        import openvino_genai
    except ImportError:
        raise ModelError("OpenVINO GenAI is not installed", "Install it: pip install 'wellread[openvino]'") from None
    return openvino_genai


FORMAT = Format(write, reopen, ("f16", "q8_0", "q4_0"), check)
