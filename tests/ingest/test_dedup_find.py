"""Duplicates over a corpus: found, named, verified, and the same however they were worked out."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ArtifactError
from ingest.dedup.candidates import OLDEST
from ingest.dedup.find import DUPLICATES, find_duplicates, judged
from ingest.dedup.shingles import normal
from ingest.dedup.signatures import SIGNATURES
from ingest.dedup.verify import SIMILARITIES
from ingest.records import Document, stable_id
from tests.ingest.test_dedup_shingles import grams

TABLES = (SIGNATURES, SIMILARITIES, DUPLICATES)


def make(name, text, crawl=1):
    url = f"https://x.org/{name}"
    return Document(stable_id(url, text), url, "", text, (), crawl=crawl)


def words(count, seed, vocabulary=5000):
    return [f"w{number}" for number in random.Random(seed).choices(range(vocabulary), k=count)]


def edited(text, changes, seed):
    generator, parts = random.Random(seed), text.split()
    for at in generator.sample(range(len(parts)), changes):
        parts[at] = f"new{generator.randrange(10**6)}"
    return " ".join(parts)


def found(folder, documents, previous=None, **options):
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(documents, key=lambda document: document.url)
    counts = find_duplicates(lambda: iter(ordered), folder, previous=previous, **options)
    return {document.url: verdict for document, verdict in judged(ordered, folder) if verdict}, counts


def corpus(seed=0, pages=120):
    """Pages, of which every third has a near-copy and every fourth an exact one, all of them newer."""
    documents = [make(f"p{number:03}", " ".join(words(150, f"{seed}/{number}"))) for number in range(pages)]
    near = [make(f"n{page.url[-4:]}", edited(page.text, 2, page.url), crawl=2) for page in documents[::3]]
    same = [make(f"s{page.url[-4:]}", page.text.upper(), crawl=3) for page in documents[::4]]
    return documents, near, same


def test_planted_duplicates_are_found_and_name_the_older_page(tmp_path):
    documents, near, same = corpus()
    verdicts, counts = found(tmp_path, documents + near + same, threshold=0.8)
    assert set(verdicts) == {page.url for page in near + same}
    for page in near + same:
        verdict = verdicts[page.url]
        assert verdict.matched_url == page.url.replace("/np", "/p").replace("/sp", "/p")
        assert verdict.kind == ("near_duplicate" if page in near else "duplicate")
    assert (counts["near_duplicate"], counts["duplicate"]) == (len(near), len(same))


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_the_lower_crawl_is_the_older_whatever_its_address(tmp_path, names):
    text = " ".join(words(80, 1))
    old, new = make(names[0], text, crawl=1), make(names[1], edited(text, 1, 1), crawl=2)
    verdicts, _ = found(tmp_path, [old, new])
    assert [(url, verdict.matched_id) for url, verdict in verdicts.items()] == [(new.url, old.id)]


def test_only_equal_texts_without_near(tmp_path):
    documents, near, same = corpus(pages=24)
    verdicts, counts = found(tmp_path, documents + near + same, near=False)
    assert set(verdicts) == {page.url for page in same}
    assert counts["near_duplicate"] == 0


VOCABULARY = st.sampled_from("pump valve seal rotor motor oil".split())
TEXTS = st.lists(st.lists(VOCABULARY, max_size=14).map(" ".join), min_size=1, max_size=12)


def similarity(first, second):
    sets = set(grams(first)), set(grams(second))
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@given(TEXTS, st.sampled_from([0.3, 0.5, 0.8]), st.data())
@settings(max_examples=25)
def test_every_verdict_holds_by_brute_force(tmp_path_factory, texts, threshold, data):
    documents = [make(f"{number:02}", text, data.draw(st.integers(1, 3))) for number, text in enumerate(texts)]
    verdicts, _ = found(tmp_path_factory.mktemp("out"), documents, threshold=threshold)
    by_id = {document.id: document for document in documents}
    for document in documents:
        if not (verdict := verdicts.get(document.url)):
            continue
        older = by_id[verdict.matched_id]
        assert (older.crawl, older.url) < (document.crawl, document.url)
        if verdict.kind == "duplicate":
            assert normal(older.text) == normal(document.text)
        else:
            assert verdict.similarity == similarity(older.text, document.text) >= verdict.threshold == threshold
            assert older.url not in verdicts


@given(TEXTS, st.randoms(use_true_random=False))
@settings(max_examples=12)
def test_the_order_of_reading_changes_no_verdict(tmp_path_factory, texts, generator):
    documents = [make(f"{number:02}", text) for number, text in enumerate(texts)]
    shuffled = generator.sample(documents, len(documents))
    results = []
    for order in (documents, shuffled):
        out = tmp_path_factory.mktemp("out")
        find_duplicates(lambda order=order: iter(order), out, previous=None, threshold=0.5)
        results.append({document.id: verdict for document, verdict in judged(order, out)})
    assert results[0] == results[1]


def test_what_the_version_before_had_is_taken_over_and_changes_nothing(tmp_path):
    documents, near, same = corpus()
    first = documents + near[:20] + same[:10]
    found(tmp_path / "1", first)
    # Some pages go, some come, one changes.
    second = documents[5:] + near + same[5:] + [make("p000", "Something else. " * 30, crawl=4)]
    scratch, _ = found(tmp_path / "scratch", second)
    again, counts = found(tmp_path / "2", second, previous=tmp_path / "1")
    assert again == scratch
    for table in TABLES:
        assert (tmp_path / "2" / table).read_bytes() == (tmp_path / "scratch" / table).read_bytes()
    assert counts["signatures_reused"] == len({page.id for page in first} & {page.id for page in second})


def test_an_unchanged_corpus_reads_its_texts_for_nothing(tmp_path):
    documents, near, same = corpus(pages=30)
    found(tmp_path / "1", documents + near + same)
    # Same ids with other texts: whoever reads them would see.
    empty = [replace(page, text="") for page in documents + near + same]
    verdicts, counts = found(tmp_path / "2", empty, previous=tmp_path / "1")
    assert (counts["signatures_reused"], counts["similarities_computed"]) == (len(empty), 0)
    assert set(verdicts) == {page.url for page in near + same}


@pytest.mark.parametrize("options", [{"threshold": 0.5}, {"near": False}])
def test_tables_made_with_other_settings_are_not_used(tmp_path, options):
    documents, near, same = corpus(pages=12)
    found(tmp_path / "1", documents + near + same, **options)
    _, counts = found(tmp_path / "2", documents + near + same, previous=tmp_path / "1", threshold=0.9)
    assert counts["signatures_reused"] == 0


def test_a_run_that_was_killed_is_made_again(tmp_path):
    documents, near, same = corpus(pages=12)
    found(tmp_path / "whole", documents + near + same)
    out = tmp_path / "killed"
    out.mkdir()
    for table in TABLES:
        (out / table).write_bytes((tmp_path / "whole" / table).read_bytes()[:50])
    found(out, documents + near + same)
    for table in TABLES:
        assert (out / table).read_bytes() == (tmp_path / "whole" / table).read_bytes()
    assert {path.name for path in out.iterdir()} == set(TABLES)


@pytest.mark.parametrize("table", [SIGNATURES, SIMILARITIES])
def test_a_damaged_table_of_the_version_before_is_named(tmp_path, table):
    documents, near, same = corpus(pages=12)
    found(tmp_path / "1", documents + near + same)
    (tmp_path / "1" / table).write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(ArtifactError, match=table):
        found(tmp_path / "2", documents, previous=tmp_path / "1")


@pytest.mark.parametrize("changes", [0, 1])
def test_a_thousand_copies_take_about_a_thousand_comparisons(tmp_path, changes):
    text = " ".join(words(100, 1))
    copies = [make(f"{number:04}", edited(text, changes, number)) for number in range(1000)]
    verdicts, counts = found(tmp_path, copies, threshold=0.8)
    assert {verdict.matched_url for verdict in verdicts.values()} == {"https://x.org/0000"}
    assert len(verdicts) == 999
    assert counts["similarities_computed"] == 999 * changes


def test_pages_of_one_template_cost_a_bounded_number_of_comparisons_each(tmp_path):
    frame = words(60, 1)
    pages = [make(f"{number:03}", " ".join(frame + words(40, number))) for number in range(300)]
    verdicts, counts = found(tmp_path, pages, threshold=0.8)
    assert verdicts == {}
    assert counts["similarities_computed"] <= 300 * OLDEST * 21


def test_a_chain_of_revisions_is_cut_where_nothing_kept_is_alike(tmp_path):
    texts = [" ".join(words(200, 1))]
    for number in range(6):
        texts.append(edited(texts[-1], 5, number))
    chain = [make(f"{number}", text, crawl=number + 1) for number, text in enumerate(texts)]
    verdicts, _ = found(tmp_path, chain, threshold=0.8)
    kept = [page for page in chain if page.url not in verdicts]
    assert 1 < len(kept) < len(chain)
    for url, verdict in verdicts.items():
        assert verdict.matched_url in {page.url for page in kept} - {url}


@pytest.mark.parametrize("documents", [[], [make("a", "")], [make("a", ""), make("b", " \n")], [make("a", "!?")]])
def test_few_and_empty_documents_are_no_trouble(tmp_path, documents):
    verdicts, counts = found(tmp_path, documents)
    assert counts["documents"] == len(documents)
    assert len(verdicts) == max(len(documents) - 1, 0)


def test_documents_that_change_between_readings_are_noticed(tmp_path):
    text = " ".join(words(80, 1))
    readings = iter([[make("a", text), make("b", edited(text, 1, 1))], [make("a", text)]])
    with pytest.raises(RuntimeError, match="row 1"):
        find_duplicates(lambda: iter(next(readings)), tmp_path, previous=None)


def test_progress_counts_the_documents(tmp_path):
    seen = []
    find_duplicates(lambda: iter([make("a", "x"), make("b", "y")]), tmp_path, previous=None, progress=seen.append)
    assert seen == [1, 2]
