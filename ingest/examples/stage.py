"""The whole stage: from the passages and the index to the tables of an examples version.

In: passages, index, plain settings. Out: `examples.parquet`, `rejects.parquet`, with a teacher `teacher.jsonl` (what it
said, so that no question is paid for twice), where asked for `completions.parquet`; and counts for the manifest.

Killed at any point and run again into the same folder, it gives the same tables.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import SourceError
from ingest.decontaminate import EvaluationGrams
from ingest.examples.candidates import Candidate
from ingest.examples.completion import Completion, completions
from ingest.examples.contamination import without_contaminated
from ingest.examples.endpoint import Endpoint, Replies, ask_endpoint
from ingest.examples.make import Search, make_examples
from ingest.examples.split import split_documents
from ingest.examples.teacher import Rules, ask_teacher
from ingest.records import Chunk, Example, Progress, Reject, write_table

EXAMPLES, REJECTS, COMPLETIONS, REPLIES = "examples.parquet", "rejects.parquet", "completions.parquet", "teacher.jsonl"


@dataclass(frozen=True)
class Teacher:
    """A teacher, and how much it is asked.

    Attributes:
        pairs: questions for each passage.
        max_passages: passages that it is asked about.
        earlier: files of replies of other versions; what is in them is not asked again.
    """

    endpoint: Endpoint
    pairs: int
    max_passages: int
    rules: Rules
    earlier: Sequence[Path] = field(default=())


def fill_examples(
    folder: Path,
    chunks: Iterable[Chunk],
    index: Search,
    *,
    max_examples: int,
    passages: int,
    unanswerable_share: float,
    holdout_share: float,
    seed: int,
    with_completions: bool = False,
    evaluation_sets: Sequence[Path] = (),
    teacher: Teacher | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> dict[str, int]:
    """Write the tables. Returns their counts.

    Args:
        chunks: all chunks of the index, in reading order; read several times.
        evaluation_sets: files of texts, JSONL or Parquet, that no training row may overlap.

    Raises:
        ArtifactError: no passage gives a question with an answer.
        ModelError: the teacher cannot be asked.
        SourceError: an evaluation set cannot be read.
    """
    # Before a teacher is paid: a file may be missing.
    grams = EvaluationGrams.load(evaluation_sets)
    written, rejects = _written(folder, chunks, teacher, seed, progress) if teacher else ([], [])
    split_of = split_documents(chunks, holdout_share, seed, folder=folder)
    made = make_examples(
        chunks,
        index,
        max_examples=max_examples,
        passages=passages,
        unanswerable_share=unanswerable_share,
        holdout_share=holdout_share,
        seed=seed,
        written=written,
        split_of=split_of,
        progress=lambda done: progress("writing examples", done, None),
    )
    kept, contaminated = without_contaminated(made, grams)
    write_table(folder / EXAMPLES, kept, Example)
    write_table(folder / REJECTS, [*rejects, *contaminated], Reject)
    counts = _counts(kept, [*rejects, *contaminated])
    if with_completions:
        counts["completions"] = write_table(folder / COMPLETIONS, completions(chunks, split_of), Completion)
    return counts


def fingerprints(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file by its path: what an examples version depends on besides the files' names.

    Raises:
        SourceError: a file cannot be read.
    """
    try:
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    except OSError as error:
        raise SourceError(
            f"cannot read evaluation set {error.filename}: {error.strerror}", "Correct examples.evaluation_sets"
        ) from None


def _written(
    folder: Path, chunks: Iterable[Chunk], teacher: Teacher, seed: int, progress: Progress
) -> tuple[list[Candidate], list[Reject]]:
    endpoint = teacher.endpoint
    replies = Replies(folder / REPLIES, teacher.earlier)
    return ask_teacher(
        chunks,
        lambda prompts: ask_endpoint(
            prompts, endpoint, replies, lambda done, total: progress("asking the teacher", done, total)
        ),
        model=endpoint.model,
        pairs=teacher.pairs,
        max_passages=teacher.max_passages,
        rules=teacher.rules,
        seed=seed,
    )


def _counts(kept: Sequence[Example], rejects: Sequence[Reject]) -> dict[str, int]:
    split = Counter(row.split for row in kept)
    kinds = Counter(f"kind_{row.kind}" for row in kept)
    left_out = Counter(f"rejected_{reject.rule}" for reject in rejects)
    unanswerable = sum(not row.answerable for row in kept)
    return {
        "train": split["train"],
        "holdout": split["holdout"],
        "unanswerable": unanswerable,
        **dict(sorted((kinds + left_out).items())),
    }
