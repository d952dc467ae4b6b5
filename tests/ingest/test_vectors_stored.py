"""Which store a saved index has its vectors in."""

from pathlib import Path

import pytest

from configs.errors import ArtifactError
from ingest.vectors.faiss_index import FaissIndex
from ingest.vectors.server import Reference
from ingest.vectors.stored import VECTORS_FILE, StoreName, content_of, stored_in
from tests.ingest.vector_contract import DIMENSIONS, filled


def written(folder: Path, store: StoreName) -> Path:
    """A folder with what that store writes into it."""
    if store == "faiss":
        index = FaissIndex.create(DIMENSIONS)
        filled(index, 3)
        index.save(folder)
    else:
        Reference(store, "server", "x", "wellread_x_1", 1, DIMENSIONS, "exact", 10, 3).write(folder)
    return folder


@pytest.mark.parametrize("store", ["faiss", "pgvector", "qdrant"])
def test_a_folder_says_where_its_vectors_are(store: StoreName, tmp_path: Path) -> None:
    assert stored_in(written(tmp_path, store)) == store
    assert content_of(tmp_path, store) == (tmp_path / VECTORS_FILE).read_bytes()


def test_an_empty_index_of_files_says_so_too(tmp_path: Path) -> None:
    FaissIndex.create(DIMENSIONS).save(tmp_path)
    assert stored_in(tmp_path) == "faiss"


@pytest.mark.parametrize(
    ("store", "wanted"), [("faiss", "qdrant"), ("faiss", "pgvector"), ("pgvector", "qdrant"), ("qdrant", "faiss")]
)
def test_the_vectors_of_another_store_are_refused(store: StoreName, wanted: StoreName, tmp_path: Path) -> None:
    written(tmp_path, store)
    with pytest.raises(ArtifactError) as told:
        content_of(tmp_path, wanted)
    assert told.value.problem == f"the vectors are kept in {store}, and index.store is {wanted}"
    assert told.value.remedy == f"Run `wellread index`, or set index.store={store}"


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", "{}", '{"store": 3}', '{"store": "x"}', "[" * 100_000])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / VECTORS_FILE).write_text(text)
    with pytest.raises(ArtifactError, match=r"vectors\.json is damaged.*Delete that folder"):
        stored_in(tmp_path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / VECTORS_FILE).write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ArtifactError, match="is damaged"):
        stored_in(tmp_path)


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ArtifactError, match=r"holds no vector index.*Delete that folder"):
            stored_in(folder)
