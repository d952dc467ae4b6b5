"""Deduplication: how well it finds the versions of a page, and how fast it is beside its peers on the same texts.

In: a folder with `docs.jsonl.gz` (id, text), `truth_clusters.jsonl.gz` (id, cluster) and `pairs.jsonl.gz` (a, b, label,
jaccard5), documentation pages of several versions; and any folder of HTML pages to cut paragraphs from. Out: JSON.

Quality, at each threshold: precision, recall and F1 of pairs of documents, where a pair is right when both are versions
of one page, over all pairs there are. `pairs`: those whose verified similarity reaches the threshold; `clusters`: those
in one connected component of the former, as MinHash clusterings are usually scored; `verdicts`: those that
`find_duplicates` gives the same oldest document. `labelled` scores `pairs` on the labelled pairs only, with and without
hard negatives, which are pairs of different pages that share 30% of their word 5-grams or more. `meeting` is the share
of pairs over the threshold, by brute force, that share a band.

Speed: documents a second of one core, from texts to which ones repeat which. Side by side: this project's
`find_duplicates` with its tables written, rensa's and datasketch's LSH with the same shingles and the same
verification, rensa's with single words, which is less work, and rensa's flags, which name no match and verify nothing.
`recall`: of the documents that have an older one over the threshold, as any method with these shingles has verified,
the share found to repeat one. This project compares with kept documents only, so its share is smaller by design.

    python -m bench.dedup --data FOLDER --pages FOLDER
"""

import argparse
import gzip
import json
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

# Read when the libraries are loaded: one core each.
os.environ |= {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

import numpy as np
from datasketch import MinHash, MinHashLSH
from lxml import html
from rensa import RMinHash, RMinHashLSH

from ingest.dedup.candidates import pairs_sharing_a_band
from ingest.dedup.find import find_duplicates, judged
from ingest.dedup.minhash import SLOTS, bands_for
from ingest.dedup.shingles import WORDS
from ingest.dedup.signatures import write_signatures
from ingest.dedup.verify import ShingleFile
from ingest.records import Document

HARD = 0.3
Pair = frozenset[str]
Texts = Mapping[str, str]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a gzipped JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def ours(texts: Texts, threshold: float) -> dict[Pair, float]:
    """Verified pairs of at least this similarity, by the parts of the pipeline."""
    documents = [Document(name, name, "", text, ()) for name, text in texts.items()]
    bands = bands_for(threshold)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        write_signatures(documents, out, previous=None, bands=bands)
        pairs = pairs_sharing_a_band(out, np.arange(len(documents)))
        found = {}
        with ShingleFile(out) as shingles:
            shingles.collect(documents, set(pairs.ravel().tolist()))
            for newer, older in pairs.tolist():
                if (similarity := shingles.similarity(newer, older)) >= threshold:
                    found[frozenset((documents[newer].id, documents[older].id))] = similarity
    return found


def verdicts(texts: Texts, threshold: float) -> dict[str, str]:
    """For each document the one that it repeats, itself where there is none, as the pipeline decides."""
    documents = [Document(name, name, "", text, ()) for name, text in texts.items()]
    with tempfile.TemporaryDirectory() as folder:
        find_duplicates(lambda: iter(documents), Path(folder), previous=None, threshold=threshold)
        first = {
            document.id: verdict.matched_id if verdict else document.id
            for document, verdict in judged(documents, Path(folder))
        }
    # An exact copy names the oldest of its text, which may itself repeat another.
    return {name: first[first[name]] for name in first}


def shingle_set(text: str) -> set[tuple[str, ...]]:
    """The word shingles of a text, by brute force."""
    words = re.findall(r"\w+", text.casefold())
    return set(zip(*(words[place:] for place in range(WORDS)), strict=False))


def jaccard(first: set[Any], second: set[Any]) -> float:
    """Of two sets."""
    shared = len(first & second)
    return shared / max(len(first) + len(second) - shared, 1)


def components(names: Iterable[str], pairs: Iterable[Pair]) -> dict[str, str]:
    """Union-find: a representative for each name."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for first, second in map(sorted, pairs):
        parent[root(second)] = root(first)
    return {name: root(name) for name in parent}


def together(groups: Mapping[str, str]) -> set[Pair]:
    """The pairs of names of the same group."""
    members: dict[str, list[str]] = {}
    for name, group in groups.items():
        members.setdefault(group, []).append(name)
    return {frozenset(pair) for names in members.values() for pair in combinations(names, 2)}


def score(found: set[Pair], right: set[Pair]) -> dict[str, float]:
    """Precision, recall and F1."""
    hits = len(found & right)
    precision, recall = hits / max(len(found), 1), hits / max(len(right), 1)
    f1 = 2 * hits / max(len(found) + len(right), 1)
    return {"precision": round(precision, 4), "recall": round(recall, 4), "f1": round(f1, 4)}


def labelled(rows: Sequence[dict[str, Any]], found: set[Pair], *, hard: bool) -> dict[str, float]:
    """Scores on the labelled pairs; the same text under another path is neither right nor wrong."""
    kept = [
        row
        for row in rows
        if row["label"] == "same_page" or (row["label"] == "different_page" and (hard or not _hard(row)))
    ]
    right = {frozenset((row["a"], row["b"])) for row in kept if row["label"] == "same_page"}
    shown = {frozenset((row["a"], row["b"])) for row in kept}
    return score(found & shown, right)


def _hard(row: Mapping[str, Any]) -> bool:
    return bool(row["jaccard5"] >= HARD)


def quality(data: Path, thresholds: Sequence[float]) -> dict[str, Any]:
    """Scores on the versions of documentation pages."""
    texts = {row["id"]: row["text"] for row in lines_of(data / "docs.jsonl.gz")}
    clusters = {row["id"]: row["cluster"] for row in lines_of(data / "truth_clusters.jsonl.gz")}
    rows = lines_of(data / "pairs.jsonl.gz")
    right = together(clusters)
    sets = {name: shingle_set(text) for name, text in texts.items()}
    brute = {frozenset(pair): jaccard(sets[pair[0]], sets[pair[1]]) for pair in combinations(texts, 2)}
    figures: dict[str, Any] = {"documents": len(texts), "right_pairs": len(right)}
    figures["hard_negatives"] = sum(row["label"] == "different_page" and _hard(row) for row in rows)
    for threshold in thresholds:
        found = ours(texts, threshold)
        real = {pair for pair, similarity in brute.items() if similarity >= threshold}
        figures[str(threshold)] = {
            "pairs": score(set(found), right),
            "clusters": score(together(components(texts, found)), right),
            "verdicts": score(together(verdicts(texts, threshold)), right),
            "labelled": labelled(rows, set(found), hard=True),
            "labelled_without_hard": labelled(rows, set(found), hard=False),
            "meeting": round(len(set(found) & real) / max(len(real), 1), 4),
            "false_positives": len(set(found) - real),
        }
    return figures


def paragraphs(pages: Path, count: int, length: int = 60, seed: int = 7) -> dict[str, str]:
    """Pieces of `length` words, a tenth of them near-copies of others with one to six words replaced."""
    rng = random.Random(seed)
    pieces: list[str] = []
    for path in sorted(pages.rglob("*.html")):
        words = html.fromstring(path.read_bytes()).text_content().split()
        pieces += [" ".join(words[at : at + length]) for at in range(0, len(words) - length, length)]
    rng.shuffle(pieces)
    pieces = pieces[: count - count // 10]
    for piece in rng.sample(pieces, min(count // 10, len(pieces))):
        words = piece.split()
        for at in rng.sample(range(length), rng.randint(1, 6)):
            words[at] = f"word{rng.randrange(10**6)}"
        pieces.append(" ".join(words))
    return {f"{number:06}": piece for number, piece in enumerate(pieces)}


def by_wellread(texts: Texts, threshold: float) -> set[int]:
    """The pipeline."""
    documents = [Document(name, name, "", text, ()) for name, text in texts.items()]
    with tempfile.TemporaryDirectory() as folder:
        find_duplicates(lambda: iter(documents), Path(folder), previous=None, threshold=threshold)
        found = judged(documents, Path(folder))
        return {number for number, (_, verdict) in enumerate(found) if verdict}


def by_rensa(texts: Texts, threshold: float) -> set[int]:
    """rensa's LSH and verification."""
    sets = [shingle_set(text) for text in texts.values()]
    return _rensa(sets, [[" ".join(words) for words in one] for one in sets], threshold)


def by_rensa_words(texts: Texts, threshold: float) -> set[int]:
    """The same over single words as they stand."""
    tokens = [text.split() for text in texts.values()]
    return _rensa([set(words) for words in tokens], tokens, threshold)


def _rensa(sets: Sequence[set[Any]], tokens: Sequence[Sequence[str]], threshold: float) -> set[int]:
    hashes = RMinHash.from_token_sets(tokens, num_perm=SLOTS, seed=42)
    index = RMinHashLSH(threshold=threshold, num_perm=SLOTS, num_bands=_even_bands(threshold))
    index.insert_many(hashes)
    candidates = ((first, second) for first, row in enumerate(index.query_all(hashes)) for second in row)
    return _verified(sets, candidates, threshold)


def by_rensa_flags(texts: Texts, threshold: float) -> set[int]:
    """rensa's batch of flags, its fastest path on whole shingle sets: no matches, no verification."""
    tokens = [[" ".join(words) for words in shingle_set(text)] for text in texts.values()]
    matrix = RMinHash.digest_matrix_from_token_sets(tokens, num_perm=SLOTS, seed=42)
    index = RMinHashLSH(threshold=threshold, num_perm=SLOTS, num_bands=_even_bands(threshold))
    flags = index.query_duplicate_flags_matrix_one_shot(matrix)
    return {number for number, flag in enumerate(flags) if flag}


def by_datasketch(texts: Texts, threshold: float) -> set[int]:
    """datasketch's LSH and verification."""
    sets = [shingle_set(text) for text in texts.values()]
    encoded = [[" ".join(words).encode() for words in one] for one in sets]
    hashes = MinHash.bulk(encoded, num_perm=SLOTS)
    index = MinHashLSH(params=(_even_bands(threshold), SLOTS // _even_bands(threshold)), num_perm=SLOTS)
    with index.insertion_session() as session:
        for number, one in enumerate(hashes):
            session.insert(number, one)
    candidates = ((first, second) for first, one in enumerate(hashes) for second in index.query(one))
    return _verified(sets, candidates, threshold)


def _even_bands(threshold: float) -> int:
    """The peers want bands of equal size; the largest ones with the recall that this project asks for."""
    rows = max(rows for rows in (1, 2, 4, 8, 16) if rows <= bands_for(threshold).rows)
    return SLOTS // rows


def _verified(sets: Sequence[set[Any]], candidates: Iterable[tuple[int, int]], threshold: float) -> set[int]:
    """The later ones of the pairs over the threshold; one match is enough, so the rest is not compared."""
    found: set[int] = set()
    for first, second in candidates:
        if second < first and first not in found and jaccard(sets[first], sets[second]) >= threshold:
            found.add(first)
    return found


METHODS: dict[str, Callable[[Texts, float], set[int]]] = {
    "wellread": by_wellread,
    "rensa": by_rensa,
    "rensa_words": by_rensa_words,
    "rensa_flags": by_rensa_flags,
    "datasketch": by_datasketch,
}
# Those that verify the same similarity.
COMPARABLE = ("wellread", "rensa", "datasketch")


def speed(texts: Texts, threshold: float, runs: int) -> dict[str, Any]:
    """Documents per CPU second, the best of some runs in turn, and the share of repeating documents found."""
    best: dict[str, float] = {}
    found: dict[str, set[int]] = {}
    for _ in range(runs):
        for name, method in METHODS.items():
            started = time.process_time()
            found[name] = method(texts, threshold)
            best[name] = min(best.get(name, float("inf")), time.process_time() - started)
    every = set().union(*(found[name] for name in COMPARABLE))
    figures: dict[str, Any] = {"documents": len(texts), "repeating": len(every), "threshold": threshold}
    for name, seconds in best.items():
        figures[name] = {"documents_per_s": round(len(texts) / seconds)}
        if name in COMPARABLE:
            figures[name]["recall"] = round(len(found[name]) / max(len(every), 1), 4)
    return figures


def _versions(data: Path) -> Iterator[tuple[str, str]]:
    for row in lines_of(data / "docs.jsonl.gz"):
        yield row["id"], row["text"]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of versions of documentation pages")
    parser.add_argument("--pages", type=Path, help="folder of HTML pages to cut paragraphs from")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.5, 0.8, 0.9])
    parser.add_argument("--paragraphs", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    if options.data:
        figures["quality"] = quality(options.data, options.thresholds)
        figures["speed_documents"] = speed(dict(_versions(options.data)), options.thresholds[0], options.runs)
    if options.pages:
        figures["speed_paragraphs"] = speed(paragraphs(options.pages, options.paragraphs), 0.8, options.runs)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
