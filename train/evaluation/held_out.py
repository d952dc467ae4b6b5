"""What a model is evaluated on: examples and documents that were kept out of its training, and the site's sections.

In: a version of the `examples` stage, and the versions that it was made from. Out: encoded examples, texts, names of
sections. Known limit: where the whole corpus is one document, or the documents' version was deleted, the passages of
the held-out examples stand for documents.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from configs.artifacts import Version, Workspace
from ingest.records import Chunk, Document, Example, read_table
from ingest.versions.ancestry import DOCUMENTS_STAGE, TABLES, ancestors

# torch and transformers take ten seconds.
if TYPE_CHECKING:
    from guards.spotlight import Mode
    from train.chat import Encoded
    from train.model import LoadedModel

EXAMPLES = TABLES["examples"]
NOWHERE = "(none)"


def held_out_examples(examples: Version) -> list[Example]:
    """All held-out examples, by id: ids are hashes, so that their order is random, and the same in every run."""
    rows = (row for row in read_table(examples.path / EXAMPLES, Example) if row.split == "holdout")
    return sorted(rows, key=lambda row: row.id)


def held_out_rows(
    examples: Version, loaded: "LoadedModel", limit: int, most: int, spotlight: "Mode"
) -> "tuple[list[tuple[Example, Encoded]], int]":
    """At most `most` held-out examples that fit in `limit` tokens, by id, and how many were left out as too long."""
    from train.chat import encode_fitting
    from train.model import stop_ids

    chosen = held_out_examples(examples)[:most]
    return encode_fitting(loaded.tokenizer, stop_ids(loaded), chosen, limit, spotlight)


def held_out_documents(workspace: Workspace, examples: Version, most: int) -> list[Document]:
    """At most `most` documents that no training example was made from, by id; see the module's known limit."""
    if not most:
        return []
    rows = list(read_table(examples.path / EXAMPLES, Example))
    trained_on = {row.doc_id for row in rows if row.split == "train"}
    held_out = [row for row in sorted(rows, key=lambda row: row.id) if row.split == "holdout"]
    wanted = sorted({row.doc_id for row in held_out if row.doc_id} - trained_on)[:most]
    found = list(_documents(workspace, examples, set(wanted))) if wanted else []
    return sorted(found, key=lambda one: one.id) if found else list(_passages(held_out))[:most]


def sections_of(examples: Sequence[Example]) -> dict[str, str]:
    """Example id -> the part of the site that it is about: the first part of its page's path in which pages differ, or
    its first heading where all are of one page."""
    homes = {row.id: _home(row) for row in examples}
    paths = {name: _path(chunk.url) for name, chunk in homes.items() if chunk}
    levels = zip(*paths.values(), strict=False)
    depth = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, levels))
    one_page = len({tuple(path) for path in paths.values()}) <= 1
    return {name: _section(chunk, paths.get(name, []), depth, one_page) for name, chunk in homes.items()}


def _section(home: Chunk | None, path: Sequence[str], depth: int, one_page: bool) -> str:
    if home is None:
        return NOWHERE
    if one_page:
        return home.headings[0] if home.headings else home.title or NOWHERE
    return path[depth] if len(path) > depth else "/"


def _home(row: Example) -> Chunk | None:
    """The passage that an example is about; None when none shown is."""
    return next((chunk for chunk in row.passages if chunk.doc_id == row.doc_id), None)


def _path(url: str) -> list[str]:
    return [unquote(part) for part in urlsplit(url).path.split("/") if part]


def _documents(workspace: Workspace, examples: Version, wanted: set[str]) -> Iterator[Document]:
    for version in ancestors(workspace, examples):
        if version.manifest.stage == DOCUMENTS_STAGE:
            left = set(wanted)
            for document in read_table(version.path / TABLES[DOCUMENTS_STAGE], Document):
                if document.id in left:
                    left.discard(document.id)
                    yield document
                if not left:
                    return


def _passages(rows: Iterable[Example]) -> Iterator[Document]:
    """The passages that examples are about, each as a document."""
    homes = {home.id: home for row in rows if (home := _home(row))}
    for home in homes.values():
        yield Document(home.id, home.url, home.title, home.text, ())
