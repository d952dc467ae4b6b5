"""Loads language models: the embedded default, a hub id, a local folder, or what `wellread train` made of one of them.

In: a model's name and, where wanted, an adapter. Out: a `LoadedModel` in evaluation mode, its tokenizer padding on the
left. The embedded model (`train/embedded.py`) never needs the network.

Only safetensors weights are read, and code that comes with a model never runs. Known limits: one device per model (no
sharding); an adapter is tied to the name that its base model was loaded under.
"""

import json
import logging
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.constants import is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from configs.errors import ModelError
from train.embedded import EMBEDDED, EMBEDDED_PREFIX, quiet, unpacked_folder

log = logging.getLogger(__name__)

# What transformers, tokenizers and safetensors raise for files that are missing, damaged or of an unknown kind.
LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError)


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to answer.

    Attributes:
        name: what it was loaded by (`embedded:...`, hub id, or folder).
        device: `cpu` or `cuda`.
        max_context: tokens of prompt and answer together that the model itself allows.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    device: str
    max_context: int


def load_model(
    name: str,
    device: str = "auto",
    dtype: str = "auto",
    adapter: Path | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    trainable: bool = False,
) -> LoadedModel:
    """Load a causal language model that has a chat template.

    Args:
        name: `embedded:SmolLM2-135M-Instruct`, a hub id, or a local folder.
        device: `auto` (a GPU when there is one), `cpu` or `cuda`.
        dtype: `float32`, `bfloat16`, `float16` or `auto` (float32 on a CPU, bfloat16 or else float16 on a GPU).
        adapter: a PEFT adapter's folder, trained on this very model.
        options: further arguments of `from_pretrained`; with a `device_map` the model stays where that puts it.
        trainable: whether the adapter's weights are to be trained further.

    Raises:
        ModelError: the model cannot be found, reached or read, has no chat template, or the adapter is another's.
    """
    device = pick_device(device)
    source = resolve_source(name)
    tokenizer = load_tokenizer(name)
    model: Any
    with quiet():
        try:
            model = AutoModelForCausalLM.from_pretrained(
                source, dtype=_dtype(dtype, device), use_safetensors=True, **(options or {}), **_access(source)
            )
        except LOAD_ERRORS as error:
            raise _unreadable(name, error) from None
        if adapter is not None:
            model = _with_adapter(model, name, adapter, trainable=trainable)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    if model.generation_config is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    if "device_map" not in (options or {}):
        model = model.to(device)
    return LoadedModel(model.eval(), tokenizer, name, device, _max_context(model, tokenizer))


def load_outline(name: str) -> LoadedModel:
    """A model without its weights, for checks that must not cost their memory: on torch's meta device, with its
    tokenizer and its limits. Nothing can be computed with it.

    Raises:
        ModelError: as `load_model`, as far as it does not concern weights.
    """
    source = resolve_source(name)
    tokenizer = load_tokenizer(name)
    model: Any
    with quiet():
        try:
            config = AutoConfig.from_pretrained(source, **_access(source))
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        except LOAD_ERRORS as error:
            raise _unreadable(name, error) from None
        # Ids at which generation stops are often listed there and nowhere else; a model may have none.
        with suppress(OSError):
            model.generation_config = GenerationConfig.from_pretrained(source, **_access(source))
    return LoadedModel(model, tokenizer, name, "meta", _max_context(model, tokenizer))


def load_trained(folder: Path, device: str = "auto", dtype: str = "auto") -> LoadedModel:
    """Load a version of the `models` stage: its base with its adapter, or its own full weights.

    Raises:
        ModelError: the folder is not such a version, or its base model cannot be loaded.
    """
    try:
        base = json.loads((folder / "spec.json").read_text())["model"]["name"]
    except (OSError, ValueError, KeyError):
        raise ModelError(f"{folder} is not a trained model (no readable spec.json)", "Run `wellread train`") from None
    if (folder / "model").is_dir():
        return load_model(str(folder / "model"), device, dtype)
    return load_model(base, device, dtype, folder / "adapter")


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model: it has a chat template and a padding token, and pads on the left.

    Raises:
        ModelError: it cannot be read, or has no chat template or no token to pad with.
    """
    source = resolve_source(name)
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, padding_side="left", **_access(source))
        except LOAD_ERRORS as error:
            raise _unreadable(name, error) from None
    if not tokenizer.chat_template:
        raise ModelError(f"model {name!r} has no chat template", "Choose an instruct or chat model in model.name")
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError(f"model {name!r} has neither a padding nor an end token", "Choose another model.name")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def stop_ids(loaded: LoadedModel) -> frozenset[int]:
    """Token ids at which generation stops: the tokenizer's end token and those of the generation settings."""
    ends = loaded.model.generation_config.eos_token_id if loaded.model.generation_config else None
    listed = ends if isinstance(ends, list) else [ends]
    return frozenset(token for token in (loaded.tokenizer.eos_token_id, *listed) if token is not None)


def pick_device(device: str) -> str:
    """`cpu` or `cuda` for `auto`, `cpu` or `cuda`.

    Raises:
        ModelError: a GPU was asked for, and torch sees none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise ModelError("device = 'cuda', but torch sees no GPU", "Set model.device to auto or cpu")
    return ("cuda" if found else "cpu") if device == "auto" else device


def half_precision() -> str:
    """`bfloat16` where the GPU computes in it, `float16` on older ones."""
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def resolve_source(name: str) -> str:
    """The folder (or hub id) to load from; unpacks the embedded model when it is first asked for.

    Raises:
        ModelError: an embedded name is unknown, or its package is not installed.
    """
    if not name.startswith(EMBEDDED_PREFIX):
        return str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    return str(unpacked_folder(name))


def _with_adapter(model: PreTrainedModel, name: str, adapter: Path, *, trainable: bool) -> Any:
    # Importing peft takes seconds that a plain base model does not need.
    from peft import PeftModel

    try:
        trained_on = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError):
        raise ModelError(f"{adapter} holds no readable PEFT adapter", "Run `wellread train` again") from None
    if trained_on is not None and _same_place(trained_on) != _same_place(name):
        raise ModelError(
            f"the adapter {adapter} was trained on {trained_on!r}, not on {name!r}",
            f"Set model.name to {trained_on}, or train again",
        )
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5.23 by an old name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            return PeftModel.from_pretrained(model, adapter, is_trainable=trainable, local_files_only=True)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"the adapter {adapter} does not fit {name!r}: {_first_line(error)}", "Run `wellread train` again"
        ) from None


def _same_place(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def _access(source: str) -> dict[str, Any]:
    """Arguments of every `from_pretrained`: no code of the model's own, and the network only where it is needed."""
    return {"trust_remote_code": False, "local_files_only": Path(source).is_dir() or not _online(source)}


def _online(hub_id: str) -> bool:
    """Whether to look for `hub_id` on the hub; false when it is out of reach, but was downloaded before.

    Asked first, and once, because transformers would retry a dead connection for three quarters of a minute.

    Raises:
        ModelError: the hub does not know this id, or it cannot be reached and nothing was downloaded before.
    """
    if is_offline_mode():
        return False
    try:
        HfApi().model_info(hub_id, timeout=15)
    except HFValidationError:
        raise _unreadable(hub_id, ValueError("this is neither a folder nor a hub id")) from None
    except HfHubHTTPError as error:
        raise _unreadable(hub_id, ValueError(f"the hub answered {error.response.status_code}")) from None
    # The hub client's transport errors share no base class over its versions (requests, httpx, httpx2).
    except Exception as error:  # noqa: BLE001
        if not isinstance(try_to_load_from_cache(hub_id, "config.json"), str):
            raise _unreadable(hub_id, OSError(f"the hub cannot be reached ({_first_line(error)})")) from None
        log.warning("the hub cannot be reached; using the copy of %s that was downloaded before", hub_id)
        return False
    return True


def _dtype(dtype: str, device: str) -> torch.dtype:
    if dtype == "auto":
        dtype = half_precision() if device == "cuda" else "float32"
    return getattr(torch, dtype)  # type: ignore[no-any-return]


def _max_context(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(limit or min(tokenizer.model_max_length, 1 << 20))


def _unreadable(name: str, error: Exception) -> ModelError:
    if Path(name).is_dir():
        remedy = "The folder must hold config.json, tokenizer files and *.safetensors of a causal language model"
    else:
        remedy = (
            "Check the spelling and the connection; gated models need HF_TOKEN. Offline, give a local folder or "
            f"{EMBEDDED_PREFIX}{next(iter(EMBEDDED))}"
        )
    return ModelError(f"cannot load model {name!r}: {_first_line(error)}", remedy)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].rstrip(".")[:300]
