"""The ways to search a fixed set of vectors: which one for how many, and how each is built and asked.

A set is kept as a *storage*, which compares a query with any of its vectors, and for the approximate kinds also as a
*structure*, which says which of them are worth comparing:

- `exact`: single precision, no structure.
- `hnsw`: single precision under a graph of near neighbours (Malkov and Yashunin 2016, arXiv:1603.09320).
- `ivfpq`: half precision under inverted lists of product-quantised vectors (Jegou et al. 2011,
  doi:10.1109/TPAMI.2010.57). Lists and quantiser are trained on a sample; the best by the quantised vectors are
  compared again with the half-precision ones.

In: unit vectors, float32. Out: FAISS indexes, and cosines and rows of the nearest. A filtered search looks at more
candidates the more are filtered out, and compares with all that is left where that is little.

Known limit: all vectors are in memory, twice, while a structure is built.
"""

from dataclasses import dataclass
from typing import Any, Literal

import faiss as typed_faiss
import numpy as np
import numpy.typing as npt

from configs.errors import ConfigError
from ingest.vectors.base import Ids, Kind, Vectors

Wanted = Literal["auto", "exact", "hnsw", "ivfpq"]
Usable = npt.NDArray[np.bool_]

# The library's type stubs lack classes, and the keywords of those that they have.
faiss: Any = typed_faiss

EXACT_BELOW, HNSW_BELOW = 50_000, 2_000_000
# The 256 values of a code are means; of fewer vectors than 39 each they are mere copies of some.
IVFPQ_FROM = 39 * 256
TRAINED_ON = 64
"""Vectors per list, or per value of a code, that are looked at in training."""
FEW, FEW_SHARE = 20_000, 0.05
"""A filtered search that leaves fewer than this, or a smaller share, compares with all that is left."""


@dataclass(frozen=True)
class Params:
    """How structures are built and searched: `configs.retrieval`'s `HnswSettings` and `IvfpqSettings`, by their names.

    Attributes:
        m: links per vector of the graph.
        build: candidates looked at for each vector while the graph is built (efConstruction).
        search: candidates looked at in a search of the graph (efSearch).
        lists: inverted lists; 0 takes four times the square root of the number of vectors.
        code_bytes: bytes of a quantised vector.
        probes: lists looked at in a search.
        refine: candidates per result that are compared again; 1 compares none.
    """

    m: int = 32
    build: int = 200
    search: int = 256
    lists: int = 0
    code_bytes: int = 96
    probes: int = 128
    refine: int = 4

    def of_building(self, kind: Kind) -> dict[str, int]:
        """Those that what is built depends on."""
        names = {"exact": (), "hnsw": ("m", "build"), "ivfpq": ("lists", "code_bytes")}[kind]
        return {name: getattr(self, name) for name in names}


def choose_kind(count: int) -> Kind:
    """The kind for so many vectors: exact below 50,000, HNSW below 2 million, IVF-PQ beyond."""
    if count < EXACT_BELOW:
        return "exact"
    return "hnsw" if count < HNSW_BELOW else "ivfpq"


def kind_of(wanted: Wanted, count: int) -> Kind:
    """The kind that is built where one is wanted: fewer vectors than quantisers can be trained on are kept exact."""
    kind = choose_kind(count) if wanted == "auto" else wanted
    return "exact" if kind == "ivfpq" and count < IVFPQ_FROM else kind


def build(kind: Kind, vectors: Vectors, params: Params) -> tuple[Any, Any]:
    """Storage and structure of vectors, float32 [n, dimensions]; the structure is None for `exact`. Uses all cores.

    Raises:
        ConfigError: `code_bytes` does not divide the dimensions.
    """
    dimensions = vectors.shape[1]
    if kind == "exact":
        storage = faiss.IndexFlatIP(dimensions)
        storage.add(vectors)
        return storage, None
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dimensions, params.m, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = params.build
        # Links that the heuristic would prune fill the places that it leaves free; without them, vectors that are there
        # many times part the graph.
        graph.keep_max_size_level0 = True
        graph.add(vectors)
        return faiss.downcast_index(graph.storage), graph
    storage = faiss.IndexScalarQuantizer(dimensions, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    storage.add(vectors)
    return storage, _lists(vectors, params)


def matrix_of(storage: Any) -> npt.NDArray[Any]:
    """The vectors of a storage, float32 or float16 [n, dimensions]; a view that is valid as long as the storage is."""
    shape = (storage.ntotal, storage.d)
    if isinstance(storage, faiss.IndexFlat):
        return np.asarray(faiss.rev_swig_ptr(storage.get_xb(), shape[0] * shape[1]).reshape(shape))
    codes = faiss.rev_swig_ptr(storage.codes.data(), storage.codes.size())
    return np.asarray(codes.view(np.float16).reshape(shape))


def nearest_exact(storage: Any, queries: Vectors, k: int, usable: Usable | None) -> tuple[Vectors, Ids]:
    """Cosines and rows of the k nearest, by comparing with all that is usable, of which there must be k."""
    if usable is None:
        selector = None
    elif isinstance(storage, faiss.IndexFlat):
        # Goes from row to row of the list instead of asking for each row whether it is in it.
        selector = faiss.IDSelectorArray(np.flatnonzero(usable))
    else:
        selector = _bitmap(usable)
    cosines, rows = storage.search(queries, k, params=faiss.SearchParameters(sel=selector))
    return cosines, rows


def nearest(
    storage: Any, structure: Any, queries: Vectors, k: int, usable: Usable | None, params: Params
) -> tuple[Vectors, Ids]:
    """Cosines and rows of the k nearest that are usable, float32 and int64 [q, k]. There must be k that are."""
    count = storage.ntotal
    left = count if usable is None else int(np.count_nonzero(usable))
    few = usable is not None and (left < FEW or left < FEW_SHARE * count)
    if structure is None or few:
        return nearest_exact(storage, queries, k, usable)
    share = left / count
    if isinstance(structure, faiss.IndexHNSW):
        cosines, rows = _by_graph(structure, queries, k, usable, share, params)
    else:
        cosines, rows = _by_lists(storage, structure, queries, k, usable, share, params)
    missed = np.flatnonzero((rows < 0).any(axis=1))
    if len(missed):
        cosines[missed], rows[missed] = nearest_exact(storage, queries[missed], k, usable)
    return cosines, rows


def recall(storage: Any, structure: Any, params: Params, queries: Vectors, k: int = 10) -> float:
    """Share of the k nearest, by exact comparison, among the k that are found; 0 to 1."""
    k = min(k, storage.ntotal)
    _, true = nearest_exact(storage, queries, k, None)
    _, found = nearest(storage, structure, queries, k, None, params)
    return float(np.mean([len(np.intersect1d(*pair)) / k for pair in zip(true, found, strict=True)]))


def perturbed(storage: Any, count: int = 200, cosine: float = 0.7, seed: int = 0) -> Vectors:
    """Some of the stored vectors, turned away from themselves to a cosine, as a question is from its answer."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(storage.ntotal, min(count, storage.ntotal), replace=False)
    vectors = matrix_of(storage)[np.sort(rows)].astype(np.float32)
    noise = rng.standard_normal(vectors.shape).astype(np.float32)
    noise -= np.einsum("nd,nd->n", noise, vectors)[:, None] * vectors
    noise /= np.linalg.norm(noise, axis=1, keepdims=True) + 1e-12
    return np.asarray(cosine * vectors + np.float32(np.sqrt(1 - cosine**2)) * noise, np.float32)


def _lists(vectors: Vectors, params: Params) -> Any:
    count, dimensions = vectors.shape
    if dimensions % params.code_bytes:
        fits = max(size for size in range(1, params.code_bytes + 1) if dimensions % size == 0)
        raise ConfigError(
            f"index.ivfpq.code_bytes is {params.code_bytes}, which does not divide {dimensions} dimensions",
            f"Set index.ivfpq.code_bytes={fits}",
        )
    # Each list needs some vectors to be the mean of.
    lists = min(params.lists or round(4 * np.sqrt(count)), count // 39)
    coarse = faiss.IndexFlatIP(dimensions)
    structure = faiss.IndexIVFPQ(coarse, dimensions, lists, params.code_bytes, 8, faiss.METRIC_INNER_PRODUCT)
    structure.cp.max_points_per_centroid = structure.pq.cp.max_points_per_centroid = TRAINED_ON
    structure.pq.cp.niter = 10
    sample = min(count, TRAINED_ON * max(lists, 256))
    rows = np.random.default_rng(0).choice(count, sample, replace=False)
    structure.train(vectors[np.sort(rows)])
    structure.add(vectors)
    return structure


def _by_graph(
    graph: Any, queries: Vectors, k: int, usable: Usable | None, share: float, params: Params
) -> tuple[Vectors, Ids]:
    # Only this share of the candidates counts; and the last of k is found as surely as the first only among more.
    candidates = int(max(params.search / share**0.5, 3 * k / share))
    options = faiss.SearchParametersHNSW(efSearch=candidates, sel=_bitmap(usable))
    cosines, rows = graph.search(queries, k, params=options)
    return cosines, rows


def _by_lists(
    storage: Any, lists: Any, queries: Vectors, k: int, usable: Usable | None, share: float, params: Params
) -> tuple[Vectors, Ids]:
    probes = min(int(params.probes / share**0.5), lists.nlist)
    options = faiss.SearchParametersIVF(nprobe=probes, sel=_bitmap(usable))
    if params.refine > 1:
        options = faiss.IndexRefineSearchParameters(k_factor=params.refine, base_index_params=options)
        lists = faiss.IndexRefine(lists, storage)
    cosines, rows = lists.search(queries, k, params=options)
    return cosines, rows


def _bitmap(usable: Usable | None) -> Any:
    return None if usable is None else faiss.IDSelectorBitmap(np.packbits(usable, bitorder="little"))
