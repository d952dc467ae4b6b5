"""The vector index in PostgreSQL: what building, searching and changing cost, beside pgvector called directly.

In: the URL of a server on this machine, with pgvector, in which a collection `bench` and a table `bench_bare` are made
and taken away, and vectors as `bench.vectors` takes them. Out: JSON. Times are of the wall; searches are of one query.
`server_cpu_ms`: the server's processor time for one search, which other programs disturb less. `recall_at_10`: share of
the exact ten nearest among those found. `delta`: 1% of the vectors replaced, and saved.
`bare`: one table of ids and vectors, HNSW with the same settings, and one SELECT.

    python -m bench.vector_stores --url postgresql://postgres@localhost/bench --vectors FOLDER --count 20000
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
from pgvector.psycopg import register_vector

from bench.loop import machine
from bench.vectors import exact, latency, material, recall, timed, unit
from configs.artifacts import versions_of
from ingest.vectors.base import Kind, Vectors
from ingest.vectors.pgvector import PgVectorIndex, forget

COLLECTION = "bench"
LINKS, BUILD, SEARCH = 32, 200, 128


def ours(url: str, kind: Kind, vectors: Vectors, queries: Vectors, folder: Path) -> dict[str, Any]:
    """All figures of one kind."""
    ids = np.arange(len(vectors))
    index = PgVectorIndex.create(url, COLLECTION, vectors.shape[1], kind, links=LINKS, build=BUILD, search=SEARCH)
    figures: dict[str, Any] = {"add": timed(lambda: index.add(ids, vectors))}
    figures["save"] = timed(lambda: index.save(folder / "first"))
    figures["bytes"] = index.stats().bytes
    figures["load"] = timed(lambda: PgVectorIndex.load(folder / "first", url))
    figures |= searched(url, lambda query: index.search(query, 10)[1], vectors, queries)
    step = len(ids) // 500  # which an allowed id divided by gives its row among those allowed
    few = ids[::step]
    figures["allowed_500"] = searched(url, lambda query: index.search(query, 10, few)[1] // step, vectors[few], queries)
    rows = np.random.default_rng(2).choice(len(vectors), len(vectors) // 100, replace=False)
    noise = np.random.default_rng(3).standard_normal((len(rows), vectors.shape[1]))
    changed = vectors.copy()
    changed[rows] = unit(vectors[rows] + np.float32(0.03) * noise)
    index = PgVectorIndex.load(folder / "first", url)
    delta = {"add": timed(lambda: index.add(rows, changed[rows])), "save": timed(lambda: index.save(folder / "second"))}
    figures["delta"] = delta | searched(url, lambda query: index.search(query, 10)[1], changed, queries)
    figures["forget"] = timed(lambda: forget(url, COLLECTION, [folder / "second"]))
    return figures


def bare(url: str, vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    """pgvector called directly."""
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        # Not a temporary one, of which PostgreSQL does not build indexes in parallel.
        connection.execute("DROP TABLE IF EXISTS bench_bare")
        connection.execute(f"CREATE TABLE bench_bare (id bigint, vec vector({vectors.shape[1]}))")

        def add() -> None:
            with connection.cursor() as cursor, cursor.copy("COPY bench_bare FROM STDIN (FORMAT BINARY)") as rows:
                rows.set_types(["int8", "vector"])
                for one, vector in enumerate(vectors):
                    rows.write_row((one, vector))

        def found(query: Vectors) -> np.ndarray:
            nearest = "SELECT id FROM bench_bare ORDER BY vec <#> %b LIMIT 10"
            return np.array([[one for (one,) in connection.execute(nearest, [row], binary=True)] for row in query])

        figures: dict[str, Any] = {"add": timed(add)}
        figures["exact"] = searched(url, found, vectors, queries)
        hnsw = (
            f"CREATE INDEX ON bench_bare USING hnsw (vec vector_ip_ops) WITH (m = {LINKS}, ef_construction = {BUILD})"
        )
        figures["index"] = timed(lambda: connection.execute(hnsw))
        connection.execute("ANALYZE bench_bare")
        connection.execute(f"SET hnsw.ef_search = {SEARCH}")
        figures["hnsw"] = searched(url, found, vectors, queries)
        connection.execute("DROP TABLE bench_bare")
        return figures


def searched(url: str, found: Callable[[Vectors], np.ndarray], vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    """How long a search for ten takes, and what it misses."""
    figures = {"recall_at_10": recall(found(queries), exact(vectors, queries, 10))}
    before = server_cpu(url)
    figures |= latency(found, queries)
    return figures | {"server_cpu_ms": round(1000 * (server_cpu(url) - before) / len(queries), 2)}


def server_cpu(url: str) -> float:
    """Seconds of processor time that the processes of the server, which still run, have taken."""
    with psycopg.connect(url) as connection:
        backend = connection.execute("SELECT pg_backend_pid()").fetchall()[0][0]
        server = psutil.Process(backend).parent()
        times = [process.cpu_times() for process in server.children() if process.pid != backend] if server else []
    return sum(time.user + time.system for time in times)


def server(url: str) -> dict[str, Any]:
    """What the server says about itself."""
    with psycopg.connect(url) as connection:
        names = ("server_version", "shared_buffers", "maintenance_work_mem", "max_parallel_maintenance_workers")
        about = {name: connection.execute("SELECT current_setting(%s)", [name]).fetchall()[0][0] for name in names}
        extension = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        return about | {"pgvector": connection.execute(extension).fetchall()[0][0]}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--vectors", type=Path, help="folder of .npy files of unit vectors")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    vectors, queries = material(options.vectors, options.count, options.queries)
    figures: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
        "versions": versions_of(["numpy", "pgvector", "psycopg"]),
        "vectors": len(vectors),
        "dimensions": vectors.shape[1],
        "queries": len(queries),
        "hnsw": {"m": LINKS, "build": BUILD, "search": SEARCH},
    }
    for kind in ("hnsw", "exact"):
        with tempfile.TemporaryDirectory() as folder:
            figures[kind] = ours(options.url, kind, vectors, queries, Path(folder))
    forget(options.url, COLLECTION, [])
    figures["bare"] = bare(options.url, vectors, queries)
    print(json.dumps(figures | {"server": server(options.url)}, indent=2))


if __name__ == "__main__":
    main()
