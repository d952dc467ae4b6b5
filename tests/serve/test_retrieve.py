"""What one search finds, whether it counts as answered, and the sections around passages."""

import pytest

from ingest.search.filters import Filter
from serve.retrieve import Found, Retriever, holds
from tests.serve.conftest import DOCUMENTS, SITE, WordIndex, passage

QUESTION = "What does VACUUM FULL do?"
PARTS = (
    passage("guide", "Start", "The pump opens slowly.", start=10),
    passage("guide", "Start", "Then the motor waits.", start=34),
    passage("guide", "Stop", "The pump closes.", start=80),
)


def retriever(index=None, **options):
    index = index or WordIndex()
    return Retriever(lambda: index, 3, **options)


def test_the_indexs_own_threshold_decides():
    found = retriever().find(QUESTION)
    assert (found.answerable, found.threshold, found.version) == (True, 0.5, "index-1")
    assert 0.5 <= found.probability <= 1
    far = retriever().find("Which bananas grow fastest?")
    assert (far.answerable, len(far.hits)) == (False, 3)
    assert far.probability < 0.5


@pytest.mark.parametrize(("least", "answerable"), [(0.0, True), (0.2, True), (1.0, False)])
def test_a_setting_overrides_the_threshold(least, answerable):
    found = retriever(min_answerable=least).find("Which index grows fastest?")
    assert (found.answerable, found.threshold) == (answerable, least)


def test_without_a_passage_nothing_is_answerable():
    found = retriever(WordIndex(()), min_answerable=0.0).find(QUESTION)
    assert (found.hits, found.answerable, found.probability) == ((), False, 0.0)


@pytest.mark.parametrize("query", ["", "  \n"])
def test_nothing_asked_finds_nothing(query):
    found = retriever(min_answerable=0.0).find(query)
    assert (found.hits, found.answerable, found.version) == ((), False, "index-1")


@pytest.mark.parametrize("query", ["vacuum " * 15_000, "Was macht VACUUM FULL?", "VACUUM FULL は何をしますか", "?!"])
def test_odd_queries_are_answered(query):
    assert len(retriever().find(query).hits) == 3


def test_a_request_says_how_many_and_which():
    assert len(retriever().find(QUESTION, 1).hits) == 1
    found = retriever().find(QUESTION, wanted=Filter(url_prefix=f"{SITE}/backup"))
    assert [hit.chunk.url for hit in found.hits] == [f"{SITE}/backup"]


def test_sections_come_along_where_they_say_more_than_the_passage():
    found = retriever(WordIndex(PARTS), read_as="section").find("pump opens")
    assert set(found.sections) == {PARTS[0].id, PARTS[1].id}
    section = found.sections[PARTS[0].id]
    assert (section.id, section.start, section.end) == (PARTS[0].id, 10, 55)
    assert section.text[34 - 10 :] == PARTS[1].text
    assert retriever(WordIndex(PARTS)).find("pump opens").sections == {}


def test_a_section_that_no_prompt_would_hold_does_not_come_along():
    assert retriever(WordIndex(PARTS), read_as="section", max_section_chars=40).find("pump").sections == {}


def test_what_the_prompt_shows_stands_in_front_and_holds_its_parts():
    found = retriever(WordIndex(PARTS), read_as="section").find("pump opens")
    section = found.sections[PARTS[0].id]
    seen = found.showing([section])
    assert [hit.chunk for hit in seen.hits] == [section, PARTS[2]]
    assert seen.hits[0].score == found.hits[0].score
    assert found.showing([]).hits == found.hits


def test_only_places_in_the_same_document_hold_each_other():
    whole = passage("guide", "Start", "x" * 100)
    assert holds(whole, PARTS[0])
    assert not holds(PARTS[0], whole)
    assert not holds(passage("other", "Start", "x" * 100), PARTS[0])


class Leaving(WordIndex):
    """An index that is no longer the one in use once it has searched."""

    def __init__(self, leave):
        super().__init__(DOCUMENTS, "old")
        self.leave = leave

    def search(self, query, k, wanted=None):
        found = super().search(query, k, wanted)
        self.leave()
        return found


def test_a_search_is_answered_by_one_version_even_if_another_comes_in_between():
    in_use = []
    in_use.append(Leaving(lambda: in_use.insert(0, WordIndex((passage("new", "New", "New text."),), "new"))))
    search = Retriever(lambda: in_use[0], 3, read_as="section")
    first, second = search.find(QUESTION), search.find(QUESTION)
    assert (first.version, first.answerable, len(first.hits)) == ("old", True, 3)
    assert (second.version, second.answerable, len(second.hits)) == ("new", False, 1)


def test_nothing_found_is_nothing():
    assert Found() == Found(hits=(), sections={}, answerable=False, probability=0.0, threshold=0.0, version="")
