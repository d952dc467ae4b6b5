"""The offline stages on real sites and folders: what is kept, what is left out and why, and what runs again."""

import os
import signal
import subprocess
import sys
import time

import pytest

from configs.artifacts import Workspace
from configs.errors import ArtifactError, ConfigError, SourceError
from configs.load import SHIPPED, load_config
from ingest.index_stage import run_index
from ingest.pipeline import DOCUMENTS, EXAMPLES, REJECTS, questions, run_examples, run_ingest
from ingest.records import Chunk, Document, Example, Reject, read_table
from tests.ingest.site_server import Answer

SENTENCE = "This page explains how the {0} works, and why somebody would want to use the {0} on every working day."


def page(topic, *links):
    anchors = "".join(f'<a href="{link}">{link}</a> ' for link in links)
    body = f"<main><h1>{topic.title()}</h1><p>{SENTENCE.format(topic)}</p><h2>How to stop the {topic}</h2>"
    # No thirteen words in a row are those of another page: training rows that share as many with held-out ones go.
    rest = f"<p>The {topic} is stopped with the red button, which stands left of the {topic}.</p></main>"
    html = f"<html><head><title>{topic.title()}</title></head><body><nav>{anchors}</nav>{body}{rest}</body></html>"
    return Answer(html.encode())


TOPICS = ("pump", "lathe", "drill", "crane", "forge", "press")


@pytest.fixture
def site(site_of):
    answers = {f"/{topic}.html": page(topic, "/") for topic in TOPICS}
    answers["/"] = page("workshop", *answers, "copy.html", "short.html", "gone.html")
    answers["/copy.html"] = page("pump", "/")
    answers["/short.html"] = Answer(b"<html><body><main><p>Nothing here.</p></main></body></html>")
    return site_of(answers)


def configured(tmp_path, *overrides):
    fixed = [f"root={tmp_path}/root", "source.allow_private=true"]
    return load_config(SHIPPED / "ci.yaml", [*fixed, *overrides], {})


def quiet(_what, _done, _total):
    pass


def rows(config, stage, file, kind):
    return list(read_table(Workspace(config.root).current(stage).path / file, kind))


def test_a_site_becomes_chunks_and_everything_left_out_has_a_reason(tmp_path, site):
    config = configured(tmp_path, f"source.site={site.url}")
    chunks = run_ingest(config, quiet)
    assert chunks.manifest.counts["documents"] == len(TOPICS) + 1
    assert {document.title for document in rows(config, "documents", DOCUMENTS, Document)} == {
        "Workshop",
        *(topic.title() for topic in TOPICS),
    }
    reasons = {reject.url.rpartition("/")[2]: reject.rule for reject in rows(config, "documents", REJECTS, Reject)}
    assert reasons == {"pump.html": "duplicate", "short.html": "too_short"}
    assert [r.url.rpartition("/")[2] for r in rows(config, "pages", REJECTS, Reject)] == ["gone.html"]
    texts = [chunk.text for chunk in rows(config, "chunks", "chunks.parquet", Chunk)]
    assert not any("gone.html" in text for text in texts)


def test_an_unchanged_site_leads_to_nothing_new_and_a_changed_page_does(tmp_path, site):
    config = configured(tmp_path, f"source.site={site.url}")
    first, again = run_ingest(config, quiet), run_ingest(config, quiet)
    assert (again.id, again.reused) == (first.id, True)
    site.answers["/forge.html"] = page("anvil", "/")
    changed = run_ingest(config, quiet)
    assert changed.id != first.id
    assert len(Workspace(config.root).versions("pages")) == 2


def test_index_and_examples_follow_and_run_once(tmp_path, site):
    config = configured(tmp_path, f"source.site={site.url}")
    run_ingest(config, quiet)
    index = run_index(config, quiet)
    examples = run_examples(config, quiet)
    assert index.manifest.counts["chunks"] == 2 * (len(TOPICS) + 1)
    assert {row.split for row in rows(config, "examples", EXAMPLES, Example)} == {"train", "holdout"}
    assert run_index(config, quiet).reused
    assert run_examples(config, quiet).id == examples.id
    asked = questions(config, 2)
    assert 1 <= len(asked) <= 2
    assert all(question.endswith(("?", ".")) for question in asked)


def test_a_folder_is_read_too(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "pump.md").write_text(f"# Pump\n\n{SENTENCE.format('pump')}\n")
    (tmp_path / "docs" / "crane.txt").write_text(SENTENCE.format("crane"))
    chunks = run_ingest(configured(tmp_path, f"source.folder={tmp_path}/docs"), quiet)
    assert chunks.manifest.counts["documents"] == 2


def redacting(folder):
    policy = folder / "policy.yaml"
    policy.write_text("stages: {document: [{guard: pii, action: redact}]}")
    return policy


def test_personal_data_is_redacted_where_asked(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(f"# Pump\n\nWrite to ada@example.org. {SENTENCE.format('pump')}\n")
    config = configured(tmp_path, f"source.folder={tmp_path}/docs", f"guards.policy={redacting(tmp_path)}")
    run_ingest(config, quiet)
    assert "Write to <EMAIL>." in rows(config, "documents", DOCUMENTS, Document)[0].text
    assert Workspace(config.root).current("documents").manifest.counts["redacted"] == 1


def test_nothing_to_read_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match=r"source\.site"):
        run_ingest(configured(tmp_path), quiet)


def test_when_nothing_is_kept_the_reasons_are_counted_and_can_be_looked_at(tmp_path, site_of):
    site = site_of({"/": Answer(b"<html><body><main><h1>Hi</h1><p>Short.</p></main></body></html>")})
    config = configured(tmp_path, f"source.site={site.url}")
    with pytest.raises(SourceError, match=r"none of the 1 pages.*too_short 1.*wellread data rejects"):
        run_ingest(config, quiet)
    assert [reject.rule for reject in rows(config, "documents", REJECTS, Reject)] == ["too_short"]


def test_stages_out_of_order_say_which_comes_first(tmp_path):
    with pytest.raises(ArtifactError, match="Run `wellread ingest` first"):
        run_index(configured(tmp_path), quiet)
    with pytest.raises(ArtifactError, match="Run `wellread index` first"):
        run_examples(configured(tmp_path), quiet)
    assert questions(configured(tmp_path), 3) == []


def test_another_embedder_than_the_indexs_is_refused(tmp_path, site):
    config = configured(tmp_path, f"source.site={site.url}")
    run_ingest(config, quiet)
    folder = run_index(config, quiet).path
    (folder / "index.json").write_text((folder / "index.json").read_text().replace("all-MiniLM-L6-v2", "other"))
    with pytest.raises(ArtifactError, match="embedded:other"):
        run_examples(config, quiet)


INGEST = """
import sys
from app.cli import run
sys.exit(run(["ingest", *sys.argv[1:]]))
"""


def test_ingest_killed_at_any_moment_ends_like_an_unbroken_run(tmp_path, site):
    overrides = [f"source.site={site.url}", "source.delay_s=0.05"]
    unbroken = run_ingest(configured(tmp_path / "a", *overrides), quiet)
    broken = configured(tmp_path / "b", *overrides)
    sets = [f"root={broken.root}", "source.allow_private=true", "source.concurrency=4", *overrides]
    arguments = ["--config", str(SHIPPED / "ci.yaml"), *(part for value in sets for part in ("--set", value))]
    for seconds in (1.0, 2.5):
        process = subprocess.Popen([sys.executable, "-c", INGEST, *arguments], stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finished = run_ingest(broken, quiet)
    assert finished.manifest.counts == unbroken.manifest.counts
    assert (finished.path / "chunks.parquet").read_bytes() == (unbroken.path / "chunks.parquet").read_bytes()
    assert list(broken.root.glob("*/.partial*")) == []


def one_page(html):
    return Answer(html.encode())


def test_one_hostile_page_does_not_stop_the_others(tmp_path, site_of):
    answers = {f"/{topic}.html": page(topic, "/") for topic in TOPICS}
    bad_targets = [f"/bad{n}" for n in range(3)]
    answers["/"] = page("workshop", *answers, *bad_targets, "/korean.html", "/level.html")
    for path, target in zip(bad_targets, ("http://a:b:c/", "http://x\x01y/", "//[bad"), strict=True):
        answers[path] = Answer(status=302, headers={"Location": target})
    answers["/korean.html"] = Answer(page("anvil", "/").body, content_type="text/html; charset=euc-kr")
    level = "9" * 5000
    answers["/level.html"] = one_page(f'<main><div role="heading" aria-level="{level}">A</div>{SENTENCE}</main>')
    config = configured(tmp_path, f"source.site={site_of(answers).url}")
    chunks = run_ingest(config, quiet)
    assert chunks.manifest.counts["documents"] == len(TOPICS) + 3
    rejected = {reject.url.rpartition("/")[2] for reject in rows(config, "pages", REJECTS, Reject)}
    assert rejected == {"bad0", "bad1", "bad2"}


def test_a_canonical_address_that_many_pages_name_costs_none_of_them(tmp_path, site_of):
    def claims(topic, canonical):
        html = page(topic, "/").body.decode().replace("<head>", f'<head><link rel="canonical" href="{canonical}">')
        return one_page(html)

    answers = {f"/{topic}.html": claims(topic, "/") for topic in TOPICS[:3]}
    answers["/print.html"] = claims("crane", "/crane.html")
    answers["/"] = page("workshop", *answers)
    site = site_of(answers)
    config = configured(tmp_path, f"source.site={site.url}")
    run_ingest(config, quiet)
    addresses = {document.url.removeprefix(site.url) for document in rows(config, "documents", DOCUMENTS, Document)}
    assert addresses == {"", "print.html", *(f"{topic}.html" for topic in TOPICS[:3])}


def test_escape_sequences_in_a_title_are_gone_and_so_is_personal_data(tmp_path, site_of):
    html = page("pump").body.decode().replace("<title>Pump", "<title>Pump&#27;[31m by ada@example.org")
    address = site_of({"/": one_page(html)}).url
    config = configured(tmp_path, f"source.site={address}", f"guards.policy={redacting(tmp_path)}")
    run_ingest(config, quiet)
    assert rows(config, "documents", DOCUMENTS, Document)[0].title == "Pump[31m by <EMAIL>"


def test_passages_cut_for_another_embedder_are_refused(tmp_path, site):
    run_ingest(configured(tmp_path, f"source.site={site.url}"), quiet)
    with pytest.raises(ArtifactError, match=r"cut for the embedder embedded:all-MiniLM.*Run `wellread ingest`"):
        run_index(configured(tmp_path, "embed.model=other/model"), quiet)


def test_a_site_that_goes_away_near_the_end_leaves_the_rest_for_the_next_run(tmp_path, site_of):
    def hang_up():
        raise ConnectionResetError

    paths = [f"/{topic}.html" for topic in TOPICS[:4]]
    site = site_of({"/": page("workshop", *paths), **dict.fromkeys(paths, hang_up)})
    config = configured(tmp_path, f"source.site={site.url}", "source.retries=0")
    with pytest.raises(SourceError, match="stopped answering"):
        run_ingest(config, quiet)
    site.answers.update({path: page(path[1:-5], "/") for path in paths})
    assert run_ingest(config, quiet).manifest.counts["documents"] == 5


def test_a_charset_that_the_server_corrects_arrives_although_the_bytes_are_the_same(tmp_path, site_of):
    words = "\u041d\u0430\u0441\u043e\u0441 \u043a\u0430\u0447\u0430\u0435\u0442"
    body = f"<main><h1>{words}</h1><p>{f'{words}. ' * 20}</p></main>".encode("cp1251")
    site = site_of({"/": Answer(body, content_type="text/html; charset=koi8-r")})
    config = configured(tmp_path, f"source.site={site.url}")
    run_ingest(config, quiet)
    assert words not in rows(config, "documents", DOCUMENTS, Document)[0].text
    site.answers["/"] = Answer(body, content_type="text/html; charset=windows-1251")
    run_ingest(config, quiet)
    assert words in rows(config, "documents", DOCUMENTS, Document)[0].text


def test_a_policy_that_changes_while_pages_are_read_is_told_and_nothing_is_kept_under_its_old_name(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(f"# Pump\n\nWrite to ada@example.org. {SENTENCE.format('pump')}\n")
    policy = redacting(tmp_path)
    config = configured(tmp_path, f"source.folder={tmp_path}/docs", f"guards.policy={policy}")

    def edit(what, _done, _total):
        if what == "read":
            policy.write_text("stages: {}")

    with pytest.raises(ConfigError, match="changed while documents were read"):
        run_ingest(config, edit)
    redacting(tmp_path)
    run_ingest(config, quiet)
    assert "ada@" not in rows(config, "documents", DOCUMENTS, Document)[0].text


def test_an_older_document_stays_the_older_one_when_the_source_is_set_otherwise(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("a", "b"):
        (docs / f"{name}.md").write_text(f"# {name}\n\n{SENTENCE.format(name * 5)}\n")
    run_ingest(configured(tmp_path, f"source.folder={docs}"), quiet)
    (docs / "z.md").write_text(f"# New\n\n{SENTENCE.format('lathe')}\n")
    run_ingest(configured(tmp_path, f"source.folder={docs}"), quiet)
    (docs / "c.md").write_text((docs / "z.md").read_text())
    config = configured(tmp_path, f"source.folder={docs}", "source.max_pages=4999")
    run_ingest(config, quiet)
    fresh = configured(tmp_path / "fresh", f"source.folder={docs}", "source.max_pages=4999")
    run_ingest(fresh, quiet)
    kept = [[row.url for row in rows(one, "documents", DOCUMENTS, Document)] for one in (config, fresh)]
    assert kept[0] == kept[1]
