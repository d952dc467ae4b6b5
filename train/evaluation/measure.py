"""One model, measured: answers to held-out questions, perplexity of held-out documents, probes, general questions.

In: a loaded model, what it is asked, and a file of what an earlier, killed run has already got from it. Out: rows,
`{"id", "values": {figure: value}, ...}`, in the order of what was asked. Each batch is kept as soon as it is done, and
batches are the same however often a run was killed, so that their answers are, too.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ingest.records import Document, Example, Progress
from train.chat import Encoded, Turn, prompt_ids
from train.evaluation.answers import answered, continued, like_length
from train.evaluation.general import General
from train.evaluation.jsonl import Kept, Rows
from train.evaluation.metrics import abstains, values
from train.evaluation.perplexity import DocumentPerplexity
from train.evaluation.probes import Probe, judged
from train.model import LoadedModel


@dataclass(frozen=True)
class Work:
    """A model at work.

    Attributes:
        kept: what it has done so far.
        batch_size: prompts that it answers at once.
        progress: told what it does, how much of it is done, and of how much.
    """

    loaded: LoadedModel
    kept: Kept
    batch_size: int = 1
    progress: Progress = lambda _what, _done, _total: None


def measure_answers(
    work: Work, chosen: Sequence[tuple[Example, Encoded]], sections: Mapping[str, str], max_new_tokens: int
) -> Rows:
    """Answer held-out examples.

    Args:
        sections: example id -> part of the site.
    """

    def batch(places: Sequence[int]) -> Rows:
        found = answered(work.loaded, [chosen[place][1] for place in places], max_new_tokens)
        return [{"answer": one.text, "loss": one.loss, "tokens": one.tokens} for one in found]

    names = [f"answer {row.id}" for row, _ in chosen]
    found = _each(work, names, [len(encoded.input_ids) for _, encoded in chosen], batch)
    return [_answer_row(row, one, sections) for (row, _), one in zip(chosen, found, strict=True)]


def measure_documents(work: Work, documents: Sequence[Document], *, window: int, stride: int, max_tokens: int) -> Rows:
    """Perplexity of documents, see `DocumentPerplexity`; those of less than two tokens have no value."""
    fits = work.loaded.max_context

    def batch(places: Sequence[int]) -> Rows:
        # evaluate makes its cache folder even when it keeps everything in memory.
        with tempfile.TemporaryDirectory() as folder:
            found = DocumentPerplexity(keep_in_memory=True, cache_dir=folder).compute(
                predictions=[documents[place].text for place in places],
                loaded=work.loaded,
                window=min(window, fits),
                stride=min(stride, fits),
                max_tokens=max_tokens,
            )
        pairs = zip(found["losses"], found["tokens"], strict=True)
        return [{"loss": loss, "tokens": tokens} for loss, tokens in pairs]

    names = [f"document {document.id}" for document in documents]
    one_by_one = replace(work, batch_size=1)
    found = _each(one_by_one, names, [len(document.text) for document in documents], batch)
    return [
        {
            "id": document.id,
            "url": document.url,
            "tokens": one["tokens"],
            "values": {"document_loss": one["loss"]} if one["tokens"] else {},
        }
        for document, one in zip(documents, found, strict=True)
    ]


def measure_probes(work: Work, probes: Sequence[Probe], max_new_tokens: int) -> Rows:
    """Answers to the probes, judged by the guards."""
    asked = {f"probe {probe.id}": probe.messages() for probe in probes}
    answers = _asked(work, asked, max_new_tokens)
    return [
        {"id": probe.id, "prompt": probe.prompt, "answer": answer, "values": judged(probe, answer)}
        for probe, answer in zip(probes, answers, strict=True)
    ]


def measure_general(work: Work, questions: Sequence[General], max_new_tokens: int) -> Rows:
    """Answers to the general questions."""
    asked = {f"question {one.id}": one.messages() for one in questions}
    answers = _asked(work, asked, max_new_tokens)
    return [
        {
            "id": one.id,
            "topic": one.kind,
            "question": one.question,
            "answer": answer,
            "values": {"general_accuracy": float(one.right(answer))},
        }
        for one, answer in zip(questions, answers, strict=True)
    ]


def _asked(work: Work, asked: Mapping[str, list[Turn]], max_new_tokens: int) -> list[str]:
    prompts = [prompt_ids(work.loaded.tokenizer, messages) for messages in asked.values()]

    def batch(places: Sequence[int]) -> Rows:
        texts = continued(work.loaded, [prompts[place] for place in places], max_new_tokens)
        return [{"answer": text} for text in texts]

    return [one["answer"] for one in _each(work, list(asked), list(map(len, prompts)), batch)]


def _each(work: Work, names: Sequence[str], lengths: Sequence[int], batch: Callable[[Sequence[int]], Rows]) -> Rows:
    """What `batch` makes of each place, in batches of like length; what is kept already is not made again.

    Args:
        names: of each place, the set's name first.
    """
    finished = 0
    for places in like_length(lengths, work.batch_size):
        if any(names[place] not in work.kept.rows for place in places):
            found = zip(places, batch(places), strict=True)
            work.kept.add({"id": names[place], **row} for place, row in found)
        finished += len(places)
        work.progress(f"measure {names[0].split()[0]}s", finished, len(names))
    return [work.kept.rows[name] for name in names]


def _answer_row(row: Example, found: Mapping[str, Any], sections: Mapping[str, str]) -> dict[str, Any]:
    answer = found["answer"]
    figures = values(answer, row.answer, row.answerable) | {"loss": found["loss"]}
    return {
        "id": row.id,
        "question": row.question,
        "answer": answer,
        "expected": row.answer,
        "answerable": row.answerable,
        "kind": row.kind,
        "section": sections.get(row.id, ""),
        "abstained": abstains(answer),
        "values": {name: round(value, 6) for name, value in figures.items()},
        "tokens": found["tokens"],
        "passages": [chunk.url for chunk in row.passages],
    }
