"""The vector index: what each kind costs to build, keep, open, change and search, and misses, beside bare FAISS.

In: a folder of `.npy` files of unit vectors. `SET.queries.npy` asks for what is in `SET.NAME.npy`; the latter is
stored, widened to `--count` by mixing pairs and adding noise. Without one, a mixture of Gaussians. Out: JSON.

Building uses all cores that OMP_NUM_THREADS leaves; a search is one query on one thread, alone. Times are of the wall
and, as `cpu`, of the processor, which other programs on the machine disturb less. `recall_at_10` and `recall_at_100`:
share of the exact nearest among those found. `delta`: 1% of the vectors replaced, saved into another folder; what that
costs, what it adds to the disk, and what a search costs after it. `filtered`: only a share is allowed.
`bare` is FAISS called directly: IndexFlatIP, and the very graph that the index has built.

    python -m bench.vectors --vectors FOLDER --count 100000
    python -m bench.vectors --vectors FOLDER --count 100000 --sweep
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Read when FAISS is loaded: threads that wait for work should not take the cores from those that have some.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import faiss
import numpy as np

from bench.loop import machine
from configs.artifacts import versions_of
from ingest.vectors.base import Vectors
from ingest.vectors.faiss_index import FaissIndex
from ingest.vectors.kinds import Params

SHARES = (0.5, 0.2, 0.1, 0.05, 0.01)
SWEEP = ((16, 100, True), (16, 200, True), (24, 100, True), (32, 100, True), (32, 200, False), (48, 200, False))
SEARCHES = (64, 96, 128, 192, 256)


def unit(vectors: Vectors) -> Vectors:
    """The same directions at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def widened(real: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """As many vectors as asked for: the real ones, then mixtures of two of them with noise."""
    if len(real) >= count:
        return real[rng.permutation(len(real))[:count]]
    wanted = count - len(real)
    first, second = rng.integers(0, len(real), (2, wanted))
    weight = rng.uniform(0.5, 0.9, (wanted, 1)).astype(np.float32)
    noise = rng.standard_normal((wanted, real.shape[1])).astype(np.float32) * np.float32(0.3 / real.shape[1] ** 0.5)
    return np.concatenate([real, unit(weight * real[first] + (1 - weight) * real[second] + noise)])


def gaussians(count: int, dimensions: int, rng: np.random.Generator) -> Vectors:
    """A mixture of 500 Gaussians that overlap."""
    centres = rng.standard_normal((500, dimensions)).astype(np.float32)
    noise = rng.standard_normal((count, dimensions)).astype(np.float32)
    return unit(centres[rng.integers(0, 500, count)] + 1.2 * noise)


def material(folder: Path | None, count: int, asked: int) -> tuple[Vectors, Vectors]:
    """Vectors [count, dimensions] and queries [at most asked, dimensions]."""
    rng = np.random.default_rng(0)
    if folder is None:
        made = gaussians(count + asked, 384, rng)
        return made[:count], made[count:]
    stored = [np.load(path) for path in sorted(folder.glob("*.npy")) if "queries" not in path.name]
    sets = {path.name.partition(".")[0] for path in folder.glob("*.npy") if "queries" not in path.name}
    asking = [path for path in sorted(folder.glob("*queries*.npy")) if path.name.partition(".")[0] in sets]
    queries = np.concatenate([np.load(path) for path in asking])
    return widened(np.concatenate(stored), count, rng), queries[rng.permutation(len(queries))[:asked]]


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Seconds that it takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"s": round(time.perf_counter() - wall, 3), "cpu_s": round(time.process_time() - cpu, 3)}


def latency(search: Callable[[Vectors], Any], queries: Vectors) -> dict[str, float]:
    """Milliseconds of one query, one after the other on one thread, of which the first twenty do not count."""
    walls, cpus = [], []
    for row in range(len(queries)):
        wall, cpu = time.perf_counter(), time.thread_time()
        search(queries[row : row + 1])
        walls.append(time.perf_counter() - wall)
        cpus.append(time.thread_time() - cpu)
    figures = {}
    for name, values in (("", walls), ("cpu_", cpus)):
        for percent in (50, 99):
            figures[f"{name}p{percent}_ms"] = round(1000 * float(np.percentile(values[20:], percent)), 3)
    return figures


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """Share of what is true among what was found, row by row."""
    return round(
        float(np.mean([len(np.intersect1d(*pair)) / len(pair[1]) for pair in zip(found, true, strict=True)])), 4
    )


def exact(vectors: Vectors, queries: Vectors, k: int) -> np.ndarray:
    """Rows of the k nearest."""
    return np.asarray(faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)[1])


def of_kind(kind: Any, vectors: Vectors, queries: Vectors, folder: Path, *, compact: bool) -> dict[str, Any]:
    """All figures of one kind."""
    ids = np.arange(len(vectors))
    index = FaissIndex.create(vectors.shape[1], kind)
    figures: dict[str, Any] = {"add": timed(lambda: index.add(ids, vectors)), "compact": timed(index.compact)}
    figures["save"] = timed(lambda: index.save(folder / "first"))
    figures["bytes"], figures["own_recall"] = index.stats().bytes, index.stats().recall
    loading = [timed(lambda: FaissIndex.load(folder / "first"))["s"] for _ in range(5)]
    figures["load_ms"] = round(1000 * min(loading), 1)
    index = FaissIndex.load(folder / "first")
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    for k in (10, 100):
        true = exact(vectors, queries, k)
        figures[f"search_{k}"] = latency(lambda query, k=k: index.search(query, k), queries)
        figures[f"recall_at_{k}"] = recall(index.search(queries, k)[1], true)
    figures["bare"] = bare(index, vectors, queries)
    figures["filtered"] = {str(share): filtered(index, vectors, queries, share) for share in SHARES}
    figures["delta"] = delta(index, vectors, queries, folder / "second")
    if compact:
        faiss.omp_set_num_threads(threads)
        figures["delta"]["compact"] = timed(index.compact)
    return figures


def filtered(index: FaissIndex, vectors: Vectors, queries: Vectors, share: float) -> dict[str, float]:
    """A search where only a share is allowed."""
    rng = np.random.default_rng(1)
    allowed = np.sort(rng.choice(len(vectors), int(share * len(vectors)), replace=False))
    true = allowed[exact(vectors[allowed], queries, 10)]
    some = queries[:200]
    return {
        **latency(lambda query: index.search(query, 10, allowed), some),
        "recall_at_10": recall(index.search(queries, 10, allowed)[1], true),
    }


def delta(index: FaissIndex, vectors: Vectors, queries: Vectors, folder: Path) -> dict[str, Any]:
    """What changing 1% costs."""
    rng = np.random.default_rng(2)
    rows = rng.choice(len(vectors), len(vectors) // 100, replace=False)
    changed = vectors.copy()
    changed[rows] = unit(vectors[rows] + np.float32(0.03) * rng.standard_normal((len(rows), vectors.shape[1])))
    figures: dict[str, Any] = {"add": timed(lambda: index.add(rows, changed[rows]))}
    figures["save"] = timed(lambda: index.save(folder))
    # What has one name only is in no other folder.
    figures["new_bytes"] = sum(path.stat().st_size for path in folder.iterdir() if path.stat().st_nlink == 1)
    figures["search_10"] = latency(lambda query: index.search(query, 10), queries)
    figures["recall_at_10"] = recall(index.search(queries, 10)[1], exact(changed, queries, 10))
    return figures


def bare(index: FaissIndex, vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    """FAISS called directly: IndexFlatIP over the vectors, and the graph that the index has built, if it has."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    calls: dict[str, Callable[[Vectors], Any]] = {"IndexFlatIP": lambda query: flat.search(query, 10)}
    structure = index.base.structure
    if isinstance(structure, faiss.IndexHNSW):
        structure.hnsw.efSearch = index.params.search
        calls = {"IndexHNSWFlat": lambda query: structure.search(query, 10)}
    return {name: latency(call, queries) for name, call in calls.items()}


def sweep(vectors: Vectors, queries: Vectors, settings: Sequence[tuple[int, int, bool]]) -> list[dict[str, Any]]:
    """Recall and time of graphs built and searched with other settings; `full`: no place for a link is left free."""
    true, figures = {k: exact(vectors, queries, k) for k in (10, 100)}, []
    for m, build, full in settings:
        graph = faiss.IndexHNSWFlat(vectors.shape[1], m, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction, graph.keep_max_size_level0 = build, full
        building = timed(lambda graph=graph: graph.add(vectors))
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        for search in SEARCHES:
            graph.hnsw.efSearch = search
            found = {f"recall_at_{k}": recall(graph.search(queries, k)[1], rows) for k, rows in true.items()}
            times = latency(lambda query, graph=graph: graph.search(query, 10), queries)
            figures.append({"m": m, "build": build, "full": full, "search": search, **found, **times, "add": building})
        faiss.omp_set_num_threads(threads)
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vectors", type=Path, help="folder of .npy files of unit vectors")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--kinds", nargs="+", default=["exact", "hnsw", "ivfpq"])
    parser.add_argument("--compact", action="store_true", help="compact again after the changes, too")
    parser.add_argument("--sweep", action="store_true", help="try settings of HNSW instead")
    options = parser.parse_args()
    vectors, queries = material(options.vectors, options.count, options.queries)
    figures: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
        "threads": faiss.omp_get_max_threads(),
        "versions": versions_of(["faiss-cpu", "numpy"]),
        "vectors": len(vectors),
        "dimensions": vectors.shape[1],
        "queries": len(queries),
        "params": vars(Params()),
    }
    if options.sweep:
        figures["sweep"] = sweep(vectors, queries, SWEEP)
    else:
        for kind in options.kinds:
            with tempfile.TemporaryDirectory() as folder:
                figures[kind] = of_kind(kind, vectors, queries, Path(folder), compact=options.compact)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
