"""Training rows that give away what is evaluated on are left out, and listed.

In: examples of both halves, and the grams of evaluation sets. Out: the examples without those training rows, and a
reject of the rule `contaminated` for each, which names the set and the words.
"""

from collections.abc import Iterable, Iterator, Sequence

from ingest.decontaminate import EvaluationGrams, Hit
from ingest.records import Example, Reject

HELD_OUT = "our held-out rows"


def without_contaminated(
    examples: Sequence[Example], evaluation: EvaluationGrams
) -> tuple[list[Example], list[Reject]]:
    """The examples without the training rows that share 13 words in a row with an evaluation set or a held-out row.

    Of a training row the passages count, too: one that only shows what is asked for elsewhere gives it away as well.
    """
    held_out = [row for row in examples if row.split == "holdout"]
    sets = (evaluation, EvaluationGrams.from_texts({HELD_OUT: _asked_and_answered(held_out)}))
    # An answer may be shorter than the runs of words that are looked for.
    known = {_answer(row).casefold() for row in held_out if row.answerable}
    kept: list[Example] = []
    rejects: list[Reject] = []
    for row in examples:
        if row.split == "holdout":
            kept.append(row)
        elif hit := _first_hit(row, sets):
            rejects.append(_contaminated(row, f"overlaps with {hit.set_name}: {hit.gram}"))
        elif _answer(row).casefold() in known:
            rejects.append(_contaminated(row, f"has the same answer as one of {HELD_OUT}: {_answer(row)}"))
        else:
            kept.append(row)
    return kept, rejects


def _first_hit(row: Example, sets: Sequence[EvaluationGrams]) -> Hit | None:
    texts = [*_asked_and_answered([row]), *(chunk.text for chunk in row.passages)]
    return next((hit for grams in sets for text in texts if (hit := grams.overlaps(text))), None)


def _asked_and_answered(rows: Iterable[Example]) -> Iterator[str]:
    """Questions and answers; not the sentence that declines, which is the same in every row."""
    for row in rows:
        yield row.question
        if row.answerable:
            yield _answer(row)


def _answer(row: Example) -> str:
    """The answer without its citation marker."""
    return row.answer.rpartition(" [")[0] or row.answer


def _contaminated(row: Example, detail: str) -> Reject:
    url = next((chunk.url for chunk in row.passages if chunk.doc_id == row.doc_id), row.passages[0].url)
    return Reject(url, "contaminated", detail, sample=row.question)
