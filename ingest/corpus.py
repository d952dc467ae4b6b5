"""The data set of a run: the cleaned documents without those that repeat others, and every reject with its reason.

In: the outcomes of cleaning, sorted by url. Out, in one folder: `documents.parquet` (Document), `rejects.parquet`
(Reject, of extraction, cleaning and here), both sorted by url.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from configs.artifacts import Made, fingerprint_of
from ingest.dedup import ExactDedup
from ingest.parts import GROUP_ROWS
from ingest.records import Document, Outcome, Reject, TableWriter, read_table
from ingest.steps import OUTCOMES, SAMPLE, counted

DOCUMENTS, REJECTS = "documents.parquet", "rejects.parquet"


def make_corpus(cleaned: Path, folder: Path, *, progress: Callable[[int], None]) -> Made:
    """Write the data set.

    Args:
        cleaned: folder of the outcomes.
        folder: where to.
        progress: called with the number of documents looked at.

    Returns:
        Counts: documents, rejected_<rule>, and what the guards counted. The fingerprint is that of both tables.
    """
    counts: Counter[str] = Counter(redacted=0)
    dedup = ExactDedup()
    documents = TableWriter(folder / DOCUMENTS, Document, batch=GROUP_ROWS)
    with documents, TableWriter(folder / REJECTS, Reject) as rejects:
        for done, outcome in enumerate(read_table(cleaned / OUTCOMES, Outcome), 1):
            counts.update(dict(counted(outcome)))
            left_out = list(outcome.rejects)
            for document in outcome.documents:
                if original := dedup.duplicate_of(document):
                    left_out.append(_duplicate(document, original))
                else:
                    documents.add(document)
            for reject in left_out:
                rejects.add(reject)
                counts[f"rejected_{reject.rule}"] += 1
            progress(done)
    return Made(
        counts={"documents": documents.rows, **dict(sorted(counts.items()))},
        fingerprint=fingerprint_of(folder / DOCUMENTS, folder / REJECTS),
    )


def _duplicate(document: Document, original: str) -> Reject:
    detail, sample = f"same text as {original}", document.text[:SAMPLE]
    return Reject(document.url, "duplicate", detail, 1.0, 1.0, original, sample)
