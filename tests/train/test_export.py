"""Exports of tiny models: each form is loaded by the program that it is for, and the gate compares what it says."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig, Qwen2Config

from configs.artifacts import Version, Workspace
from configs.errors import ArtifactError, GateRefused, ModelError
from configs.schema import Config
from tests.train.export_toy import add_model, facts_of, make_tokenizer, make_workspace, save_base
from train.export.gguf import write_gguf
from train.export.gguf_tokenizer import LLAMA3, QWEN2, pre_tokenizer
from train.export.llama_cpp import LlamaCpp
from train.export.parity import Question, ask, same_answers, same_input
from train.export.stage import run_export
from train.export.torch_engine import TorchEngine
from train.model import load_model, load_trained


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("export")
    return make_workspace(folder / "ws", save_base(folder / "base"))


def export(config: Config, form: str, quantization: str | None = None, **options: object) -> Version:
    return run_export(config, "latest", form, quantization, lambda *_: None, **options)


def exports_in(config: Config) -> list[str]:
    folder = config.root / "exports"
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


def with_tolerance(config: Config, tolerance: float) -> Config:
    return config.model_copy(update={"export": config.export.model_copy(update={"logprob_tolerance": tolerance})})


def greedy_text(model: object, tokenizer: object) -> list[int]:
    prompt = tokenizer("<|im_start|>user\nthe thing<|im_end|>\n", return_tensors="pt")
    return model.generate(**prompt, max_new_tokens=12, do_sample=False)[0].tolist()


def test_a_merged_model_loads_with_plain_transformers_and_answers_as_base_and_adapter_do(config: Config) -> None:
    merged = export(config, "merged")
    assert merged.manifest.figures["logprob_difference"] < 1e-3
    model = AutoModelForCausalLM.from_pretrained(merged.path / "model", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(merged.path / "model", local_files_only=True)
    assert tokenizer.chat_template == make_tokenizer().chat_template
    trained = load_trained(Workspace(config.root).current("models").path, "cpu").model
    base = load_model(config.model.name, "cpu").model
    assert greedy_text(model, tokenizer) == greedy_text(trained, tokenizer) != greedy_text(base, tokenizer)
    facts = facts_of(merged)
    assert facts["model"] == Workspace(config.root).current("models").id
    weights = (merged.path / "model" / "model.safetensors").read_bytes()
    assert facts["sha256"]["model/model.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert export(config, "merged").reused


def test_an_adapter_is_exported_as_it_is_and_a_model_without_one_is_refused(config: Config) -> None:
    workspace = Workspace(config.root)
    adapter = export(config, "adapter")
    trained = workspace.current("models")
    name = "adapter/adapter_model.safetensors"
    assert (adapter.path / name).read_bytes() == (trained.path / name).read_bytes()
    full = add_model(workspace, workspace.current("examples"), Path(config.model.name), "full")
    try:
        before = exports_in(config)
        with pytest.raises(ModelError, match=f"model {full.id} has no adapter"):
            export(config, "adapter")
        assert exports_in(config) == before
    finally:
        workspace.publish("models", trained.id)


@pytest.mark.parametrize("quantization", ["f32", "f16", "q8_0", "q4_0"])
def test_llama_cpp_answers_as_the_trained_model_does(config: Config, quantization: str) -> None:
    # Random weights suffer more from 4 bits than trained ones; whether 4 bits pass is not what this is about.
    made = export(config, "gguf", quantization, force=quantization == "q4_0")
    stored = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(made.path / "model.gguf").tensors}
    assert stored["blk.0.attn_q.weight"] == quantization.upper()
    assert stored["token_embd.weight"] == ("Q8_0" if quantization == "q4_0" else quantization.upper())
    assert stored["blk.0.attn_norm.weight"] == "F32"
    figures = made.manifest.figures
    assert figures["prompts_unlike"] == 0
    assert figures["logprob_difference"] <= {"f32": 1e-3, "f16": 0.05, "q8_0": 1, "q4_0": 10}[quantization]
    if quantization != "f32":
        assert figures["perplexity"] == pytest.approx(figures["perplexity_trained"], rel=0.3)
        assert figures["merged_logprob_difference"] < 1e-3


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Qwen2Config, {"tie_word_embeddings": True}),
        (LlamaConfig, {"tie_word_embeddings": False, "rope_parameters": LLAMA3_ROPE}),
        (LlamaConfig, {"attention_bias": True, "head_dim": 32}),
    ],
    ids=["qwen2", "llama3-rope", "bias-and-wide-heads"],
)
def test_other_architectures_say_the_same_in_llama_cpp(tmp_path: Path, kind: type, settings: dict[str, object]) -> None:
    base = save_base(tmp_path / "base", kind, **settings)
    write_gguf(base, tmp_path / "model.gguf", "f32", "tiny")
    ours = TorchEngine(load_model(str(base), "cpu", "float32"))
    vocabulary = len(ours.loaded.tokenizer)
    theirs = LlamaCpp(tmp_path / "model.gguf", 512, vocabulary, ours.loaded.tokenizer.eos_token_id)
    prompt, answer = ours.tokens("the thing in the other thing, " * 8), ours.tokens("therein 12 ✓")
    assert theirs.tokens("the thing in <|im_end|> 12 ✓") == ours.tokens("the thing in <|im_end|> 12 ✓")
    assert theirs.logprobs(prompt, answer) == pytest.approx(ours.logprobs(prompt, answer), abs=1e-3)
    assert theirs.greedy(prompt, 8) == ours.greedy(prompt, 8)


def test_a_refused_export_leaves_nothing_behind_and_a_forced_one_says_what_is_wrong(config: Config) -> None:
    strict = with_tolerance(config, 1e-12)
    before = exports_in(config)
    with pytest.raises(GateRefused, match=r"as gguf f32 does not answer .*log-probabilities differ by") as refusal:
        export(strict, "gguf", "f32")
    assert refusal.value.exit_code == 3
    assert exports_in(config) == before
    forced = export(strict, "gguf", "f32", force=True)
    assert "log-probabilities differ" in facts_of(forced)["against"][0]
    assert forced.manifest.counts["against"] >= 1


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TorchEngine, TorchEngine]]:
    """A model, and one whose weights and chat template are slightly others."""
    folder = tmp_path_factory.mktemp("engines")
    ours = load_model(str(save_base(folder / "ours")), "cpu")
    theirs = load_model(str(save_base(folder / "theirs")), "cpu")
    with torch.no_grad():
        theirs.model.lm_head.weight.mul_(1.5)
    theirs.tokenizer.chat_template = theirs.tokenizer.chat_template.replace("assistant\n", "assistant:\n")
    yield TorchEngine(ours), TorchEngine(theirs)


def test_the_gate_sees_other_answers_and_another_chat_template(engines: tuple[TorchEngine, TorchEngine]) -> None:
    ours, theirs = engines
    messages = [{"role": "user", "content": "the thing"}]
    prompt = ours.tokens(ours.prompt(messages))
    questions = [Question(messages, prompt, ours.tokens("therein"), "therein", True)]
    told: list[int] = []
    mine, other = (ask(engine, questions, 8, told.append) for engine in engines)
    assert told == [1, 1]
    assert same_answers(ours, questions, mine, mine, 1e-6).against == []
    verdict = same_answers(ours, questions, mine, other, 0.01)
    assert verdict.against[0].startswith("log-probabilities differ by")
    assert same_input(ours, ours, questions).against == []
    assert "chat template makes another prompt: 'stant:" in same_input(ours, theirs, questions).against[0]


def test_tokens_that_the_trained_model_finds_equally_likely_may_swap(engines: tuple[TorchEngine, TorchEngine]) -> None:
    ours, _ = engines
    prompt = ours.tokens("the thing")
    questions = [Question([], prompt, ours.tokens("in"), "in", True)]
    mine = ask(ours, questions, 4, lambda _: None)
    first = mine.tokens[0][0]
    other = next(token for token in range(20) if token != first)
    gap = ours.logprobs(prompt, [first])[0] - ours.logprobs(prompt, [other])[0]
    swapped = type(mine)([[other, *mine.tokens[0][1:]]], mine.logprobs)
    assert same_answers(ours, questions, mine, swapped, gap + 1e-3).against == []
    refused = same_answers(ours, questions, mine, swapped, gap - 1e-3).against
    assert refused == [
        f"at token 1 of an answer it says [{other}] instead of [{first}], which the trained model "
        f"prefers by {gap:.4f} nats"
    ]


def test_what_llama_cpp_does_not_know_is_refused_in_one_line(tmp_path: Path) -> None:
    base = tmp_path / "gpt2"
    AutoModelForCausalLM.from_config(
        GPT2Config(vocab_size=262, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    ).save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    with pytest.raises(ModelError, match=r"cannot write GPT2LMHeadModel as GGUF\. It is possible for LlamaForCausalLM"):
        write_gguf(base, tmp_path / "model.gguf", "f32", "tiny")
    yarn = save_base(tmp_path / "yarn", rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0})
    with pytest.raises(ModelError, match="cannot write the rotary scaling 'yarn' as GGUF"):
        write_gguf(yarn, tmp_path / "model.gguf", "f32", "tiny")
    parts = json.loads((base / "tokenizer.json").read_text())
    parts["model"]["merges"] = []
    llama = save_base(tmp_path / "llama")
    (llama / "tokenizer.json").write_text(json.dumps(parts))
    with pytest.raises(ModelError, match="cannot write a tokenizer without merges as GGUF"):
        write_gguf(llama, tmp_path / "model.gguf", "f32", "tiny")


def test_a_model_that_llama_cpp_does_not_know_is_refused_before_any_weight_is_read(tmp_path: Path) -> None:
    base = save_base(tmp_path / "base")
    config = make_workspace(tmp_path / "ws", base)
    parts = json.loads((base / "tokenizer.json").read_text())
    parts["model"]["merges"] = []
    (base / "tokenizer.json").write_text(json.dumps(parts))
    told: list[object] = []
    for form in ("gguf", "openvino"):
        with pytest.raises(ModelError, match="cannot write a tokenizer without merges as GGUF"):
            run_export(config, "latest", form, None, lambda *what: told.append(what))
    assert not told
    assert exports_in(config) == []


def test_splitting_rules_have_the_names_that_llama_cpp_knows() -> None:
    bytes_only = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}

    def split(expression: str) -> dict[str, object]:
        steps = [{"type": "Split", "pattern": {"Regex": expression}}, {**bytes_only, "use_regex": False}]
        return {"type": "Sequence", "pretokenizers": steps}

    assert pre_tokenizer(bytes_only) == "gpt-2"
    assert pre_tokenizer({"type": "Sequence", "pretokenizers": [digits, bytes_only]}) == "smollm"
    assert pre_tokenizer(split(LLAMA3)) == "llama-bpe"
    assert pre_tokenizer(split(QWEN2)) == "qwen2"
    with pytest.raises(ModelError, match="splits text by Metaspace"):
        pre_tokenizer({"type": "Metaspace"})
    with pytest.raises(ModelError, match="splits text by none"):
        pre_tokenizer(None)


def test_a_copy_goes_into_a_new_folder_only(config: Config, tmp_path: Path) -> None:
    made = export(config, "merged", out=tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        path.name for path in made.path.iterdir()
    )
    with pytest.raises(ArtifactError, match="new is not empty"):
        export(config, "merged", out=tmp_path / "new")


def test_wrong_names_are_told_before_any_work(config: Config) -> None:
    with pytest.raises(ArtifactError, match=r"no export format 'onnx'\. Known: adapter, merged, gguf"):
        export(config, "onnx")
    with pytest.raises(ArtifactError, match=r"gguf cannot be written as 'q9'\. It can as: q8_0, f16"):
        export(config, "gguf", "q9")
    with pytest.raises(ArtifactError, match="base model is not a trained one"):
        run_export(config, "base", "merged", None, lambda *_: None)
