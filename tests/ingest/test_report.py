"""The report of a data set: right numbers, in order, and nothing that a page says is ever markup."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.artifacts import Workspace
from configs.errors import ArtifactError
from ingest.records import Reject, write_table
from ingest.versions.profile import profile_documents
from ingest.versions.report import Facts, facts_of, funnel, report_again, write_report
from ingest.versions.report_charts import Step, columns, sankey
from ingest.versions.report_rejects import GROUP_MEMBERS, SAMPLES, Digest, digest_rejects
from ingest.versions.sketch import Sketch
from tests.ingest.versions import SITE, Document, Versions

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x00\x1b[2J'


def count(text):
    return len(text.split())


class Reader(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += f" {data}"


@pytest.fixture
def documents(tmp_path):
    return Versions(tmp_path / "root").make()


@pytest.fixture
def html(tmp_path, documents):
    path = report_again(Workspace(tmp_path / "root"), documents, tmp_path / "report.html", count)
    return path.read_text(encoding="utf-8")


def shown(html):
    return " ".join(re.sub(r"<(style|title)>.*?</\1>", "", Reader(html).text).split())


def test_the_report_says_what_was_read_and_what_is_left(html):
    text = shown(html)
    assert SITE in text
    assert "Of 5 addresses tried, 2 became documents of the data set (40%). 3 were left out" in text
    for figure in ("Addresses tried 5", "Pages read 4", "With text 4", "Clean 3", "Unique documents 2"):
        assert figure in text
    assert f"repeats {SITE}a/lathe.html" in text or f"91% of {SITE}a/lathe.html" in text
    assert "personal data 1" in text


def test_it_asks_for_nothing_and_runs_nothing(html):
    tags = Reader(html).tags
    assert {"script", "img", "iframe", "link", "object"} & {tag for tag, _ in tags} == set()
    policy = next(values for tag, values in tags if values.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")
    assert all(values.get("rel") == "nofollow noopener noreferrer" for tag, values in tags if tag == "a")
    assert not re.search(r"url\(|@import|\bon\w+=", html)


def test_the_same_data_set_has_the_same_report(tmp_path, documents, html):
    again = Versions(tmp_path / "other")
    again.make()
    path = report_again(again.workspace, again.workspace.current("documents"), tmp_path / "again.html", count)
    assert path.read_text(encoding="utf-8") == html


def test_passages_are_told_once_there_are_some(tmp_path, html):
    versions = Versions(tmp_path / "root")
    documents = versions.make()
    assert "passages" not in shown(html)
    versions.use(documents)
    path = report_again(versions.workspace, documents, tmp_path / "b.html", count)
    assert "2 passages" in shown(path.read_text(encoding="utf-8"))


def facts(documents, rejects=(), **counts):
    read = {"pages": len(documents) + len(rejects)}
    stages = [("pages", read), ("documents", {"documents": len(documents), **counts})]
    return Facts(EVIL, stages, profile_documents(documents, count), (), {"pages.site": EVIL})


def written(tmp_path, documents, rejects, **counts):
    table = tmp_path / "rejects.parquet"
    write_table(table, rejects, Reject)
    return write_report(tmp_path / "report.html", facts(documents, rejects, **counts), table).read_text(
        encoding="utf-8"
    )


def test_nothing_that_a_page_says_is_markup(tmp_path):
    evil = Document(EVIL, "javascript:alert(1)//" + EVIL, EVIL, EVIL + " word word", (), EVIL, EVIL[:9])
    rejects = [
        Reject("javascript:alert(2)", EVIL, EVIL, 1.0, 2.0, "javascript:alert(3)", EVIL),
        Reject("https://example.org/'\"><b onclick=x>", "rule", "", 1.0, 2.0, "https://example.org/<b>", EVIL),
        Reject(f"https://example.org/{EVIL}", "rule", EVIL, 1.0, 2.0, f"https://example.org/{EVIL}", EVIL),
    ]
    html = written(tmp_path, [evil], rejects, **{f"flagged_{EVIL}": 1, f"terms_{EVIL}": 2, "rejected_rule": 1})
    tags = Reader(html).tags
    assert {"script", "img"} & {tag for tag, _ in tags} == set()
    assert all(not name.startswith("on") for _, values in tags for name in values)
    links = [values["href"] for tag, values in tags if tag == "a"]
    assert links
    assert all(link.startswith("https://example.org/") for link in links)
    assert "<script>alert(1)</script>" in shown(html)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", html)


def test_what_was_taken_out_of_documents_is_told(tmp_path):
    one = Document("d", "https://example.org/", "T", "Some words.", ())
    html = written(tmp_path, [one], [], repeated_lines=1200, repeated_paragraphs=3, redacted=0)
    assert "since they repeat: 1,200 lines, 3 paragraphs." in shown(html)
    assert "Nothing was found." in shown(html)


def test_groups_of_people_are_shown_within_their_category(tmp_path):
    one = Document("d", "https://example.org/", "T", "Some words.", ())
    text = shown(written(tmp_path, [one], [], **{"terms_gender/male": 1, "terms_gender/female": 3, "terms_age/old": 2}))
    assert "Age old 2 100% Gender female 3 75% male 1 25%" in text


def test_a_data_set_without_a_document_has_a_report(tmp_path):
    html = written(tmp_path, [], [Reject("https://example.org/", "too_short", "1 words")], rejected_too_short=1)
    assert "None of the 1 pages read became a document" in shown(html)


def test_a_data_set_of_which_nothing_was_left_out_has_a_report(tmp_path):
    one = Document("d", "https://example.org/", "T", "Some words.", ())
    assert "Nothing was left out." in shown(written(tmp_path, [one], []))


def test_a_folder_is_named_and_its_addresses_are_no_links(tmp_path):
    one = Document("d", "file:///home/x/a.md", "T", "Some words.", ())
    html = written(tmp_path, [one], [Reject("file:///home/x/b.md", "too_short", "1 words")])
    assert "file:///home/x/b.md" in shown(html)
    assert "href=" not in html


def test_without_any_stage_there_is_no_funnel():
    with pytest.raises(ArtifactError, match="no counts"):
        funnel([("models", {})], {}, Digest())


def test_each_step_names_the_rules_that_took_what_is_missing():
    stages = [
        ("pages", {"pages": 10}),
        ("extracted", {"documents": 8, "rejected_empty": 2}),
        ("cleaned", {"documents": 5, "rejected_empty": 2, "rejected_c4": 1, "rejected_short": 2}),
        ("documents", {"documents": 4, "rejected_empty": 2, "rejected_c4": 1, "rejected_short": 2, "rejected_near": 1}),
    ]
    steps = funnel(stages, {"robots": 3}, Digest())
    assert [step.count for step in steps] == [13, 10, 8, 5, 4]
    assert [dict(step.left_out) for step in steps] == [
        {},
        {"robots": 3},
        {"empty": 2},
        {"c4": 1, "short": 2},
        {"near": 1},
    ]


def test_stages_that_count_no_rules_still_tell_how_many_they_left_out():
    stages = [("pages", {"pages": 9}), ("extracted", {"documents": 7}), ("cleaned", {"documents": 5})]
    last = ("documents", {"documents": 4, "rejected_empty": 2, "rejected_c4": 2, "rejected_near": 1})
    steps = funnel([*stages, last], {}, Digest(kinds={"near": 1}))
    assert [dict(step.left_out) for step in steps] == [{}, {"left out": 2}, {"left out": 2}, {"near": 1}]


COUNTS = st.lists(st.integers(0, 10**6), min_size=2, max_size=5)
RULES = st.dictionaries(st.text(min_size=1, max_size=40), st.integers(0, 10**6), max_size=12)


@given(COUNTS, RULES)
def test_names_of_what_was_left_out_never_touch_and_stay_inside(counts, rules):
    steps = [Step(f"s{n}", size, rules if n else {}) for n, size in enumerate(sorted(counts, reverse=True))]
    chart = sankey(steps)
    assert len(chart.nodes) == len(steps)
    for place in {flow.x for flow in chart.lost}:
        lines = [flow.y for flow in chart.lost if flow.x == place]
        assert all(later - earlier >= 21.9 for earlier, later in pairwise(lines))
    assert all(0 <= flow.y <= chart.height for flow in chart.lost)
    assert all(0 <= node.x <= chart.width for node in chart.nodes)
    shown = sum(flow.count for flow in chart.lost)
    assert shown == sum(n for n in rules.values() if n > 0) * (len(steps) - 1)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_the_columns_of_a_histogram_hold_every_value_once(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    drawn = columns(sketch.done())
    assert sum(column.count for column in drawn) == len(values)
    assert drawn[0].low <= min(values)
    assert drawn[-1].high >= max(values) * 0.98
    assert max(column.height for column in drawn) == 100.0
    zeros = [column.count for column in drawn if column.low == 0]
    assert zeros == ([values.count(0)] if 0 in values else [])


def rejects_of(tmp_path, rows):
    write_table(tmp_path / "r.parquet", rows, Reject)
    return digest_rejects([tmp_path / "r.parquet"])


def test_rules_are_counted_and_sampled(tmp_path):
    rows = [Reject(f"u{n:03}", "short", "", sample="x" if n % 2 else "") for n in range(100)]
    digest = rejects_of(tmp_path, [*rows, Reject("z", "long", ""), Reject("z", "long", "")])
    assert [(rule.name, rule.count) for rule in digest.rules] == [("short", 100), ("long", 2)]
    samples = digest.rules[0].samples
    assert len(samples) == SAMPLES
    assert all(one.sample for one in samples)
    assert [one.url for one in samples] != ["u001", "u003", "u005"]
    assert len(digest.rules[1].samples) == 2


def test_the_largest_groups_of_duplicates_come_with_some_members(tmp_path):
    rows = [Reject(f"copy{n}", "near_duplicate", "", matched="a") for n in range(9)]
    rows += [Reject("other", "duplicate", "", matched="b"), Reject("short", "too_short", "")]
    digest = rejects_of(tmp_path, rows)
    assert digest.kinds == {"near_duplicate": 9, "duplicate": 1}
    assert [(group.url, group.size, len(group.members)) for group in digest.groups] == [
        ("a", 9, GROUP_MEMBERS),
        ("b", 1, 1),
    ]


def test_a_stage_that_is_still_running_can_have_its_report(tmp_path, documents):
    workspace = Workspace(tmp_path / "root")
    cleaned = workspace.version("cleaned", documents.manifest.inputs["cleaned"])
    found = facts_of(workspace, cleaned, {"documents": 2}, profile_documents([], count))
    assert [stage for stage, _ in found.stages] == ["pages", "extracted", "cleaned", "documents"]
    assert found.source == SITE
    assert found.settings == {"pages.site": SITE, "cleaned.min_words": 3}
    assert [path.parent.parent.name for path in found.rejects] == ["pages"]
