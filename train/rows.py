"""What is learnt, as token ids: rows of the examples and of the user's own conversations.

In: `examples.parquet`, JSONL files. Out: rows that name where they came from, so that a bad step can say which examples
it was about.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ModelError
from guards.spotlight import Mode
from ingest.records import Example, read_table
from train.chat import Encoded, encode_fitting
from train.model import LoadedModel, stop_ids

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One example as the model is trained on it.

    Attributes:
        id: of the example, or of the line of a file.
        weight: how much its loss counts, 1 for most.
    """

    id: str
    encoded: Encoded
    weight: float = 1.0


@dataclass(frozen=True)
class Rows:
    """All rows of a split, and how many were too long for it."""

    rows: Sequence[Row]
    too_long: int


def example_rows(
    file: Path, loaded: LoadedModel, limit: int, spotlight: Mode = "off", split: str = "train", most: int | None = None
) -> Rows:
    """The examples of a split with at most `limit` tokens.

    Args:
        most: take only so many, by id, which is a random choice that is the same in every run.

    Raises:
        ModelError: there is none.
    """
    examples: list[Example] = [example for example in read_table(file, Example) if example.split == split]
    if most is not None:
        # Ids are hashes: their order is random, and the same in every run.
        examples = sorted(examples, key=lambda example: example.id)[:most]
    pairs, too_long = encode_fitting(loaded.tokenizer, stop_ids(loaded), examples, limit, spotlight)
    name = {"train": "training", "holdout": "held-out"}[split]
    if not examples:
        raise ModelError(f"{file} holds no {name} examples", "Give it more documents, then run `wellread examples`")
    if not pairs:
        raise ModelError(
            f"all {len(examples)} {name} examples are longer than {limit} tokens",
            "Raise train.max_tokens, or lower chunk.max_tokens or examples.passages",
        )
    if too_long:
        log.warning("%d of %d examples are longer than %d tokens and left out", too_long, len(examples), limit)
    return Rows([Row(example.id, encoded) for example, encoded in pairs], too_long)
