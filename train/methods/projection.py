"""On a CPU, only the tokens that are learnt are projected onto the vocabulary.

TRL's loss does so on GPUs, and projects every token elsewhere, since some accelerators compile anew for each number of
tokens. A CPU does not, and most of our tokens are prompt. Measured on the embedded model (LoRA, 2 x 640 tokens, one
eighth of them learnt): 6.7 -> 5.0 CPU-seconds a step in bfloat16, 13.5 -> 8.9 in float32, with the same loss and the
same gradients.

Known limit: TRL has no switch for it, so a function of its module is replaced; where a later version has no such
function, nothing happens.
"""

from typing import Any

from trl.trainer import utils

SWITCH = "_use_triton"  # asked in `trl.trainer.utils` for nothing but this


def project_learnt_tokens_only(*, on_gpu: bool) -> None:
    """Have TRL's loss, in this process, leave out what is not learnt."""
    if not on_gpu and hasattr(utils, SWITCH):
        setattr(utils, SWITCH, _yes)


def _yes(_device: Any) -> bool:
    return True
