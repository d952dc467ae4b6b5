"""Tiny models that llama.cpp takes, with merges in their tokenizers, and a workspace with one of them fine-tuned."""

import json
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedTokenizerFast

from configs.artifacts import Made, Version, Workspace
from configs.schema import Config
from configs.training import ModelSettings, TrainSettings
from ingest.records import Example, write_table
from tests.train.conftest import END, START, TEMPLATE, make_example
from train.spec import Spec

MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n")]
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}


def make_tokenizer(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(merge) for merge in MERGES]
    tokenizer = Tokenizer(models.BPE(vocab={symbol: n for n, symbol in enumerate(symbols)}, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([START, END])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.eos_token, fast.bos_token, fast.pad_token, fast.chat_template = END, START, END, template
    return fast


def save_base(folder: Path, kind: type[PretrainedConfig] = LlamaConfig, **settings: object) -> Path:
    """A model with random weights, large enough that its answers are not all alike."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = kind(vocab_size=len(tokenizer), initializer_range=0.2, **ends, **SHAPE, **settings)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_workspace(root: Path, base: Path) -> Config:
    """A workspace with examples, and one model: `base` with an adapter that was never trained, but changes answers."""
    workspace = Workspace(root)

    def examples(folder: Path) -> Made:
        rows = [make_example(number, "holdout" if number >= 4 else "train") for number in range(8)]
        write_table(folder / "examples.parquet", rows, Example)
        return Made({"train": 4, "holdout": 4})

    made = workspace.build("examples", examples, inputs={}, settings={})
    add_model(workspace, made, base, "lora")
    return Config.model_validate(
        {
            "root": root,
            "model": {"name": str(base), "device": "cpu"},
            "export": {"prompts": 3, "tokens": 8},
            "evaluate": {"max_new_tokens": 8},
        }
    )


def add_model(workspace: Workspace, examples: Version, base: Path, method: str) -> Version:
    def fill(folder: Path) -> Made:
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_pretrained(base)
        if method == "lora":
            shape = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
            with warnings.catch_warnings():
                # peft 0.21 asks transformers 5.23 by an old name.
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
                get_peft_model(model, shape).save_pretrained(folder / "adapter")
        else:
            model.save_pretrained(folder / "model")
            make_tokenizer().save_pretrained(folder / "model")
        settings = TrainSettings(method=method)
        Spec(
            examples=examples.path / "examples.parquet",
            model=ModelSettings(name=str(base), device="cpu"),
            train=settings,
            seed=1,
        ).write(folder)
        return Made({"trainable_parameters": 10}, {"loss_last": 1.5})

    settings = {"model": str(base), "train": {"objective": "sft", "method": method, "lora": {"rank": 4}}, "seed": 1}
    return workspace.build("models", fill, inputs={"examples": examples.id}, settings=settings)


def facts_of(export: Version) -> dict[str, object]:
    return dict(json.loads((export.path / "export.json").read_text()))
