"""The stage `retrievers`: from an index and its examples to a fine-tuned embedder, and which one is used.

    make_retriever   index, examples, votes -> retrievers     `model/`, a sentence-transformers folder; its figures
    use_if_better    a version of retrievers -> the one that is used, or a refusal

Which one is used (`ingest.retriever_in_use`) changes only when a version wins; one that loses stays for looking at.
Only these functions read the settings tree.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from configs.artifacts import Made, Version, Workspace, fingerprint_of
from configs.errors import ConfigError, GateRefused, SourceError
from configs.schema import Config
from feedback.store import Store
from ingest.embed import load_embedder
from ingest.examples.split import split_documents
from ingest.examples.stage import EXAMPLES
from ingest.passages import Passages
from ingest.records import Example, read_table
from ingest.retriever_in_use import RETRIEVERS, use
from ingest.search.hybrid import Ranker
from train.retriever.judge import Served, wins
from train.retriever.learn import Base, learn
from train.retriever.pairs import (
    Pair,
    example_pairs,
    given_pairs,
    heading_pairs,
    make_task,
    read_pairs,
    vote_pairs,
)
from train.retriever.task import Task

LOGIC = 2

Progress = Callable[[str, int, int | None], None]


def run_train_retriever(config: Config, progress: Progress, given: Path | None = None) -> Version:
    """Fine-tune the embedder, and use the result if it wins on held-out questions.

    Args:
        given: a JSONL file of the user's own pairs, `{"question": ..., "passage": ...}`.

    Raises:
        GateRefused: it did not win; the version is kept.
        ArtifactError: there is no index, no examples version, or too little in them.
        ConfigError: the search that is configured takes no embedder.
        ModelError: the embedder cannot be loaded, or training diverged.
    """
    version = make_retriever(config, progress, given)
    use_if_better(config, version)
    return version


def make_retriever(config: Config, progress: Progress, given: Path | None = None) -> Version:
    """The first half of `run_train_retriever`: train and compare. A run that was killed goes on where it was."""
    if config.retrieve.mode == "lexical":
        raise ConfigError(
            "retrieve.mode is lexical, a search by words that no embedder makes better",
            "Set retrieve.mode to hybrid or dense before training the embedder",
        )
    workspace = Workspace(config.root)
    index, examples = workspace.current("index"), workspace.current("examples")
    votes = _votes(config) if config.retriever.votes else []
    settings = config.retriever.model_dump(mode="json", exclude={"min_gain"})
    return workspace.build(
        RETRIEVERS,
        lambda folder: _fill(folder, config, index, examples, votes, given, progress),
        inputs={"index": index.id, "examples": examples.id},
        settings={
            **settings,
            "embedder": config.embed.model,
            "prefixes": [config.embed.query_prefix, config.embed.passage_prefix],
            "judged_by": [config.retrieve.fusion, config.retrieve.candidates],
            "votes": _fingerprint(votes),
            "given": _fingerprint_of_file(given),
            "seed": config.seed,
        },
        logic=LOGIC,
        resumable=True,
    )


def use_if_better(config: Config, version: Version) -> None:
    """Make a version the one that is used.

    Raises:
        GateRefused: its figures do not say that it is better.
    """
    figures = version.manifest.figures
    served: Served = "dense" if config.retrieve.mode == "dense" else "hybrid"
    if not wins(figures, config.retriever.min_gain, served):
        before, after = (figures[f"{served}_ndcg@10_{which}"] for which in ("base", "trained"))
        least = config.retriever.min_gain
        asked, lowered = (f"at least {least:.3f} ", " or retriever.min_gain") if least else ("", "")
        raise GateRefused(
            f"retriever {version.id} is not used: on held-out questions its {served} nDCG@10 is {after:.3f} against "
            f"{before:.3f}, and {asked}more is asked for",
            f"Collect votes or give --pairs, or lower retriever.learning_rate{lowered}",
        )
    use(config.root, version.id)


def _fill(
    folder: Path,
    config: Config,
    index: Version,
    examples: Version,
    votes: Sequence[Pair],
    given: Path | None,
    progress: Progress,
) -> Made:
    from train.retriever.fit import Recipe

    task = _task(config, index, examples, votes, read_pairs(given) if given else [], folder)
    chosen, searched = config.retriever, config.retrieve
    recipe = Recipe(
        **chosen.model_dump(include={"epochs", "learning_rate", "batch_size", "max_tokens", "blend"}), seed=config.seed
    )
    learned = learn(
        task,
        _base(config),
        folder,
        recipe,
        Ranker(fusion=searched.fusion, candidates=searched.candidates),
        negatives=chosen.hard_negatives,
        progress=progress,
    )
    counts = {"train": len(task.train), "holdout": len(task.holdout), "passages": len(task.chunks)}
    return Made(counts={**counts, "votes": len(votes)}, figures={**learned.judgement.figures(), **learned.figures})


def _task(
    config: Config,
    index: Version,
    examples: Version,
    votes: Sequence[Pair],
    given: Sequence[tuple[str, str]],
    folder: Path,
) -> Task:
    chunks = list(Passages.load(index.path))
    # As the examples were split: what the language model is judged with is not learned here either.
    split = examples.manifest.settings
    half_of = split_documents(chunks, split["holdout_share"], split["seed"], folder=folder)
    own, added = given_pairs(given, chunks)
    rows = read_table(examples.path / EXAMPLES, Example)
    pairs = [*own, *votes, *example_pairs(rows, half_of), *heading_pairs(chunks)]
    limits = config.retriever
    return make_task(
        [*chunks, *added],
        pairs,
        half_of,
        most_pairs=limits.max_pairs,
        most_passages=limits.max_passages,
        seed=config.seed,
    )


def _base(config: Config) -> Base:
    embed = config.embed
    rest = (embed.device, embed.batch_size, embed.query_prefix, embed.passage_prefix)
    return Base(embed.model, lambda name: load_embedder(name, *rest), embed.device)


def _votes(config: Config) -> list[Pair]:
    with closing(Store(config.database_url)) as store:
        return vote_pairs(store)


def _fingerprint(pairs: Sequence[Pair]) -> str:
    said = json.dumps([(pair.question, pair.chunk_id) for pair in pairs])
    return hashlib.sha256(said.encode()).hexdigest() if pairs else ""


def _fingerprint_of_file(path: Path | None) -> str:
    try:
        return fingerprint_of(path) if path else ""
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}", "Give a JSONL file of pairs") from None
