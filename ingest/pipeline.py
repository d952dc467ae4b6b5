"""The offline stages of this room, each from the settings to one version:

    run_ingest     site or folder -> pages -> extracted -> cleaned -> documents -> chunks
    run_examples   index -> examples

`run_index`, between the two, is in `ingest.index_stage`.

Only these functions read the settings tree; what they call takes plain values.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from configs.artifacts import Made, Version, Workspace, save_array, versions_of
from configs.errors import ArtifactError, SourceError
from configs.examples import TeacherSettings
from configs.schema import Config
from guards.policy import load_policy
from ingest.boilerplate import repeated_lines
from ingest.corpus import DOCUMENTS, REJECTS, Balance, Cleaned, Repeats, make_corpus
from ingest.dedup.semantic import Semantic
from ingest.embed import Vectors, load_embedder
from ingest.examples.endpoint import Endpoint, api_key
from ingest.examples.stage import EXAMPLES, REPLIES, Teacher, fill_examples, fingerprints
from ingest.examples.teacher import Rules
from ingest.executor import Executor, executor_of
from ingest.index_stage import open_index
from ingest.parts import GROUP_ROWS, Step, forget_parts, run_parts
from ingest.records import Example, Outcome, Progress, read_table, write_table
from ingest.source import PAGES, read_source
from ingest.steps import OUTCOMES, Clean, CutUp, Extract, write_cuts
from ingest.versions.profile import read_profile
from ingest.versions.report import facts_of, write_report

__all__ = [
    *("DOCUMENTS", "EXAMPLES", "REJECTS"),
    *("questions", "run_documents", "run_examples", "run_ingest"),
]

REPORT, REPEATED = "report.html", "repeated.npy"

# Packages of which another version may give other output for the same input.
READERS = ("lxml", "beautifulsoup4", "markdown-it-py", "docutils", "pypdfium2", "charset-normalizer", "ftfy")
CLEANERS = ("py3langid", "spacy")
# To be raised when a stage's code gives other output for the same input.
LOGIC = {"extracted": 2, "cleaned": 2, "documents": 2, "chunks": 2, "examples": 4}


def run_ingest(config: Config, progress: Progress) -> Version:
    """Read the configured source into chunks.

    Raises:
        ConfigError: no source is set, or the policy is wrong.
        SourceError: the source cannot be read, or nothing of it is worth keeping.
    """
    documents = run_documents(config, progress)
    if not documents.manifest.counts["documents"]:
        reasons = ", ".join(f"{name} {count}" for name, count in _reject_counts(documents).items())
        raise SourceError(
            f"none of the {documents.manifest.counts['pages']} pages read was kept ({reasons})",
            "`wellread data rejects` says why; the limits are under clean, and pages that scripts fill are empty",
        )
    return _chunks(config, documents, progress)


def run_documents(config: Config, progress: Progress) -> Version:
    """The first part of `run_ingest`: the data set that the passages are cut from."""
    workspace = Workspace(config.root)
    # A mistake in it is told before anything is read.
    policy = load_policy(config.guards.policy, only=["document"])
    executor = _executor(config)
    pages = read_source(workspace, config.source, progress)
    repair = config.clean.repair
    # Crawls are counted for each source, and another version of a reader may read the same page otherwise.
    settings = {"repair": repair, "source": pages.manifest.work, "readers": versions_of(READERS)}
    extracted = _outcomes(workspace, "extracted", lambda _: Extract(repair), pages, PAGES, settings, executor, progress)
    cleaned = _cleaned(config, extracted, policy.version, executor, progress)
    return _documents(config, pages, extracted, cleaned, progress)


def run_examples(config: Config, progress: Progress) -> Version:
    """Make training and evaluation examples from the current index.

    Raises:
        ArtifactError: there is no index, or nothing in it to make an example from.
        SourceError: an evaluation set cannot be read.
        ModelError: the teacher cannot be asked.
    """
    workspace = Workspace(config.root)
    index = workspace.current("index")
    chosen = config.examples
    sets = fingerprints(chosen.evaluation_sets)
    earlier = [version.path / REPLIES for version in workspace.versions("examples")]

    def make(folder: Path) -> Made:
        searched = open_index(config, index.path)
        counts = fill_examples(
            folder,
            searched.passages,
            searched,
            **chosen.model_dump(include={"max_examples", "passages", "unanswerable_share", "holdout_share"}),
            seed=config.seed,
            with_completions=chosen.completions,
            evaluation_sets=chosen.evaluation_sets,
            teacher=_teacher(chosen.teacher, chosen.teacher.url, earlier) if chosen.teacher.url else None,
            progress=progress,
        )
        return Made(counts=counts)

    # How fast a teacher is asked changes nothing of what it says.
    settings = chosen.model_dump(mode="json", exclude={"teacher": {"concurrency", "timeout_s", "retries"}})
    return workspace.build(
        "examples",
        make,
        inputs={"index": index.id},
        settings={**settings, "seed": config.seed, "evaluation_sets": sets},
        logic=LOGIC["examples"],
        # What a teacher has answered is paid for: a run that ends early keeps it for the next.
        resumable=chosen.teacher.url is not None,
    )


def _teacher(teacher: TeacherSettings, url: str, earlier: Sequence[Path]) -> Teacher:
    asked = {"model", "temperature", "max_tokens", "concurrency", "timeout_s", "retries"}
    endpoint = Endpoint(url, key=api_key(), **teacher.model_dump(include=asked))
    rules = Rules(teacher.min_support, teacher.support_run)
    return Teacher(endpoint, teacher.pairs, teacher.max_passages, rules, earlier)


def questions(config: Config, limit: int) -> list[str]:
    """Questions that the documents answer and the model was not trained on; empty before there are examples."""
    try:
        version = Workspace(config.root).current("examples")
    except ArtifactError:
        return []
    rows = read_table(version.path / EXAMPLES, Example)
    held_out = (row.question for row in rows if row.split == "holdout" and row.answerable)
    return sorted(islice(held_out, 10 * limit), key=len)[:limit]


def _cleaned(config: Config, extracted: Version, policy: str, executor: Executor, progress: Progress) -> Version:
    clean, boilerplate = config.clean, config.clean.boilerplate
    settings = {
        "rules": clean.rules,
        "thresholds": clean.thresholds(),
        "boilerplate": boilerplate.model_dump(),
        "policy": policy,
        "tokens": config.embed.model,
        "cleaners": versions_of(CLEANERS),
    }

    def step(folder: Path) -> Clean:
        repeated = folder / REPEATED if boilerplate.remove else None
        if repeated and not repeated.exists():
            rows = read_table(extracted.path / OUTCOMES, Outcome)
            documents = (document for row in rows for document in row.documents)
            found = repeated_lines(documents, min_share=boilerplate.min_share, min_pages=boilerplate.min_pages)
            save_array(repeated, found)
        thresholds = json.dumps(settings["thresholds"])
        return Clean(clean.rules, thresholds, config.guards.policy, policy, config.embed.model, repeated)

    return _outcomes(Workspace(config.root), "cleaned", step, extracted, OUTCOMES, settings, executor, progress)


def _outcomes(
    workspace: Workspace,
    stage: str,
    step: Callable[[Path], Step[Any, Outcome]],
    source: Version,
    table: str,
    settings: Mapping[str, Any],
    executor: Executor,
    progress: Progress,
) -> Version:
    """One stage that goes row by row; what has not changed since the previous version is taken over from it.

    Args:
        step: makes the step, given the stage's folder.
    """
    previous = workspace.previous(stage, settings, logic=LOGIC[stage])

    def make(folder: Path) -> Made:
        results = run_parts(
            step(folder),
            source.path / table,
            folder,
            previous=previous.path if previous else None,
            executor=executor,
            progress=partial(progress, f"{stage.removesuffix('ed')}ing"),
        )
        counts = Counter(documents=0, rejected=0)

        def counting() -> Iterator[Outcome]:
            for outcome in results:
                counts.update(documents=len(outcome.documents), rejected=len(outcome.rejects))
                counts.update(f"rejected_{reject.rule}" for reject in outcome.rejects)
                yield outcome

        write_table(folder / OUTCOMES, counting(), Outcome, batch=GROUP_ROWS)
        forget_parts(folder)
        return Made(counts=counts)

    inputs = {source.manifest.stage: source.id}
    return workspace.build(stage, make, inputs=inputs, settings=settings, logic=LOGIC[stage], resumable=True)


def _documents(config: Config, pages: Version, extracted: Version, cleaned: Version, progress: Progress) -> Version:
    workspace = Workspace(config.root)
    dedup, bias = config.dedup, config.clean.bias
    settings = {**dedup.model_dump(mode="json"), "bias": bias.model_dump(mode="json")}
    # Its tables say themselves what they were made with.
    previous = workspace.versions("documents")[-1:]
    funnel = {
        "pages": pages.manifest.counts["pages"],
        "extracted": extracted.manifest.counts["documents"],
        "cleaned": cleaned.manifest.counts["documents"],
    }

    def report(done: int) -> None:
        progress("comparing", done, funnel["cleaned"])

    def make(folder: Path) -> Made:
        semantic = dedup.semantic.enabled and Semantic(config.embed.model, _encode(config), dedup.semantic.threshold)
        paragraphs = dedup.paragraphs
        made = make_corpus(
            Cleaned(cleaned.path, Balance(bias.balance, bias.max_share)),
            folder,
            Repeats(dedup.near, dedup.threshold, semantic or None, paragraphs.repeated, paragraphs.min_words),
            previous=previous[0].path if previous else None,
            funnel=funnel,
            progress=report,
        )
        facts = facts_of(workspace, cleaned, made.counts, read_profile(folder))
        write_report(folder / REPORT, facts, folder / REJECTS)
        return made

    inputs = {"cleaned": cleaned.id}
    return workspace.build("documents", make, inputs=inputs, settings=settings, logic=LOGIC["documents"])


def _chunks(config: Config, documents: Version, progress: Progress) -> Version:
    workspace = Workspace(config.root)
    prefix = config.embed.passage_prefix
    settings = {**config.chunk.model_dump(mode="json"), "embedder": config.embed.model, "passage_prefix": prefix}
    previous = workspace.previous("chunks", settings, logic=LOGIC["chunks"])
    step = CutUp(config.embed.model, config.chunk.max_tokens, config.chunk.min_tokens, prefix)

    def make(folder: Path) -> Made:
        cuts = run_parts(
            step,
            documents.path / DOCUMENTS,
            folder,
            previous=previous.path if previous else None,
            executor=_executor(config),
            progress=partial(progress, "chunking"),
        )
        made = write_cuts(folder, cuts)
        forget_parts(folder)
        return made

    inputs = {"documents": documents.id}
    return workspace.build("chunks", make, inputs=inputs, settings=settings, logic=LOGIC["chunks"], resumable=True)


def _executor(config: Config) -> Executor:
    return executor_of(config.work.executor, config.work.workers)


def _encode(config: Config) -> Callable[[Sequence[str]], Vectors]:
    return load_embedder(config.embed.model, config.embed.device, config.embed.batch_size).encode


def _reject_counts(version: Version) -> dict[str, int]:
    prefix = "rejected_"
    return {name.removeprefix(prefix): n for name, n in version.manifest.counts.items() if name.startswith(prefix)}
