"""What the header of a safetensors file says, without its weights and without torch.

In: a file. Out: names and shapes. A file that was cut short is found out by its header, too.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from configs.errors import ModelError


def shapes_of(file: Path) -> dict[str, list[int]]:
    """Name -> shape of the tensors in a safetensors file, from its header.

    Raises:
        ModelError: it cannot be read, or is cut short.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {file}: {error}", "Copy or download the file again") from None
