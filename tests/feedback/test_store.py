"""The store keeps what was acknowledged, counts a user's last vote, and says clearly when it cannot be used."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from configs.errors import ArtifactError, ConfigError
from feedback.store import Feedback, Interaction, Store


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/deep/feedback.db"


@pytest.fixture
def store(url):
    with closing(Store(url)) as opened:
        yield opened


def interaction(name="i1", **changes):
    return Interaction(
        **{
            "id": name,
            "question": "What is VACUUM?",
            "answer": "It reclaims storage. [1]",
            "model": "base",
            "passages": [{"url": "https://x.org/", "score": 0.5}],
            "parameters": {"temperature": 0.0},
            "guard": [{"action": "redact"}],
            "timings": {"total": 1.5},
            "grounded": True,
            **changes,
        }
    )


def test_an_interaction_comes_back_as_it_was(store):
    row = interaction(created=datetime(2026, 1, 2, tzinfo=UTC))
    store.record(row)
    assert store.interaction("i1") == row
    assert store.interaction("nosuch") is None


def test_recording_twice_keeps_the_first(store):
    store.record(interaction())
    store.record(interaction(answer="other"))
    assert [row.answer for row in store.interactions()] == ["It reclaims storage. [1]"]


def test_feedback_is_newest_first_and_limited(store):
    store.record(interaction())
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for n in range(5):
        store.add_feedback(Feedback("i1", comment=str(n), created=start + timedelta(hours=n)))
    assert [row.comment for row in store.feedback(limit=2)] == ["4", "3"]
    assert [row.comment for row in store.feedback(since=start + timedelta(hours=3))] == ["4", "3"]


def test_a_users_last_vote_counts_and_others_stay(store):
    store.record(interaction())
    start = datetime(2026, 1, 1, tzinfo=UTC)
    votes = [("ann", "up"), ("bob", "up"), ("ann", "down"), ("ann", None)]
    for n, (user, vote) in enumerate(votes):
        correction = "better" if vote is None else None
        store.add_feedback(Feedback("i1", vote, correction, user=user, created=start + timedelta(hours=n)))
    assert store.votes() == {("i1", "ann"): "down", ("i1", "bob"): "up"}
    assert len(store.feedback()) == 4


def test_feedback_on_nothing_is_refused(store):
    with pytest.raises(KeyError):
        store.add_feedback(Feedback("nosuch", "up"))
    assert store.feedback() == []


def test_a_second_process_sees_what_the_first_wrote(store, url):
    store.record(interaction())
    with closing(Store(url)) as other:
        assert other.interaction("i1") == store.interaction("i1")


WRITER = """
import sys
from feedback.store import Feedback, Interaction, Store
store = Store(sys.argv[1])
store.record(Interaction("i1", "q", "a", "m"))
while True:
    print(store.add_feedback(Feedback("i1", "up")).id, flush=True)
"""


def test_every_acknowledged_vote_survives_kill_9(url):
    process = subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True)
    acknowledged = [process.stdout.readline().strip() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    acknowledged += process.communicate()[0].split()
    # The last line may have been cut off by the kill; what was printed whole was acknowledged.
    complete = {name for name in acknowledged if len(name) == 32}
    with closing(Store(url)) as store:
        assert complete <= {row.id for row in store.feedback()}


@pytest.mark.parametrize("url", ["garbage", "nosuch://x/y", "postgresql+nosuch://u:hidden@localhost/x"])
def test_a_bad_url_is_refused_without_its_password(url):
    with pytest.raises(ConfigError, match=r"feedback\.database") as caught:
        Store(url)
    assert "hidden" not in str(caught.value)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "f.db").write_text("this is no database, but long enough to look at" * 20)
    with pytest.raises(ArtifactError, match=r"f\.db"):
        Store(f"sqlite:///{tmp_path}/f.db")


def test_a_store_of_a_newer_wellread_is_refused(store, url):
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw, raw:
        raw.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(ArtifactError, match="schema 99"):
        Store(url)


def test_a_folder_that_cannot_be_made_is_named():
    with pytest.raises(ArtifactError, match="feedback store"):
        Store("sqlite:////proc/nosuch/feedback.db")


def test_a_store_that_can_no_longer_be_written_says_so(store, url):
    store.record(interaction())
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw, raw:
        raw.execute("DROP TABLE feedback")
    with pytest.raises(ArtifactError, match="cannot be used"):
        store.add_feedback(Feedback("i1", "up"))
