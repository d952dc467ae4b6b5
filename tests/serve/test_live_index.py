"""A server that runs follows the index: swaps under load, versions that are broken, and what is deleted."""

import gc
import logging
import threading
import time
import weakref

import pytest

from configs.artifacts import Made, Workspace, write_text_atomic
from configs.errors import ArtifactError
from ingest.examples import ABSTENTION
from ingest.index import INDEX, LEXICAL, Index
from ingest.indexing import build_index
from ingest.passages import PASSAGES, Passages, write_passages
from serve.live_index import LiveIndex
from serve.retrieve import Retriever
from tests.ingest.samples import WordHashEmbedder
from tests.serve.conftest import WordIndex, build_runtime, passage
from tests.serve.test_api import message

QUESTION = "What does VACUUM FULL do?"


def edition(number):
    """Passages that all say which edition they are of."""
    texts = (f"VACUUM FULL rewrites the table in edition {number}.", f"FULL locks are of edition {number}.")
    return [passage(f"page{place}", "What does VACUUM FULL do?", text) for place, text in enumerate(texts)]


def publish(root, chunks, damage=None):
    """Make a version of the index current. Returns its id."""

    def make(folder):
        made = Made({"chunks": write_passages(folder, chunks)})
        if damage:
            damage(folder / PASSAGES)
        return made

    settings = {"chunks": [chunk.id for chunk in chunks], "damaged": bool(damage)}
    return Workspace(root).build("index", make, inputs={}, settings=settings).id


def load(folder):
    return WordIndex(Passages.load(folder)[:], folder.name)


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


@pytest.fixture
def follow(tmp_path):
    """Follows the workspace in the test's folder."""
    following = []

    def begin(opened=load):
        following.append(LiveIndex(tmp_path, opened, poll_s=0.01))
        following[-1].follow()
        return following[-1]

    yield begin
    for live in following:
        live.close()
    for thread in threading.enumerate():
        if thread.name == "index":
            thread.join(60)


@pytest.fixture
def serving(start, tmp_path, engine, follow):
    """Starts a server that follows the workspace in the test's folder."""

    def begin():
        live = follow()
        runtime = build_runtime(tmp_path, engine, live=live)
        server = start(lambda: runtime)
        server.loaded.wait()
        return server, runtime, live

    return begin


def health(server):
    return server.client.get("/readyz").json()


def test_a_new_version_takes_over(tmp_path, serving):
    old = publish(tmp_path, edition(1))
    server, runtime, _ = serving()
    before = server.ask(QUESTION)
    new = publish(tmp_path, edition(2))
    until(lambda: health(server)["index"] == new)
    after = server.ask(QUESTION)
    assert "edition 1" in message(before).content
    assert "edition 2" in message(after).content
    versions = [runtime.store.interaction(asked.json()["id"]).index_version for asked in (before, after)]
    assert versions == [old, new]


def test_documents_that_were_deleted_stop_answering(tmp_path, serving):
    publish(tmp_path, edition(1))
    server, _, _ = serving()
    assert message(server.ask(QUESTION)).grounded
    new = publish(tmp_path, [passage("other", "Backups", "A backup is made with pg_dump.")])
    until(lambda: health(server)["index"] == new)
    said = message(server.ask(QUESTION))
    assert (said.content, said.grounded) == (ABSTENTION, False)
    assert [cited.url for cited in said.citations] == ["https://docs.example.org/other"]


def test_swaps_under_load_lose_no_request_and_mix_no_versions(tmp_path, serving):
    versions = {publish(tmp_path, edition(0)): 0}
    server, runtime, _ = serving()
    over = threading.Event()
    answers = []

    def keep_asking():
        while not over.is_set():
            answers.append(server.ask(QUESTION))

    readers = [threading.Thread(target=keep_asking) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        until(lambda: answers)
        for number in range(1, 5):
            new = publish(tmp_path, edition(number))
            versions[new] = number
            until(lambda new=new: health(server)["index"] == new)
            seen = len(answers)
            until(lambda seen=seen: len(answers) > seen + 3)
    finally:
        over.set()
        for reader in readers:
            reader.join()
    used = set()
    for answer in answers:
        kept = runtime.store.interaction(answer.json()["id"])
        number = versions[kept.index_version]
        said = message(answer)
        assert f"edition {number}." in said.content
        assert all(f"edition {number}." in row["passage"] for row in kept.passages)
        used.add(number)
    assert used == {0, 1, 2, 3, 4}


def test_a_broken_version_is_told_once_and_the_old_one_answers(tmp_path, serving, caplog):
    old = publish(tmp_path, edition(1))
    server, _, live = serving()
    broken = publish(tmp_path, edition(2), damage=cut)
    until(lambda: live.refused)
    for _ in range(10):
        assert "edition 1" in message(server.ask(QUESTION)).content
    refusals = [record for record in caplog.records if "index_refused" in record.message]
    assert len(refusals) == 1
    assert broken in refusals[0].message
    assert "passages.arrow" in refusals[0].message
    assert "\n" not in refusals[0].message
    told = health(server)
    assert (told["status"], told["index"]) == ("ok", old)
    assert broken in told["detail"]
    new = publish(tmp_path, edition(3))
    until(lambda: health(server)["index"] == new)
    assert health(server)["detail"] == ""


def test_a_version_that_is_repaired_is_taken_when_it_is_published_again(tmp_path, follow):
    publish(tmp_path, edition(1))
    live = follow()
    broken = publish(tmp_path, edition(2), damage=cut)
    until(lambda: live.refused)
    write_passages(tmp_path / "index" / broken, edition(2))
    time.sleep(0.05)
    assert live.current.version != broken
    assert publish(tmp_path, edition(2), damage=cut) == broken
    until(lambda: live.current.version == broken)
    assert live.refused is None


def test_going_back_to_the_version_in_use_forgets_the_broken_one(tmp_path, follow):
    old = publish(tmp_path, edition(1))
    live = follow()
    publish(tmp_path, edition(2), damage=cut)
    until(lambda: live.refused)
    publish(tmp_path, edition(1))
    until(lambda: live.refused is None)
    assert live.current.version == old


def test_whatever_a_loader_raises_the_old_version_stays(tmp_path, follow, caplog):
    old = publish(tmp_path, edition(1))

    def loader(folder):
        if folder.name != old:
            raise MemoryError("too\nlarge")
        return load(folder)

    live = follow(loader)
    publish(tmp_path, edition(2))
    until(lambda: live.refused)
    assert live.refused[1] == "MemoryError: too large"
    assert live.current.version == old


def test_a_pointer_that_goes_or_names_nothing_changes_nothing(tmp_path, follow):
    old = publish(tmp_path, edition(1))
    live = follow()
    pointer = tmp_path / "index" / "current"
    write_text_atomic(pointer, "nowhere\n")
    until(lambda: live.refused)
    assert "nowhere is not in" in live.refused[1]
    for damage in (lambda: pointer.write_bytes(b""), lambda: pointer.write_bytes(b"\xff"), pointer.unlink):
        damage()
        time.sleep(0.05)
    assert live.refused[0] == "nowhere"
    assert live.current.version == old
    new = publish(tmp_path, edition(2))
    until(lambda: live.current.version == new)


def test_the_old_versions_memory_is_freed(tmp_path, follow):
    publish(tmp_path, edition(1))
    live = follow()
    old = weakref.ref(live.current)
    new = publish(tmp_path, edition(2))
    until(lambda: live.current.version == new)
    gc.collect()
    assert old() is None


def test_a_version_is_loaded_beside_the_one_that_answers(tmp_path, follow):
    old = publish(tmp_path, edition(1))
    loading, go = threading.Event(), threading.Event()

    def loader(folder):
        if folder.name != old:
            loading.set()
            go.wait()
        return load(folder)

    live = follow(loader)
    new = publish(tmp_path, edition(2))
    try:
        assert loading.wait(60)
        assert live.current.version == old
    finally:
        go.set()
    until(lambda: live.current.version == new)


def test_changes_are_logged_in_one_line(tmp_path, follow, caplog):
    caplog.set_level(logging.INFO)
    old = publish(tmp_path, edition(1))
    live = follow()
    new = publish(tmp_path, edition(2))
    until(lambda: live.current.version == new and any("index_changed" in record.message for record in caplog.records))
    [line] = [record.message for record in caplog.records if "index_changed" in record.message]
    assert old in line
    assert new in line


def test_what_became_current_before_following_began_is_taken_too(tmp_path):
    publish(tmp_path, edition(1))
    live = LiveIndex(tmp_path, load, poll_s=0.01)
    new = publish(tmp_path, edition(2))
    live.follow()
    try:
        until(lambda: live.current.version == new)
    finally:
        live.close()


def test_without_an_index_nothing_starts(tmp_path):
    with pytest.raises(ArtifactError, match="wellread index"):
        LiveIndex(tmp_path, load)


def test_after_closing_nothing_is_followed(tmp_path, follow):
    old = publish(tmp_path, edition(1))
    live = follow()
    live.close()
    threads = [thread for thread in threading.enumerate() if thread.name == "index"]
    for thread in threads:
        thread.join(60)
    publish(tmp_path, edition(2))
    assert live.current.version == old


def publish_index(root, chunks, embedder):
    """Make a real index of the passages current. Returns its folder."""

    def make(folder):
        return Made(build_index(chunks, embedder, folder).counts)

    settings = {"chunks": [chunk.id for chunk in chunks], "embedder": embedder.name}
    return Workspace(root).build("index", make, inputs={}, settings=settings).path


def test_real_indexes_follow_each_other(tmp_path, follow):
    embedder = WordHashEmbedder()
    publish_index(tmp_path, edition(1), embedder)
    live = follow(lambda folder: Index.load(folder, embedder))
    search = Retriever(lambda: live.current, 3)
    before = search.find(QUESTION)
    new = publish_index(tmp_path, [passage("other", "Backups", "A backup is made with pg_dump.")], embedder)
    until(lambda: live.current.version == new.name)
    after = search.find(QUESTION)
    assert before.answerable
    assert {hit.chunk.url for hit in before.hits} == {chunk.url for chunk in edition(1)}
    assert [hit.chunk.title for hit in after.hits] == ["Other"]
    assert not after.answerable


def test_a_real_index_of_another_embedder_is_refused(tmp_path, follow):
    embedder = WordHashEmbedder()
    old = publish_index(tmp_path, edition(1), embedder)
    live = follow(lambda folder: Index.load(folder, embedder))
    publish_index(tmp_path, edition(1), WordHashEmbedder("other"))
    until(lambda: live.refused)
    assert "made with other" in live.refused[1]
    assert live.current.version == old.name


@pytest.mark.parametrize("file", [INDEX, PASSAGES, LEXICAL])
def test_a_real_index_that_is_incomplete_is_refused(tmp_path, follow, file):
    embedder = WordHashEmbedder()
    old = publish_index(tmp_path, edition(1), embedder)
    live = follow(lambda folder: Index.load(folder, embedder))
    broken = publish_index(tmp_path, edition(2), embedder)
    until(lambda: live.current.version == broken.name)
    publish_index(tmp_path, edition(1), embedder)
    until(lambda: live.current.version == old.name)
    (broken / file).rename(tmp_path / "away")
    publish_index(tmp_path, edition(2), embedder)
    until(lambda: live.refused)
    assert live.refused[0] == broken.name
    assert Retriever(lambda: live.current, 3).find(QUESTION).version == old.name
