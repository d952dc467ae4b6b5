"""Which fine-tuned embedder is used is written down in one place."""

from pathlib import Path

import pytest

from configs.artifacts import Made, Version, Workspace
from configs.errors import ArtifactError
from ingest.retriever_in_use import RETRIEVERS, USED, model_of, use, used_retriever


def trained(root: Path, embedder: str) -> Version:
    return Workspace(root).build(RETRIEVERS, lambda _: Made(), inputs={}, settings={"embedder": embedder})


def test_what_was_written_down_is_used(tmp_path: Path) -> None:
    one, other = trained(tmp_path, "one"), trained(tmp_path, "other")
    # Being made last is not enough.
    assert used_retriever(tmp_path, "other") == ""
    for version, embedder, against in ((one, "one", "other"), (other, "other", "one")):
        use(tmp_path, version.id)
        assert used_retriever(tmp_path, embedder) == version.id
        assert used_retriever(tmp_path, against) == ""
    assert model_of(tmp_path, one.id) == one.path / "model"


@pytest.mark.parametrize("written", [b"", b"\n", b"gone\n", b"\xff\xfe", b"../chunks"])
def test_what_names_no_version_names_none(tmp_path: Path, written: bytes) -> None:
    trained(tmp_path, "one")
    (tmp_path / RETRIEVERS / USED).write_bytes(written)
    assert used_retriever(tmp_path, "one") == ""


def test_a_root_without_retrievers_uses_none(tmp_path: Path) -> None:
    assert used_retriever(tmp_path / "new", "one") == ""
    with pytest.raises(ArtifactError, match="retrievers version x is not in"):
        model_of(tmp_path, "x")
