"""The difference of two data sets: each document that differs once, whatever the tables look like, and what moved."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.artifacts import Manifest, Version, Workspace
from configs.errors import ArtifactError
from ingest.records import write_table
from ingest.versions.ancestry import ancestors, find_version, named_version, reject_tables
from ingest.versions.diff import changes, moved_counts, moved_settings
from tests.ingest.versions import LATHE, PUMP, SITE, TEXTS, Document, Versions, document


def data_set(folder, texts, counts=None):
    """A version that holds these documents; its manifest only what a difference reads."""
    folder.mkdir(exist_ok=True)
    write_table(folder / "documents.parquet", [document(url, text) for url, text in texts], Document)
    fields = {"stage": "documents", "version": folder.name, "created": 0, "seconds": 0, "inputs": {}, "settings": {}}
    rest = {"counts": counts or {}, "figures": {}, "code_revision": "", "packages": {}}
    return Version(folder, Manifest.model_validate({**fields, **rest}))


ADDRESSES = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["one", "two words"]))


# Each example writes two tables.
@settings(max_examples=30)
@given(ADDRESSES, ADDRESSES)
def test_each_document_that_differs_is_told_once(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("diff")
    sets = [data_set(folder / name, sorted(texts.items())) for name, texts in (("a", old), ("b", new))]
    found = list(changes(*sets))
    assert [change.url for change in found] == sorted(url for url in old | new if old.get(url) != new.get(url))
    for change in found:
        kind = "added" if change.url not in old else "removed" if change.url not in new else "changed"
        assert change.kind == kind
        assert change.words_before == len(old.get(change.url, "").split())
        assert change.words_after == len(new.get(change.url, "").split())
        assert bool(change.before) == (change.url in old)


def test_a_text_that_cleaning_changed_counts_although_its_id_is_the_same(tmp_path):
    before, after = data_set(tmp_path / "a", [("u", PUMP)]), data_set(tmp_path / "b", [])
    altered = document("u", PUMP)
    write_table(
        after.path / "documents.parquet", [Document(altered.id, "u", "Pump", PUMP.replace("Ann", "X"), ())], Document
    )
    (change,) = changes(before, after)
    assert (change.kind, change.before) == ("changed", change.after)


def test_tables_of_many_row_groups_are_merged(tmp_path):
    old = [(f"u{number:05}", str(number)) for number in range(0, 3000, 2)]
    new = [(f"u{number:05}", str(number)) for number in range(0, 3000, 3)]
    found = list(changes(data_set(tmp_path / "a", old), data_set(tmp_path / "b", new)))
    assert sum(change.kind == "removed" for change in found) == 1000
    assert sum(change.kind == "added" for change in found) == 500
    assert [change.url for change in found] == sorted(change.url for change in found)


def test_several_documents_of_one_address_are_compared_together(tmp_path):
    two = [("u", "one"), ("u", "two")]
    same = data_set(tmp_path / "a", two), data_set(tmp_path / "b", two)
    assert list(changes(*same)) == []
    (change,) = changes(same[0], data_set(tmp_path / "c", [("u", "one"), ("u", "three more")]))
    assert (change.kind, change.words_before, change.words_after) == ("changed", 2, 3)


def test_a_table_that_is_not_sorted_is_refused_instead_of_compared_wrongly(tmp_path):
    unsorted = data_set(tmp_path / "a", [("b", "x"), ("a", "x")])
    with pytest.raises(ArtifactError, match="not sorted by address"):
        list(changes(unsorted, data_set(tmp_path / "b", [])))


def test_a_damaged_table_is_one_line(tmp_path):
    good, bad = data_set(tmp_path / "a", []), data_set(tmp_path / "b", [])
    (bad.path / "documents.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ArtifactError, match=r"cannot read .*documents\.parquet"):
        list(changes(good, bad))


def test_counts_that_moved_and_those_that_came_or_went(tmp_path):
    before = data_set(tmp_path / "a", [], {"documents": 1, "redacted": 2, "rejected_c4": 1})
    after = data_set(tmp_path / "b", [], {"documents": 3, "redacted": 2, "rejected_short": 4})
    moved = {one.name: (one.before, one.after) for one in moved_counts(before, after)}
    assert moved == {"documents": (1, 3), "rejected_c4": (1, None), "rejected_short": (None, 4)}


@pytest.fixture
def two(tmp_path):
    versions = Versions(tmp_path)
    before = versions.make()
    after = versions.make({**TEXTS, "a/pump.html": LATHE + " And more.", "c/new.html": PUMP}, min_words=1)
    return versions.workspace, before, after


def test_settings_of_all_stages_behind_are_compared(two):
    workspace, before, after = two
    moved = [(one.name, one.before, one.after) for one in moved_settings(workspace, before, after)]
    assert moved == [("cleaned.min_words", 3, 1)]
    assert {change.url.removeprefix(SITE): change.kind for change in changes(before, after)} == {
        "a/pump.html": "changed",
        "c/new.html": "added",
    }


def test_versions_go_by_their_names_and_ids(two):
    workspace, before, after = two
    assert named_version(workspace, "current").id == after.id
    assert named_version(workspace, "previous").id == before.id
    assert named_version(workspace, before.id).id == before.id
    assert find_version(workspace, ".") is None
    assert find_version(workspace, "../documents/" + before.id) is None


def test_an_unknown_version_is_told_with_the_nearest(two):
    workspace, before, _ = two
    wrong = before.id[:-1] + "x"
    with pytest.raises(ArtifactError, match=f"no version '{wrong}' of documents. There is {before.id}"):
        named_version(workspace, wrong)
    pages = workspace.current("pages").id
    with pytest.raises(ArtifactError, match=f"{pages} is a version of pages, not of documents"):
        named_version(workspace, pages)


def test_there_is_no_previous_one_of_one_version(tmp_path):
    versions = Versions(tmp_path)
    versions.make()
    with pytest.raises(ArtifactError, match="only one version of documents"):
        named_version(versions.workspace, "previous")


def test_what_a_version_was_made_from_is_found_by_the_manifests(two):
    workspace, _, after = two
    assert [one.manifest.stage for one in ancestors(workspace, after)] == ["pages", "extracted", "cleaned"]
    assert [stage for stage, _ in reject_tables(workspace, after)] == ["pages", "documents"]


def test_what_somebody_deleted_is_left_out_of_the_ancestors(two):
    workspace, _, after = two
    extracted = ancestors(workspace, after)[1]
    (extracted.path / "manifest.json").unlink()
    assert [one.manifest.stage for one in ancestors(workspace, after)] == ["cleaned"]
    assert Workspace(workspace.root).current("documents").id == after.id
