"""A tiny random Llama with a byte-level tokenizer and a real chat template, and examples made by hand."""

import os
from functools import partial

# Read when these libraries are imported: no test asks a hub, and two cores are shared.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from configs.training import ModelSettings, TrainSettings
from ingest.examples import ABSTENTION
from ingest.records import Chunk, Example, stable_id, write_table
from train.spec import SPEC, Spec

START, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    vocabulary = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([START, END])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.eos_token, fast.bos_token = END, START
    fast.chat_template = template
    return fast


def save_model(folder: Path, template: str | None = TEMPLATE) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=256,
        eos_token_id=257,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer(template).save_pretrained(folder)
    return folder


def make_chunk(name: str, text: str) -> Chunk:
    return Chunk(stable_id(name), stable_id(name, "doc"), f"https://x.test/{name}", name, (), text, 0, len(text))


def make_example(number: int, split: str = "train") -> Example:
    passages = (make_chunk(f"p{number}", f"Item {number} is {number} high."), make_chunk("other", "Nothing here."))
    answerable = number % 4 != 3
    return Example(
        id=stable_id("example", str(number)),
        doc_id=passages[0].doc_id,
        question=f"How high is item {number}?",
        passages=passages,
        answer=f"Item {number} is {number} high. [1]" if answerable else ABSTENTION,
        answerable=answerable,
        split=split,
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("examples") / "examples.parquet"
    rows = [make_example(number, "holdout" if number >= 16 else "train") for number in range(24)]
    write_table(file, rows, Example)
    return file


@pytest.fixture(scope="session")
def make_run_in(tiny: Path, examples: Path):
    """Writes a spec into a new folder: `make_run_in(parent, "name", batch_size=2, ...)` -> the folder."""

    def make(parent: Path, name: str = "run", model: str | None = None, **train: object) -> Path:
        folder = parent / name
        folder.mkdir()
        # In float32, so that the same losses come out on every machine.
        defaults = {"max_steps": 12, "batch_size": 4, "learning_rate": 1e-2, "save_steps": 3, "max_tokens": 1024}
        defaults |= {"precision": "float32"}
        settings = TrainSettings.model_validate({**defaults, **train})
        model_settings = ModelSettings(name=model or str(tiny), device="cpu")
        Spec(examples=examples, model=model_settings, train=settings, seed=3).write(folder)
        assert (folder / SPEC).exists()
        return folder

    return make


@pytest.fixture
def make_run(make_run_in, tmp_path: Path):
    return partial(make_run_in, tmp_path)
