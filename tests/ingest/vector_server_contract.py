"""What every vector index on a server must do besides: versions that share a table, one writer, clean-up, no secrets.

The module defines a fixture `store`, a `Store` of its own for each test.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import ArtifactError
from ingest.vectors.base import NOTHING, VectorsLost
from ingest.vectors.faiss_index import FaissIndex
from ingest.vectors.stored import VECTORS_FILE
from tests.ingest.vector_contract import (
    DIMENSIONS,
    MakeIndex,
    Reopen,
    VectorContract,
    assert_agrees,
    filled,
    numbers,
    some_vectors,
)


@dataclass(frozen=True)
class Store:
    """A collection on a server.

    Attributes:
        create: from dimensions, and `owner`, to a new index.
        load: from a folder, and `search`, to the index that was saved there.
        create_another: the same, in a collection of its own.
        forget: takes what these folders do not refer to, of an `owner`.
        tables: the names of what the collection consists of on the server.
        lose: deletes one vector by hand.
    """

    folder: Path
    create: Callable[..., Any]
    create_another: MakeIndex
    load: Callable[..., Any]
    forget: Callable[..., None]
    tables: Callable[[], list[str]]
    lose: Callable[[str], Any]

    def create_owned(self, owner: str) -> dict[int, Any]:
        """Save an index of an owner in the folder `of-OWNER`. Returns the vectors that it holds."""
        index = self.create(DIMENSIONS, owner=owner)
        vectors = filled(index, 5, seed=len(owner))
        self.saved(index, f"of-{owner}")
        return dict(enumerate(vectors, start=100))

    def saved(self, index: Any, name: str) -> Path:
        """Save an index under a name."""
        index.save(self.folder / name)
        return self.folder / name


def held_of(ids: Iterable[int], seed: int = 0) -> dict[int, Any]:
    """Each id with a vector that depends on it."""
    return {one: some_vectors(1, seed=1000 * seed + one)[0] for one in ids}


def put(index: Any, held: dict[int, Any]) -> None:
    """Add each id's vector."""
    index.add(np.array(list(held), np.int64), np.array(list(held.values())))


def told_by(error: BaseException | None) -> Iterator[str]:
    """All that an error, and those that it came of, say and hold."""
    while error is not None:
        yield from (str(error), repr(error), repr(vars(error)))
        error = error.__context__


class ServerContract(VectorContract):
    """Subclass it as `Test...` in a module with the fixture `store`."""

    @pytest.fixture
    def make_index(self, store: Store) -> MakeIndex:
        return store.create_another

    @pytest.fixture
    def reopen(self, store: Store) -> Reopen:
        count = iter(range(1000))
        return lambda index: store.load(store.saved(index, f"again-{next(count)}"))

    def test_an_opened_version_stays_what_it_is(self, store: Store) -> None:
        first = held_of(range(40))
        index = store.create(DIMENSIONS)
        put(index, first)
        old = store.load(store.saved(index, "one"))

        update = store.load(store.folder / "one")
        update.remove(numbers(3, 4))
        put(update, held_of([5, 50], seed=1))
        second = {one: vector for one, vector in first.items() if one not in (3, 4)} | held_of([5, 50], seed=1)
        queries = np.array([*first.values(), *second.values()])
        for _ in range(2):
            assert_agrees(old, first, queries, 7)
            assert_agrees(update, second, queries, 7)
            assert_agrees(store.load(store.folder / "one"), first, queries, 7)
            store.saved(update, "two")
        assert_agrees(store.load(store.folder / "two"), second, queries, 7)
        assert (len(old), len(update)) == (40, 39)

    def test_a_change_writes_what_changed(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        put(index, held_of(range(200)))
        store.saved(index, "one")
        put(index, held_of([7, 201], seed=1))
        index.remove(numbers(9))
        store.saved(index, "two")
        stats = store.load(store.folder / "two").stats()
        assert (stats.vectors, stats.removed) == (200, 2)
        assert len(store.tables()) == 1

    def test_an_update_of_an_older_version_goes_on_from_it(self, store: Store) -> None:
        first = held_of(range(10))
        index = store.create(DIMENSIONS)
        put(index, first)
        one = store.saved(index, "one")
        index.remove(numbers(1, 2))
        put(index, held_of([3, 30], seed=1))
        store.saved(index, "two")

        back = store.load(one)
        put(back, held_of([4], seed=2))
        back.remove(numbers(0, 2))
        store.saved(back, "three")
        queries = some_vectors(4)
        third = {key: vector for key, vector in first.items() if key not in (0, 2)} | held_of([4], seed=2)
        second = {key: vector for key, vector in first.items() if key not in (1, 2)} | held_of([3, 30], seed=1)
        for name, held in (("one", first), ("two", second), ("three", third)):
            assert_agrees(store.load(store.folder / name), held, queries, 12)

    def test_what_was_not_saved_is_seen_by_nobody(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        vectors = filled(index, 5)
        one = store.saved(index, "one")
        given_up = store.load(one)
        given_up.remove(numbers(100))
        put(given_up, held_of([7, 101]))
        given_up.close()

        index = store.load(one)
        put(index, held_of([8]))
        two = store.load(store.saved(index, "two"))
        assert_agrees(two, dict(enumerate(vectors, start=100)) | held_of([8]), some_vectors(3), 9)

    def test_an_index_that_was_given_up_leaves_nothing(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        filled(index, 5)
        index.close()
        again = store.create(DIMENSIONS)
        assert len(again) == 0
        assert len(store.tables()) == 1
        again.close()

    def test_a_second_writer_is_refused(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        filled(index, 5)
        with pytest.raises(ArtifactError, match=r"another process.*is writing"):
            store.create(DIMENSIONS)
        one = store.saved(index, "one")
        first, second = store.load(one), store.load(one)
        put(first, held_of([7]))
        for write in (lambda: put(second, held_of([8])), lambda: second.remove(numbers(100)), lambda: store.forget([])):
            with pytest.raises(ArtifactError, match=r"another process.*is writing"):
                write()
        assert len(second) == 5
        store.saved(first, "two")
        assert second.remove(numbers(100, 101)) == 2
        assert len(store.load(store.saved(second, "three"))) == 3

    def test_other_dimensions_are_another_table(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        filled(index, 3)
        one = store.saved(index, "one")
        wider = store.create(DIMENSIONS * 2)
        filled(wider, 4)
        two = store.saved(wider, "two")
        assert [len(store.load(folder)) for folder in (one, two)] == [3, 4]
        assert [store.load(folder).dimensions for folder in (one, two)] == [DIMENSIONS, DIMENSIONS * 2]

    def test_forgetting_takes_what_no_folder_refers_to(self, store: Store) -> None:
        old = store.create(DIMENSIONS)
        filled(old, 3)
        gone = store.saved(old, "gone")
        index = store.create(DIMENSIONS)
        vectors = filled(index, 10)
        one = store.saved(index, "one")
        index.remove(numbers(100))
        two = store.saved(index, "two")
        index.remove(numbers(101))
        three = store.saved(index, "three")

        store.forget([two, store.folder / "no-such-folder"])
        assert len(store.tables()) == 1
        opened = store.load(two)
        assert (len(opened), opened.stats().removed) == (9, 0)
        assert_agrees(opened, dict(enumerate(vectors[1:], start=101)), vectors, 10)
        for folder in (gone, one, three):
            with pytest.raises(VectorsLost, match="Run `wellread index`"):
                store.load(folder)
        opened.remove(numbers(109))
        assert len(store.load(store.saved(opened, "four"))) == 8
        store.forget([])
        assert store.tables() == []

    def test_owners_of_one_collection_leave_each_other_alone(self, store: Store) -> None:
        indexes = {owner: store.create_owned(owner) for owner in ("", "one", "two")}
        store.forget([], owner="one")
        assert len(store.tables()) == 2
        for owner in ("", "two"):
            assert_agrees(store.load(store.folder / f"of-{owner}"), indexes[owner], some_vectors(3), 9)
        again = store.create_owned("one")
        store.forget([store.folder / "of-one"], owner="")
        store.forget([store.folder / "of-one"], owner="two")
        assert len(store.tables()) == 1
        assert_agrees(store.load(store.folder / "of-one"), again, some_vectors(3), 9)

    def test_what_an_owner_gave_up_is_not_another_owners_to_drop(self, store: Store) -> None:
        store.create(DIMENSIONS, owner="one").close()
        store.create(DIMENSIONS, owner="two").close()
        assert len(store.tables()) == 2
        store.create(DIMENSIONS, owner="one").close()
        assert len(store.tables()) == 2

    def test_an_update_keeps_the_owner(self, store: Store) -> None:
        store.create_owned("one")
        update = store.load(store.folder / "of-one")
        update.remove(numbers(100))
        store.saved(update, "of-one")
        store.forget([])
        assert len(store.load(store.folder / "of-one")) == 4
        store.forget([], owner="one")
        assert store.tables() == []

    def test_folders_of_other_stores_are_passed_over(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        filled(index, 3)
        one = store.saved(index, "one")
        files = FaissIndex.create(DIMENSIONS)
        filled(files, 3)
        files.save(store.folder / "files")
        store.forget([store.folder / "files", one])
        assert len(store.load(one)) == 3
        with pytest.raises(ArtifactError, match=r"are kept in faiss, and index\.store is .*set index\.store=faiss"):
            store.load(store.folder / "files")
        with pytest.raises(ArtifactError, match=r"are kept in (\w+), and index\.store is faiss.*set index\.store=\1"):
            FaissIndex.load(one)

    def test_how_far_is_searched_can_be_said_when_opening(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        vectors = filled(index, 5)
        one = store.saved(index, "one")
        assert_agrees(store.load(one, search=7), dict(enumerate(vectors, start=100)), vectors, 3)
        for name, opened in (("two", store.load(one, search=7)), ("three", store.load(one))):
            said = json.loads((store.saved(opened, name) / VECTORS_FILE).read_text())["search"]
            assert (said == 7) == (name == "two")

    def test_more_than_half_may_be_allowed_before_and_after_a_change(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        held = dict(enumerate(filled(index, 30), start=100))
        queries, many = some_vectors(4), np.arange(90, 125)
        opened = store.load(store.saved(index, "one"))
        assert_agrees(opened, held, queries, 28, allowed=many)
        put(opened, held_of([90, 91, 101], seed=1))
        opened.remove(numbers(102, 103))
        changed = {one: vector for one, vector in held.items() if one not in (102, 103)}
        changed |= held_of([90, 91, 101], seed=1)
        for _ in range(2):
            assert_agrees(opened, changed, queries, 28, allowed=many)
            assert_agrees(opened, changed, queries, 40, allowed=np.array(list(changed)))
            store.saved(opened, "two")
        assert_agrees(store.load(store.folder / "one"), held, queries, 28, allowed=many)

    def test_nothing_is_forgotten_where_a_file_is_damaged(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        filled(index, 3)
        one, two = store.saved(index, "one"), store.saved(index, "two")
        (two / VECTORS_FILE).write_text("{")
        with pytest.raises(ArtifactError, match="is damaged"):
            store.forget([one, two])
        with pytest.raises(ArtifactError, match="is damaged"):
            store.forget([two])
        assert len(store.load(one)) == 3

    def test_a_server_with_fewer_vectors_is_refused(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        filled(index, 5)
        one = store.saved(index, "one")
        store.lose(store.tables()[0])
        with pytest.raises(VectorsLost, match=r"holds 4 vectors, not 5. Run `wellread index`"):
            store.load(one)

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
    def test_a_damaged_file_is_refused(self, store: Store, text: str) -> None:
        (store.folder / VECTORS_FILE).write_text(text)
        with pytest.raises(ArtifactError, match=r"vectors\.json"):
            store.load(store.folder)

    def test_other_files_are_refused(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        one = store.saved(index, "one")
        there = json.loads((one / VECTORS_FILE).read_text())
        for name, value in (("dimensions", 3), ("table", "x_y"), ("generation", 9), ("vectors", 1)):
            (one / VECTORS_FILE).write_text(json.dumps({**there, name: value}))
            with pytest.raises(VectorsLost, match="Run `wellread index`"):
                store.load(one)
        for other, told in (({**there, "store": "other"}, "names no store"), ({"store": there["store"]}, "place")):
            (one / VECTORS_FILE).write_text(json.dumps(other))
            with pytest.raises(ArtifactError, match=rf"vectors\.json is damaged: .*{told}"):
                store.load(one)

    def test_an_update_of_what_was_forgotten_is_refused(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        filled(index, 3)
        one = store.saved(index, "one")
        index.remove(numbers(100))
        opened, two = store.load(one), store.saved(index, "two")
        store.forget([two])
        with pytest.raises(VectorsLost, match="Run `wellread index`"):
            opened.remove(numbers(101))
        assert len(store.load(two)) == 2

    def test_a_folder_that_cannot_be_written_is_told(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        vectors = filled(index, 5)
        one = store.saved(index, "one")
        index.remove(numbers(100))
        (store.folder / "file").write_text("")
        with pytest.raises(ArtifactError, match="cannot write"):
            index.save(store.folder / "file")
        assert_agrees(store.load(one), dict(enumerate(vectors, start=100)), vectors, 5)
        assert len(store.load(store.saved(index, "two"))) == 4

    def test_many_threads_may_search(self, store: Store) -> None:
        index = store.create(DIMENSIONS)
        vectors = filled(index, 30)
        opened = store.load(store.saved(index, "one"))
        with ThreadPoolExecutor(6) as threads:
            found = list(threads.map(lambda vector: opened.search(vector[None], 1)[1][0, 0], vectors))
        assert found == list(range(100, 130))
        assert NOTHING not in found
