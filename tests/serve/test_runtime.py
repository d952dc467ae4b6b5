"""What the guards of a running server are given of the index."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs.errors import ConfigError
from ingest.index import Index
from ingest.indexing import build_index
from serve.runtime import guard_resources
from tests.ingest.samples import WordHashEmbedder
from tests.serve.conftest import DOCUMENTS


@pytest.fixture
def opened(tmp_path):
    """Opens a real index of the documents, made with an embedder of the given name."""

    def begin(name):
        folder = tmp_path / name
        folder.mkdir()
        embedder = WordHashEmbedder(name)
        build_index(DOCUMENTS, embedder, folder)
        return Index.load(folder, embedder)

    return begin


def test_topics_are_those_of_the_index_in_use(opened):
    live = SimpleNamespace(current=opened("first"))
    resources = guard_resources(live, "canary")
    assert resources.canary == "canary"
    np.testing.assert_allclose(np.linalg.norm(resources.topics(), axis=1), 1, atol=1e-5)
    assert resources.embed(["What does VACUUM FULL do?"]).shape == (1, resources.topics().shape[1])


def test_topics_of_another_embedder_are_not_compared_with(opened):
    live = SimpleNamespace(current=opened("first"))
    resources = guard_resources(live, "canary")
    live.current = opened("second")
    with pytest.raises(ConfigError, match="Start the server again"):
        resources.topics()
    live.current = opened("third")
    live.current.embedder = WordHashEmbedder("first")
    assert len(resources.topics())
