"""Whether model, tokenizer, weights and what training starts from belong together.

In: the outline of a model, its folder, and the folder that training starts from. Out: nothing, or an error that names
what differs. Only headers of weight files are read.

Known limit: files of a hub model that is not on this machine yet are not looked at.
"""

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from configs.errors import ModelError
from train.model import LOAD_ERRORS, LoadedModel, resolve_source
from train.preflight.headers import shapes_of


def check_tokenizer(loaded: LoadedModel) -> None:
    """Whether every token has a row in the embedding.

    Raises:
        ModelError: the vocabulary is larger.
    """
    model: Any = loaded.model
    rows = model.get_input_embeddings().weight.shape[0]
    size = len(loaded.tokenizer)
    if size > rows:
        raise ModelError(
            f"the tokenizer of {loaded.name!r} has {size} tokens, but the model's embedding has {rows} rows",
            "Use the tokenizer that the model was trained with, or resize the embedding and save both",
        )


def check_weights(loaded: LoadedModel) -> None:
    """Whether the weight files of a local model can be read and have the shapes that its configuration names.

    Raises:
        ModelError: one is damaged or of another model.
    """
    folder = Path(resolve_source(loaded.name))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return
    wanted = {name: list(weight.shape) for name, weight in loaded.model.state_dict().items()}
    for file in files:
        for name, shape in shapes_of(file).items():
            if name in wanted and wanted[name] != shape:
                raise ModelError(
                    f"{file} holds {name} of shape {shape}, but config.json asks for {wanted[name]}",
                    "Put the files of one model into that folder",
                )


def check_start(start: Path, loaded: LoadedModel) -> None:
    """Whether what training starts from was made of this base model, with this tokenizer and template.

    Args:
        start: folder `adapter` or `model` of a trained model.

    Raises:
        ModelError: it cannot be read, or is another model's.
    """
    files = sorted(start.glob("*.safetensors"))
    if not files:
        raise ModelError(f"train.start: {start} holds no weights", "Choose another model: `wellread models`")
    for file in files:
        shapes_of(file)
    if (start / "adapter_config.json").exists() or start.name == "adapter":
        _check_base(start, loaded.name)
    else:
        _check_config(start, loaded)
    _check_same_tokens(start, loaded)


def _check_base(start: Path, name: str) -> None:
    try:
        base = json.loads((start / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError):
        raise ModelError(
            f"train.start: {start} holds no readable adapter", "Choose another: `wellread models`"
        ) from None
    if base is not None and _place(base) != _place(name):
        raise ModelError(
            f"train.start: the adapter {start} was trained on {base!r}, not on {name!r}",
            f"Set model.name to {base}, or start from another model",
        )


def _check_config(start: Path, loaded: LoadedModel) -> None:
    model: Any = loaded.model
    try:
        theirs = json.loads((start / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ModelError(f"train.start: {start} holds no readable config.json", "Choose another model") from None
    for name in ("model_type", "hidden_size", "num_hidden_layers", "vocab_size"):
        ours = getattr(model.config, name, None)
        if theirs.get(name) != ours:
            raise ModelError(
                f"train.start: {start} has {name} {theirs.get(name)!r}, but {loaded.name!r} has {ours!r}",
                "Set model.name to the model that it was made of, or start from another",
            )


def _check_same_tokens(start: Path, loaded: LoadedModel) -> None:
    if not (start / "tokenizer.json").exists():
        return
    try:
        theirs: Any = AutoTokenizer.from_pretrained(start, local_files_only=True, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"train.start: the tokenizer in {start} cannot be read: {error}", "Start from another"
        ) from None
    ours: Any = loaded.tokenizer
    if theirs.get_vocab() != ours.get_vocab():
        what = f"another tokenizer ({len(theirs)} tokens, and {loaded.name!r} has {len(ours)})"
    elif theirs.chat_template != ours.chat_template:
        what = f"another chat template than {loaded.name!r} has"
    else:
        return
    raise ModelError(
        f"train.start: {start} was trained with {what}", "Start from another model, or from the base model"
    )


def _place(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).is_dir() else name
