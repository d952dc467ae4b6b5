"""Training on a GPU beside plain TRL: tokens a second, model FLOPs utilisation, memory; and ZeRO-3 with offload.

    python -m bench.train_gpu                                       # 1B, LoRA and full, rows of 2048 and 8192 tokens
    python -m bench.train_gpu --shape 8b --method lora --sequence 8192 --batch 2
    python -m bench.train_gpu --shape 8b --method full --zero       # by itself, then divided and moved away by ZeRO-3
    python -m bench.train_gpu --device cpu --shape tiny             # anywhere, to see that it runs

Needs torch with a GPU, transformers, trl, peft, accelerate, datasets and this project's own dependencies; `--zero` also
deepspeed with a compiler that it can build its optimizer with. Nothing is downloaded: the model is a Llama with random
weights of that shape and a tokenizer of bytes, the documents are random letters, and `HF_HUB_OFFLINE` is set.

Every run is a process of its own: `wellread` is `python -m train.run` with `objective: pretrain`, rows packed full;
`trl` is a bare `trl.SFTTrainer` with the same arguments and the same texts in its rows. They take turns. The first two
steps are left out, and a run ends after its last step without saving. A row is one document unless `--documents` says
how many share it; then this project keeps them from seeing each other, which TRL without FlashAttention does not.

Model FLOPs utilisation is tokens a second times FLOPs a token, by the peak of the device without sparsity (`--peak`
where the table below does not know it). FLOPs a token, after PaLM (Chowdhery et al. 2022, appendix B):

    full   6 N + 12 L H Q T
    LoRA   4 N + 6 A + 12 L H Q T

N parameters that multiply (all but the table of input embeddings, unless it is the output head too), A those of the
adapter, L layers, H heads of size Q, T tokens of a document. Under LoRA the frozen weights need no gradients of their
own: forward and the gradient of the activations remain, 2 N each. As in PaLM, attention counts without regard to the
causal mask, and what is computed again under activation checkpointing does not count.

Known limit: one GPU. Out: JSON, and a line on stderr after each run.
"""

import argparse
import json
import os
import random
import re
import shutil
import statistics
import string
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Read when the libraries are loaded.
os.environ["HF_HUB_OFFLINE"] = "1"

from app.cli import ENVIRONMENT
from bench.loop import machine
from bench.train import NEVER, SEED, SKIPPED, ended, rates, target, times
from configs.artifacts import code_revision, versions_of
from configs.errors import ModelError
from configs.training import ModelSettings, TrainSettings
from train.spec import PROGRESS, Spec, read_progress

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "deepspeed", "flash-attn", "liger-kernel")
SIDES = ("wellread", "trl")
TOKENS = 16384  # of a step: with fewer, a GPU waits for Python
# Hidden size, inner size, layers, heads, heads of keys and values, vocabulary, whether the head is the embedding table:
# those of Llama 3.2 1B and 3B, and of Llama 3.1 8B.
SHAPES = {
    "tiny": (64, 128, 2, 4, 2, 512, False),
    "1b": (2048, 8192, 16, 32, 8, 128256, True),
    "3b": (3072, 8192, 28, 24, 8, 128256, True),
    "8b": (4096, 14336, 32, 32, 8, 128256, False),
}
# Dense bfloat16 FLOPs a second, from NVIDIA's data sheets, by words of the device's name; the first that fits.
PEAKS = (
    (("H100", "PCIE"), 756e12),
    (("H100",), 989e12),
    (("H200",), 989e12),
    (("GH200",), 989e12),
    (("B200",), 2250e12),
    (("A100",), 312e12),
    (("L40S",), 362e12),
    (("A10",), 125e12),
    (("L4",), 121e12),
)
LEAST = {"full": 0.5, "lora": 0.45}
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def make_model(shape: str, longest: int, folder: Path) -> dict[str, int]:
    """Write a Llama with random weights and its tokenizer of bytes. Returns what FLOPs are counted by."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {symbol: number for number, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|start|>", "<|end|>"])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # type: ignore[no-untyped-call]
    fast.eos_token = "<|end|>"  # noqa: S105  no password
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    hidden, inner, layers, heads, pairs, words, tied = SHAPES[shape]
    config = LlamaConfig(
        vocab_size=words,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=pairs,
        max_position_embeddings=longest,
        tie_word_embeddings=tied,
        eos_token_id=fast.eos_token_id,
    )
    torch.manual_seed(SEED)
    # Half the disk, and trained in the precision that the run chooses.
    config.dtype = torch.bfloat16
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    every = sum(weight.numel() for weight in model.parameters())
    return {"parameters": every, "multiplying": every - (0 if tied else words * hidden), "width": layers * hidden}


def make_documents(folder: Path, tokens: int, count: int) -> Path:
    """Write `completions.parquet` with random documents of so many tokens. Returns the path of `examples.parquet`."""
    from ingest.examples.completion import Completion
    from ingest.examples.stage import COMPLETIONS, EXAMPLES
    from ingest.records import write_table

    dice = random.Random(SEED)
    # A byte is a token, and the end of a document is one too.
    texts = ["".join(dice.choices(string.ascii_lowercase + " ", k=tokens - 1)) for _ in range(count)]
    rows = [Completion(f"{place:06}", "made", "made", (), text, "train") for place, text in enumerate(texts)]
    folder.mkdir(parents=True)
    write_table(folder / COMPLETIONS, rows, Completion)
    return folder / EXAMPLES


def flops_per_token(about: Mapping[str, int], method: str, adapter: int, tokens: int) -> float:
    """FLOPs of forward and backward passes for one token; see this module's docstring.

    Args:
        about: of `make_model`.
        adapter: parameters of the adapter.
        tokens: of a document.
    """
    weights = 6 * about["multiplying"] if method == "full" else 4 * about["multiplying"] + 6 * adapter
    return float(weights + 12 * about["width"] * tokens)


def peak_of(name: str) -> float | None:
    """Peak FLOPs a second of a device; None where it is not in the table."""
    words = set(re.split(r"[^A-Z0-9]+", name.upper()))
    return next((peak for named, peak in PEAKS if words.issuperset(named)), None)


def spec_of(options: argparse.Namespace, home: Path, method: str, sequence: int, **settings: Any) -> Spec:
    """The run that both sides make."""
    chosen = {
        "objective": "pretrain",
        "method": method,
        "max_steps": options.steps,
        "batch_size": rows_of(options, sequence),
        "max_tokens": sequence,
        "precision": options.precision,
        "checkpointing": options.checkpointing,
        "learning_rate": 1e-5,
        "save_steps": NEVER,
        **settings,
    }
    examples = home / f"documents-{sequence}" / "examples.parquet"
    if not examples.parent.exists():
        # One step more than is made: the trainer reads ahead.
        count = options.documents * rows_of(options, sequence) * (options.steps + 1)
        make_documents(examples.parent, sequence // options.documents, count)
    model = ModelSettings(name=str(home / "model"), device=options.device, max_context=max(256, sequence))
    return Spec(examples=examples, model=model, train=TrainSettings.model_validate(chosen), seed=SEED)


def rows_of(options: argparse.Namespace, sequence: int) -> int:
    """Rows of a step."""
    return options.batch or max(1, TOKENS // sequence)


def run(side: str, spec: Spec, folder: Path) -> dict[str, Any]:
    """One run of one side; `failed` says why there are no figures."""
    folder.mkdir(parents=True)
    spec.write(folder)
    code, said = ended(side, folder, ["--until-last-step"])
    if code:
        found: dict[str, Any] = {"failed": said}
    else:
        found = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
        found |= rates(found["steps"])
    shutil.rmtree(folder)
    told = {name: value for name, value in found.items() if name not in ("steps", "losses")}
    print(json.dumps({"run": folder.name, **told}), file=sys.stderr, flush=True)
    return found


def cell(options: argparse.Namespace, home: Path, about: Mapping[str, int], method: str, sequence: int) -> Any:
    """One method at one length: both sides in turns."""
    spec = spec_of(options, home, method, sequence)
    made: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for turn in range(options.turns):
        for side in SIDES:
            made[side].append(run(side, spec, home / f"{method}-{sequence}-{side}-{turn}"))
    failed = {side: one["failed"] for side, runs in made.items() for one in runs if "failed" in one}
    good = {side: runs for side, runs in made.items() if side not in failed}
    device = next((runs[0].get("device") for runs in good.values()), None)
    result: dict[str, Any] = {"method": method, "sequence": sequence, "rows": rows_of(options, sequence)}
    result |= {"device": device, "failed": failed, "sides": {}}
    for side, runs in good.items():
        rate = statistics.median(one["tokens_per_s"] for one in runs)
        adapter = 0 if method == "full" else runs[0]["trained"]
        flops = flops_per_token(about, method, adapter, sequence // options.documents)
        peak = options.peak or peak_of(runs[0].get("device", ""))
        result["sides"][side] = {
            "tokens_per_s": rate,
            "flops_per_token": flops,
            "mfu": round(rate * flops / peak, 4) if peak else None,
            **{name: max(one[name] for one in runs) for name in ("peak_gpu_mb", "peak_mb") if runs[0].get(name)},
            "padding": runs[0]["padding"],
            "losses": [round(runs[0]["losses"][0], 4), round(runs[0]["losses"][-1], 4)],
        }
    if not failed:
        result["times_as_fast"] = times(made["wellread"], made["trl"])
    return result


def zero(options: argparse.Namespace, home: Path, sequence: int) -> dict[str, Any]:
    """Full fine-tuning as it is, and with ZeRO-3 that keeps weights and optimizer states in the machine's memory."""
    plain = run("wellread", spec_of(options, home, "full", sequence), home / "zero-without")
    settings = {"launcher": "deepspeed", "deepspeed": {"stage": 3, "offload": "cpu"}}
    folder = home / "zero-with"
    folder.mkdir()
    spec_of(options, home, "full", sequence, **settings).write(folder)
    return {"sequence": sequence, "without": _fits(plain), "with": launched(folder)}


def _fits(found: Mapping[str, Any]) -> dict[str, Any]:
    if "failed" in found:
        return {"fits": False, "failed": found["failed"]}
    return {"fits": True, "tokens_per_s": found["tokens_per_s"], "peak_gpu_mb": found.get("peak_gpu_mb")}


class _Done(Exception):  # noqa: N818  nothing is wrong
    """All steps are made."""


def launched(folder: Path) -> dict[str, Any]:
    """A run as `wellread train` would start it, ended once all of its steps are made; it is not to be saved."""
    from train.launch import launch

    def stop_at_the_end(_: str, done: int, of: int | None) -> None:
        if done == of:
            raise _Done

    try:
        launch(folder, stop_at_the_end)
    except _Done:
        pass
    except ModelError as error:
        return {"fits": False, "failed": str(error)}
    rows = read_progress(folder / PROGRESS)
    steady = rows[SKIPPED:]
    passed = rows[-1]["time"] - rows[SKIPPED - 1]["time"]
    return {"fits": True, "steps": len(rows), "step_s": round(passed / len(steady), 3), "loss": rows[-1]["loss"]}


def targets(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was aimed at beside what was measured."""
    rows = []
    for one in cells:
        name = f"{one['method']}, {one['sequence']} tokens"
        utilised = one["sides"].get("wellread", {}).get("mfu")
        rows.append(target(f"model FLOPs utilisation, {name}", utilised, least=LEAST[one["method"]]))
        rows.append(target(f"tokens a second of plain TRL, {name}", one.get("times_as_fast"), least=0.97))
    return rows


def arguments() -> argparse.Namespace:
    """What was typed, with the device and its peak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--method", action="append", choices=("lora", "full"), help="may be given again; both")
    parser.add_argument("--sequence", action="append", type=int, help="tokens of a row; may be given again; 2048, 8192")
    parser.add_argument("--documents", type=int, default=1, help="documents that share a row")
    parser.add_argument("--batch", type=int, help=f"rows of a step; by default as many as have {TOKENS} tokens")
    parser.add_argument("--steps", type=int, default=12, help="the first two included")
    parser.add_argument("--turns", type=int, default=2, help="runs of each side")
    parser.add_argument("--precision", default="bfloat16", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--checkpointing", default="auto", choices=("auto", "always", "never"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--peak", type=float, help="FLOPs a second that the device could do")
    parser.add_argument("--zero", action="store_true", help="only ZeRO-3 with offload, beside the same without")
    options = parser.parse_args()
    options.method = options.method or ["lora", "full"]
    options.sequence = options.sequence or ([128] if options.shape == "tiny" else [2048, 8192])
    if options.steps <= SKIPPED:
        parser.error(f"--steps must be more than {SKIPPED}, which are left out (it is {options.steps})")
    if min(options.sequence) // options.documents < 64:
        parser.error("a document must have 64 tokens or more: give fewer --documents or a longer --sequence")
    return options


def main() -> None:
    """Print the figures."""
    options = arguments()
    os.environ.update({name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()})
    from train.model import pick_device

    try:
        options.device = pick_device(options.device)
    except ModelError as error:
        sys.exit(f"{error}")
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        about = make_model(options.shape, max(options.sequence), home / "model")
        if options.zero:
            parts: dict[str, Any] = {"zero": [zero(options, home, sequence) for sequence in options.sequence]}
        else:
            cells = [
                cell(options, home, about, method, sequence)
                for method in options.method
                for sequence in options.sequence
            ]
            parts = {"cells": cells, "targets": targets(cells)}
    figures = {
        "bench": "train_gpu",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "packages": versions_of(PACKAGES),
        "revision": code_revision(),
        "model": {"shape": options.shape, **about},
        "settings": {
            key: getattr(options, key)
            for key in ("batch", "documents", "steps", "turns", "precision", "checkpointing", "device", "peak")
        },
        **parts,
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
