"""Continued pretraining: the model reads the documents' sections, so that it knows their words and facts.

In: `completions.parquet`, which the examples stage writes beside the examples with `examples.completions: true`. Out:
a trainer with the loss over every token, an end token after each section, and rows always packed, since sections are
short.

Sections longer than a row go on in further rows; nothing is left out. The first token of a row is read and not learnt.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.errors import ModelError
from ingest.examples.completion import Completion
from ingest.examples.stage import COMPLETIONS
from ingest.records import read_table
from train.chat import Encoded, Learnt, defused, tokens_of
from train.methods.base import Job, Prepared
from train.methods.language import language_trainer
from train.model import LoadedModel
from train.rows import Row, Rows


def prepare(job: Job) -> Prepared:
    """A trainer over the documents' text.

    Raises:
        ModelError: the examples version holds no such text.
    """
    found = document_rows(job.spec.examples.with_name(COMPLETIONS), job.loaded, job.limit)
    return language_trainer(job, found, pack=True)


def document_rows(file: Path, loaded: LoadedModel, limit: int, split: str = "train") -> Rows:
    """The sections of a split, in rows of at most `limit` tokens.

    Raises:
        ModelError: the file is missing, or holds none of that split.
    """
    if not file.exists():
        raise ModelError(
            f"{file.parent} holds no {file.name}, which objective: pretrain reads",
            "Set examples.completions=true and run `wellread examples`",
        )
    sections: list[Completion] = [section for section in read_table(file, Completion) if section.split == split]
    if not sections:
        raise ModelError(f"{file} holds no sections of the split {split!r}", "Give it more documents")
    return Rows([row for section in sections for row in _rows(section, loaded.tokenizer, limit)], 0)


def _rows(section: Completion, tokenizer: Any, limit: int) -> Iterator[Row]:
    ids = [*opening(tokenizer), *tokens_of(tokenizer, defused(tokenizer, section.text)), tokenizer.eos_token_id]
    starts = range(0, len(ids), limit)
    for number, start in enumerate(starts, 1):
        piece = tuple(ids[start : start + limit])
        # A single token is learnt from nothing.
        if len(piece) > 1:
            name = section.id if len(starts) == 1 else f"{section.id}#{number}"
            yield Row(name, Encoded(piece, (Learnt(1, len(piece), None),)))


def opening(tokenizer: Any) -> list[int]:
    """The token that this tokenizer begins a text with, if any."""
    return [token for token in tokenizer("")["input_ids"] if token == tokenizer.bos_token_id][:1]
