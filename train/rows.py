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
from train.chat import Encoded, encode, encode_fitting
from train.conversation import encode_answers
from train.model import LoadedModel, stop_ids
from train.user_data import REMEDY, Line, conversation, read_lines

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

    def __add__(self, other: "Rows") -> "Rows":
        return Rows([*self.rows, *other.rows], self.too_long + other.too_long)

    def counts(self) -> dict[str, int]:
        """For the manifest."""
        return {"used": len(self.rows), "too_long": self.too_long}


def training_rows(file: Path, own: Path | None, loaded: LoadedModel, limit: int, spotlight: Mode = "off") -> Rows:
    """The training examples, and behind them the user's own conversations.

    Args:
        own: JSONL file of conversations, or None.

    Raises:
        ModelError: there is nothing to learn, or a line of `own` is wrong.
    """
    if own is None:
        return example_rows(file, loaded, limit, spotlight)
    mine = own_rows(own, loaded, limit)
    if all(example.split != "train" for example in read_table(file, Example)):
        return mine
    return example_rows(file, loaded, limit, spotlight) + mine


def own_rows(file: Path, loaded: LoadedModel, limit: int) -> Rows:
    """The user's own conversations of at most `limit` tokens; see `train/user_data.py` for the format.

    Raises:
        ModelError: a line is wrong, its template cannot show it, or all are too long.
    """
    rows = [row for line in read_lines(file, REMEDY) for row in _line_rows(line, loaded)]
    fitting = [row for row in rows if len(row.encoded.input_ids) <= limit]
    if not fitting:
        raise ModelError(f"all {len(rows)} rows of {file} are longer than {limit} tokens", "Raise train.max_tokens")
    tell_too_long(len(rows) - len(fitting), len(rows), limit)
    return Rows(fitting, len(rows) - len(fitting))


def _line_rows(line: Line, loaded: LoadedModel) -> list[Row]:
    turns, all_answers = conversation(line)
    stops = stop_ids(loaded)
    weight = line.weight()
    try:
        if all_answers:
            encoded = encode_answers(loaded.tokenizer, stops, turns)
        else:
            encoded = [encode(loaded.tokenizer, stops, turns[:-1], turns[-1]["content"])]
    except ModelError as error:
        raise ModelError(f"{line.where}: {error.problem}", error.remedy) from None
    names = [line.id] if len(encoded) == 1 else [f"{line.id}#{number}" for number in range(1, len(encoded) + 1)]
    return [Row(name, one, weight) for name, one in zip(names, encoded, strict=True)]


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
    tell_too_long(too_long, len(examples), limit)
    return Rows([Row(example.id, encoded) for example, encoded in pairs], too_long)


def tell_too_long(too_long: int, of: int, limit: int) -> None:
    """Log how many rows were left out, if any."""
    if too_long:
        log.warning("%d of %d examples are longer than %d tokens and left out", too_long, of, limit)
