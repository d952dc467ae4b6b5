"""The embedded model as GGUF of 8 bits, in llama.cpp: real weights, a real tokenizer."""

import math
from pathlib import Path

import pytest

from train.chat import build_messages
from train.export.gguf import write_gguf
from train.export.llama_cpp import LlamaCpp
from train.export.torch_engine import TorchEngine
from train.model import load_model, resolve_source

NAME = "embedded:SmolLM2-135M-Instruct"


@pytest.mark.slow
def test_eight_bits_of_the_embedded_model_answer_nearly_as_well(tmp_path: Path) -> None:
    write_gguf(Path(resolve_source(NAME)), tmp_path / "model.gguf", "q8_0", NAME)
    assert (tmp_path / "model.gguf").stat().st_size < 150_000_000
    ours = TorchEngine(load_model(NAME, "cpu", "float32"))
    tokenizer = ours.loaded.tokenizer
    theirs = LlamaCpp(tmp_path / "model.gguf", 256, len(tokenizer), tokenizer.eos_token_id)
    messages = build_messages("What is the capital of France?", ())
    assert theirs.prompt(messages) == ours.prompt(messages)
    prompt = ours.tokens(ours.prompt(messages))
    odd = "Année 2024: 12345 naïve_tests(x)  =>  é ✓\n\n\t- 日本<|im_end|>\n"
    assert theirs.tokens(odd) == ours.tokens(odd)
    answer = ours.tokens("The capital of France is Paris.<|im_end|>")
    loss, other = (-sum(engine.logprobs(prompt, answer)) / len(answer) for engine in (ours, theirs))
    assert math.exp(other) == pytest.approx(math.exp(loss), rel=0.05)
    assert "Paris" in tokenizer.decode(theirs.greedy(prompt, 12))
