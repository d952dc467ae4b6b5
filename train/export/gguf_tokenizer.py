"""The tokenizer of a model as GGUF metadata: tokens, merges, special tokens, chat template.

In: a folder with `tokenizer.json`. Out: keys `tokenizer.ggml.*` in a GGUF writer. llama.cpp splits text by rules that
it knows by name; which name fits is read from the tokenizer's own rules, and the parity gate (`train/export/parity.py`)
then compares token ids.

Known limit: byte-level BPE only, with the splitting rules of GPT-2, SmolLM, Llama 3 or Qwen 2.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from configs.errors import ModelError
from train.model import load_tokenizer

# The expression by which a tokenizer splits text before merging -> llama.cpp's name for it.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPLITS = {LLAMA3: "llama-bpe", QWEN2: "qwen2"}


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, vocabulary: int) -> None:
    """Add the tokenizer in `folder` to a GGUF file.

    Args:
        vocabulary: rows of the model's embedding; tokens are filled up to it with unused ones.

    Raises:
        ModelError: the tokenizer is of a kind that llama.cpp does not know.
    """
    parts = known_parts(folder)
    tokenizer: Any = load_tokenizer(str(folder))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer(parts["pre_tokenizer"]))
    tokens, types = _tokens(parts, vocabulary)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in parts["model"]["merges"]]
    )
    # What the model's own tokenizer does when text is encoded, whatever its settings say.
    writer.add_add_bos_token(tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id)
    writer.add_add_space_prefix(False)
    for kind in ("bos", "eos", "unk", "pad"):
        if (token := getattr(tokenizer, f"{kind}_token_id")) is not None:
            getattr(writer, f"add_{kind}_token_id")(token)
    writer.add_chat_template(tokenizer.chat_template)


def known_parts(folder: Path) -> dict[str, Any]:
    """What `tokenizer.json` in `folder` holds.

    Raises:
        ModelError: the tokenizer is of a kind that llama.cpp does not know.
    """
    try:
        parts: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _unknown("no readable tokenizer.json") from None
    if parts["model"]["type"] != "BPE" or parts["model"].get("byte_fallback"):
        raise _unknown(f"a tokenizer of kind {parts['model']['type']} that is not byte-level BPE")
    if not parts["model"]["merges"]:
        # llama.cpp refuses a file without them, and the format has no empty array.
        raise _unknown("a tokenizer without merges")
    pre_tokenizer(parts["pre_tokenizer"])
    return parts


def pre_tokenizer(rules: Mapping[str, Any] | None) -> str:
    """llama.cpp's name for a tokenizer's splitting rules, given as in `tokenizer.json`.

    Raises:
        ModelError: there is none.
    """
    steps = (rules or {}).get("pretokenizers") or [rules or {"type": "none"}]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"] and steps[1].get("use_regex", True):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and (name := SPLITS.get(steps[0]["pattern"].get("Regex", ""))):
        return name
    raise _unknown(f"a tokenizer that splits text by {' and '.join(kinds)} in a way of its own")


def _tokens(parts: Mapping[str, Any], vocabulary: int) -> tuple[list[str], list[int]]:
    tokens = [f"[PAD{number}]" for number in range(vocabulary)]
    types = [gguf.TokenType.UNUSED] * vocabulary
    for token, number in parts["model"]["vocab"].items():
        tokens[number], types[number] = token, gguf.TokenType.NORMAL
    for added in parts["added_tokens"]:
        kind = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], kind
    return tokens, [int(kind) for kind in types]


def _unknown(what: str) -> ModelError:
    return ModelError(f"cannot write {what} as GGUF", "Export the model as merged")
