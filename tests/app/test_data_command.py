"""`wellread data show`, `diff`, `rejects` and `report` as people meet them, and the report in a real Chromium."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from app.cli import run
from configs.artifacts import Made
from ingest.records import Reject, write_table
from ingest.versions.report import report_again
from tests.ingest.versions import LATHE, PUMP, SITE, TEXTS, Versions

PUMP_URL, LATHE_URL, COPY_URL, TINY_URL = (
    SITE + name for name in ("a/pump.html", "a/lathe.html", "b/copy.html", "b/tiny.html")
)


@pytest.fixture
def versions(tmp_path, monkeypatch):
    """A workspace in the current folder, with one data set."""
    monkeypatch.chdir(tmp_path)
    Path("wellread.yaml").write_text("root: data\n")
    made = Versions(tmp_path / "data")
    made.make()
    return made


@pytest.fixture
def call(capsys):
    """(exit code, stdout, stderr) of `wellread data ...`."""

    def called(*arguments):
        code = run(["data", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.fixture
def asked(call):
    """What `wellread data ... --json` prints."""

    def answer(*arguments):
        code, out, err = call(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return answer


def test_the_story_goes_from_the_page_to_the_models(versions, asked):
    documents = versions.workspace.current("documents")
    model = versions.use(documents)
    story = asked("show", PUMP_URL)
    assert (story["title"], story["outline"], story["version"]) == ("Pump", ["Pump"], documents.id)
    assert story["text"].endswith("Call <PERSON> now.")
    assert (story["page"]["size"], story["page"]["etag"], story["page"]["crawl"]) == (len(PUMP), '"1"', 2)
    assert (story["extracted"]["language"], story["extracted"]["date"]) == ("en", "2026-05-04")
    assert story["cleaned"]["lines"] == ["Call Ann now.", "Share this page"]
    assert story["cleaned"]["counts"] == ["redacted=1"]
    assert [chunk["where"] for chunk in story["chunks"]] == [f"0-{len(story['text'])}"]
    assert [(one["about"], one["where"]) for one in story["examples"]] == [("What is it?", "train")]
    assert story["models"] == {model.id: 1}
    assert [(one["version"], one["state"]) for one in story["appearances"]] == [(documents.id, "same")]


def test_a_story_is_found_by_any_id(versions, asked):
    versions.use(versions.workspace.current("documents"))
    by_url = asked("show", PUMP_URL)
    for kind, which in (("document", by_url["id"]), ("passage", f"c{by_url['id']}"), ("example", f"ec{by_url['id']}")):
        story = asked("show", which)
        assert (story["asked_for"], story["url"]) == (kind, PUMP_URL)
    assert asked("show", PUMP_URL.replace("example.org", "EXAMPLE.org") + "#part")["url"] == PUMP_URL


def test_a_story_reads_well(versions, call):
    versions.use(versions.workspace.current("documents"))
    code, out, _ = call("show", LATHE_URL)
    assert code == 0
    for part in (
        f"fetched      2026-11-02 00:00:00 UTC, text/html; utf-8, {len(LATHE)} bytes, run 2",
        "“Lathe”, 11 words, 1 heading, en, dated 2026-05-04",
        "cleaned      nothing changed",
        f"repeated by  {COPY_URL} (near_duplicate, similarity 0.91)",
        "1 passage  ",
        "What is it?",
        "told here",
    ):
        assert part in out


def test_the_story_of_a_duplicate_names_what_it_repeats(versions, call, asked):
    story = asked("show", COPY_URL)
    assert story["document"] is None
    assert [(one["rule"], one["matched"], one["score"]) for one in story["rejects"]] == [
        ("near_duplicate", LATHE_URL, 0.91)
    ]
    assert [one["url"] for one in asked("show", LATHE_URL)["repeated_by"]] == [COPY_URL]
    assert f"repeats      {LATHE_URL} (similarity 0.91)" in call("show", COPY_URL)[1]


def test_the_story_of_what_was_left_out_says_why(versions, call, asked):
    assert "left out     too_short: 1 words (score 1, threshold 3)" in call("show", TINY_URL)[1]
    gone = asked("show", SITE + "gone.html")
    assert (gone["page"], gone["id"], gone["rejects"][0]["rule"]) == (None, None, "http_404")
    assert gone["appearances"][0]["state"] == "absent"
    assert "not read" in call("show", SITE + "gone.html")[1]


def test_a_document_that_is_gone_is_told_from_the_last_version_that_had_it(versions, asked):
    first = versions.workspace.current("documents")
    second = versions.make({"a/lathe.html": LATHE})
    story = asked("show", PUMP_URL)
    assert story["version"] == first.id
    assert {one["version"]: one["state"] for one in story["appearances"]} == {first.id: "same", second.id: "absent"}


def test_a_file_is_found_by_its_path(versions, asked, tmp_path):
    Path("pump.md").write_text(PUMP)
    versions.make({"pump.md": PUMP}, site=f"{tmp_path.as_uri()}/")
    assert asked("show", "pump.md")["url"] == (tmp_path / "pump.md").as_uri()


def test_a_version_is_shown_as_its_manifest(versions, asked):
    documents = versions.workspace.current("documents")
    assert asked("show", documents.id)["counts"] == documents.manifest.counts


@pytest.mark.parametrize("which", ["nosuch", SITE + "nosuch.html", "../documents", ".", "..", "a/b"])
def test_what_nothing_is_called_is_one_line(versions, call, which):
    code, out, err = call("show", which)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert repr(which) in err


def test_a_damaged_table_is_one_line(versions, call):
    (versions.workspace.current("documents").path / "documents.parquet").write_bytes(b"no")
    code, out, err = call("show", PUMP_URL)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "documents.parquet" in err


def test_rejects_come_with_all_that_is_known_of_them(versions, call, asked):
    (found,) = asked("rejects", "--rule", "near_duplicate")
    assert found == {
        "url": COPY_URL,
        "rule": "near_duplicate",
        "detail": f"91% of {LATHE_URL}",
        "score": 0.91,
        "threshold": 0.8,
        "matched": LATHE_URL,
        "sample": LATHE,
    }
    out = call("rejects")[1]
    assert f"http_404  {SITE}gone.html" in out
    assert f"repeats {LATHE_URL}" in out
    assert "“Lathe The lathe turns a piece of wood around its axis.”" in out
    assert "(score 0.91, threshold 0.8)" in out
    assert len(asked("rejects", "--limit", "2")) == 2


def test_rejects_are_counted_by_rule(versions, call, asked):
    counts = asked("rejects", "--counts")
    assert {(one["rule"], one["stage"], one["count"]) for one in counts} == {
        ("http_404", "pages", 1),
        ("near_duplicate", "documents", 1),
        ("too_short", "documents", 1),
    }
    assert [one["count"] for one in asked("rejects", "--counts", "--rule", "too_short")] == [1]
    assert "Left out: 3" in call("rejects", "--counts")[1]


def test_a_rule_that_left_nothing_out_names_those_that_did(versions, call):
    code, out, err = call("rejects", "--rule", "nosuch")
    assert (code, out) == (0, "")
    assert "http_404, near_duplicate, too_short" in err


def test_a_diff_lists_what_changed_and_what_moved(versions, call, asked):
    first = versions.workspace.current("documents").id
    second = versions.make({**TEXTS, "a/pump.html": "Pump\n\nIt is blue now.", "c/new.html": PUMP}, min_words=1).id
    told = asked("diff", first, second)
    assert (told["a"], told["b"], told["added"], told["changed"], told["removed"]) == (first, second, 1, 1, 0)
    assert [(one["kind"], one["url"]) for one in told["documents"]] == [
        ("changed", PUMP_URL),
        ("added", SITE + "c/new.html"),
    ]
    assert {"name": "documents", "before": 2, "after": 3} in told["counts"]
    assert told["settings"] == [{"name": "cleaned.min_words", "before": 3, "after": 1}]
    assert asked("diff") == told
    code, out, err = call("diff", "--limit", "1")
    assert code == 0
    assert "added 1, changed 1, removed 0" in " ".join(out.split())
    assert "1 more; --limit shows them" in err
    assert asked("diff", "current", "current")["documents"] == []


def test_a_diff_with_an_unknown_version_is_one_line(versions, call):
    first = versions.workspace.current("documents").id
    for arguments in (["nosuch", "current"], ["current", versions.workspace.current("pages").id], []):
        code, out, err = call("diff", *arguments)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert first in err or "only one version" in err


def test_a_report_is_named_or_made(versions, call, asked):
    code, _, err = call("report")
    assert (code, err.count("\n")) == (1, 1)
    assert "--out" in err
    made = asked("report", "--out", "here.html")
    assert made["path"] == str(Path("here.html").resolve())
    assert "<!doctype html>" in Path("here.html").read_text()
    kept = versions.workspace.current("documents").path / "report.html"
    kept.write_text("made by the stage")
    assert call("report")[1].strip() == str(kept.resolve())
    assert kept.read_text() == "made by the stage"


def test_a_report_that_cannot_be_written_is_one_line(versions, call):
    code, _, err = call("report", "--out", "nosuch/here.html")
    assert (code, err.count("\n")) == (1, 1)
    assert "nosuch" in err


def test_escape_sequences_of_a_page_never_reach_the_terminal(versions, call):
    table = versions.workspace.current("documents").path / "rejects.parquet"
    write_table(table, [Reject("https://example.org/\x1b[2J", "x\x1b]0;", "\x9b31m", 1, 2, "\x07", "a\x1bb")], Reject)
    out = call("rejects")[1] + call("rejects", "--counts")[1]
    assert not {"\x1b", "\x9b", "\x07"} & set(out)


EVIL = "<script>document.title='taken'</script><img src=https://evil.example/x.png onerror=alert(1)>"


@pytest.fixture
def report(versions):
    """The report of a data set with long addresses and hostile text, as an address."""
    long = f"{SITE}{'a-very-long-name-' * 12}.html"
    texts = {**TEXTS, f"b/copy-{EVIL}": LATHE, f"{'long-' * 30}copy.html": EVIL + " word" * 900}
    documents = versions.make(texts)
    rejects = [Reject(long, "rule_" * 12, EVIL * 3, 1, 2, long, "word" * 200), Reject(long, EVIL, EVIL, 0, 0, "", EVIL)]
    write_table(documents.path / "rejects.parquet", rejects, Reject)
    path = report_again(versions.workspace, documents, Path("report.html"), lambda text: len(text.split()))
    return path.resolve().as_uri()


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1280, "light"), (400, "dark")])
def test_the_report_fits_asks_for_nothing_and_runs_nothing(browser: Browser, report, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    asked_for, said = [], []
    page.on("request", lambda request: asked_for.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(report)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (asked_for, said) == ([report], [])
    assert page.title().startswith("Data report")
    assert page.locator(".sankey").is_visible() == (width > 760)
    assert page.locator(".steps").is_visible() == (width <= 760)
    # Dark and light differ, and text stands out from its ground in both.
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(22, 21, 20)" if scheme == "dark" else "rgb(250, 248, 245)")
    context.close()


@pytest.mark.browser
def test_the_report_prints_with_its_samples(browser: Browser, report):
    page = browser.new_page()
    page.goto(report)
    page.emulate_media(media="print")
    assert page.locator(".sample").first.is_visible()
    page.close()


def test_a_data_set_made_from_a_version_that_is_gone_has_one_line_instead_of_a_report(versions, call):
    versions.workspace.build("documents", lambda _: Made(), inputs={"cleaned": "nosuch"}, settings={})
    code, out, err = call("report", "--out", "x.html")
    assert (code, out, err.count("\n")) == (1, "", 1)
