"""The rows that would be trained, checked before a model is loaded.

In: a spec and the outline of its model. Out: `Data`, all rows that fit and counts of those that do not. Refused are: no
rows, too many that are too long, an answer whose end token carries no loss, and rows that the evaluation asks about.

Known limits: overlap is found by document and by equal questions; a held-out answer told in other words is not seen.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from configs.errors import ModelError
from ingest.examples.completion import Completion
from ingest.examples.stage import COMPLETIONS
from ingest.records import Example, read_table
from train.chat import IGNORED, Turn, build_messages
from train.model import LoadedModel, stop_ids
from train.rows import Row, training_rows
from train.spec import Spec
from train.user_data import REMEDY, Line, conversation, preference, read_lines

UNLIMITED = 1 << 40


@dataclass(frozen=True)
class Data:
    """Rows to train on.

    Attributes:
        rows: those that fit, each answer of a pair as a row.
        lengths: tokens of all rows, the longer answer of a pair; also of those that do not fit.
        limit: longest row in tokens.
        limited_by: what sets that limit.
    """

    rows: Sequence[Row]
    lengths: Sequence[int]
    limit: int
    limited_by: str

    @property
    def fitting(self) -> list[int]:
        """Tokens of the rows that fit."""
        return [length for length in self.lengths if length <= self.limit]

    @property
    def too_long(self) -> int:
        """Rows that do not fit."""
        return len(self.lengths) - len(self.fitting)

    def counts(self) -> dict[str, int]:
        """For the report."""
        tokens = sum(len(row.encoded.input_ids) for row in self.rows)
        learnt = sum(label != IGNORED for row in self.rows for label in row.encoded.labels)
        used = self.fitting
        return {
            "examples": len(used),
            "too_long": self.too_long,
            "longest": max(used),
            "tokens": tokens,
            "trained_tokens": learnt,
        }


def read_data(spec: Spec, loaded: LoadedModel) -> Data:
    """All rows of a spec.

    Raises:
        ModelError: there is none, or one cannot be shown to the model.
    """
    limits = {
        "train.max_tokens": spec.train.max_tokens,
        "model.max_context": spec.model.max_context,
        "the model's own context": loaded.max_context,
    }
    limited_by = min(limits, key=lambda name: limits[name])
    limit = limits[limited_by]
    rows, lengths = _rows(spec, loaded, limit)
    return Data([row for row in rows if len(row.encoded.input_ids) <= limit], lengths, limit, limited_by)


def _rows(spec: Spec, loaded: LoadedModel, limit: int) -> tuple[list[Row], list[int]]:
    """Rows and lengths, without leaving any out."""
    settings = spec.train
    if settings.objective == "pretrain":
        from train.methods.pretrain import document_rows

        found = document_rows(spec.examples.with_name(COMPLETIONS), loaded, limit).rows
    elif settings.objective == "sft":
        found = training_rows(spec.examples, settings.data, loaded, UNLIMITED, spec.model.spotlight).rows
    else:
        return _pairs(spec, loaded)
    return list(found), [len(row.encoded.input_ids) for row in found]


def _pairs(spec: Spec, loaded: LoadedModel) -> tuple[list[Row], list[int]]:
    from train.methods.dpo import read_pairs

    if spec.train.preference.data is None:
        raise ModelError(f"objective: {spec.train.objective} has nothing to learn from", "Set train.preference.data")
    pairs, _ = read_pairs(spec.train.preference.data, loaded, UNLIMITED)
    rows = [
        Row(f"{pair.id} {name}", encoded)
        for pair in pairs
        for name, encoded in (("chosen", pair.chosen), ("rejected", pair.rejected))
    ]
    return rows, [pair.tokens for pair in pairs]


def check_lengths(data: Data, most: float) -> str:
    """A warning where some rows are too long; empty where none is.

    Args:
        most: largest share that may be left out.

    Raises:
        ModelError: more than that would be.
    """
    if not data.too_long:
        return ""
    longest, of = max(data.lengths), len(data.lengths)
    told = f"{data.too_long} of {of} examples are longer than {data.limit} tokens ({data.limited_by})"
    raisable = data.limited_by != "the model's own context"
    remedy = f"Raise {data.limited_by} (the longest has {longest} tokens)" if raisable else f"The longest has {longest}"
    remedy += "; or lower chunk.max_tokens or examples.passages"
    if not data.fitting:
        raise ModelError(f"all {told.partition(' of ')[2]}", remedy)
    if data.too_long / of > most:
        raise ModelError(
            f"{told} and would be left out, {data.too_long / of:.0%} where train.max_left_out = {most:g} allows "
            f"{most:.0%}",
            remedy,
        )
    return f"{told} and are left out"


def check_ends(data: Data, stops: Collection[int]) -> None:
    """Whether every answer's loss covers a token at which generation stops.

    Raises:
        ModelError: one does not, so that the model would never learn to stop.
    """
    for row in data.rows:
        labels = row.encoded.labels
        for run in row.encoded.learnt:
            if run.text is not None and labels[run.end - 1] not in stops:
                raise ModelError(
                    f"the end-of-turn token carries no loss in example {row.id}: the last trained token is "
                    f"{labels[run.end - 1]}, and generation stops at {sorted(stops)}",
                    "Choose a model whose chat template closes the assistant's turn with its end token",
                )


def check_held_out(spec: Spec) -> None:
    """Whether evaluation asks about nothing that is trained on.

    Raises:
        ModelError: documents or questions are in both halves.
    """
    examples: list[Example] = list(read_table(spec.examples, Example))
    held_out = [example for example in examples if example.split == "holdout"]
    trained = [example for example in examples if example.split == "train"]
    file, read = spec.examples, {example.doc_id for example in trained}
    if spec.train.objective == "pretrain":
        file = spec.examples.with_name(COMPLETIONS)
        read = {section.doc_id for section in read_table(file, Completion) if section.split == "train"}
    remedy = "Run `wellread examples` again, whose split keeps documents apart"
    if documents := {one.doc_id for one in held_out} & read - {""}:
        raise _shared(f"{len(documents)} document(s)", f"document {min(documents)}", file, remedy)
    if same := {_asked(one) for one in held_out} & {_asked(one) for one in trained}:
        raise _shared(f"{len(same)} question(s) with their passages", repr(min(same)[0]), spec.examples, remedy)
    own = {"sft": spec.train.data, "pretrain": None}.get(spec.train.objective, spec.train.preference.data)
    if own is not None and (lines := _repeating(own, held_out)):
        raise _shared(f"{len(lines)} conversation(s)", lines[0], own, "Take those lines out, or out of the evaluation")


def _shared(what: str, first: str, file: Path, remedy: str) -> ModelError:
    return ModelError(f"{what} of {file} would be trained on and evaluated on (the first: {first})", remedy)


def _asked(example: Example) -> tuple[str, tuple[str, ...]]:
    return example.question, tuple(passage.text for passage in example.passages)


def _repeating(file: Path, held_out: Sequence[Example]) -> list[str]:
    """Lines of the user's file that hold the prompt of a held-out example, or its question with its answer."""
    prompts = {build_messages(one.question, one.passages)[-1]["content"] for one in held_out}
    answered = {(_plain(one.question), _plain(one.answer)) for one in held_out}
    found = []
    for line in read_lines(file, REMEDY):
        turns = _turns(line)
        pairs = {(_plain(one["content"]), _plain(other["content"])) for one, other in pairwise(turns)}
        if pairs & answered or any(turn["content"] in prompts for turn in turns):
            found.append(line.where)
    return found


def _turns(line: Line) -> list[Turn]:
    """The messages of a conversation, or of a preference with its better answer."""
    if "rejected" not in line.fields:
        return conversation(line)[0]
    prompt, chosen, _ = preference(line)
    return [*prompt, Turn(role="assistant", content=chosen)]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def stops_of(loaded: LoadedModel) -> frozenset[int]:
    """Token ids at which generation stops.

    Raises:
        ModelError: there is none.
    """
    stops = stop_ids(loaded)
    if not stops:
        raise ModelError(
            f"model {loaded.name!r} names no token at which generation stops",
            "Set eos_token_id in its generation_config.json, or choose another model.name",
        )
    return stops
