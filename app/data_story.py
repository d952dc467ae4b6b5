"""How `wellread data show` tells the story of a document: as lines to read, and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest.records import Document
    from ingest.versions.story import Made, Story

# What a screen holds of each list; the JSON has all.
MOST = 12
LABEL = 12


def story_as_json(story: "Story") -> dict[str, Any]:
    """Everything, with the document's own fields at the top."""
    document = story.document or story.extracted
    head: dict[str, Any] = dict.fromkeys(("id", "title", "outline", "text"))
    if document:
        head = {"id": document.id, "title": document.title, "outline": _outline(document), "text": document.text}
    rest = asdict(story)
    for name in ("extracted", "document"):
        one = getattr(story, name)
        rest[name] = {**rest[name], "outline": _outline(one)} if one else None
    return {**head, **rest}


def story_lines(story: "Story") -> Iterator[str]:
    """The story as text of a page or two."""
    yield story.url
    yield ""
    yield from _beginning(story)
    yield from _fate(story)
    yield from _list("passage", story.chunks)
    yield from _list("example", story.examples)
    models = [f"{model} ({_many(count, 'example')})" for model, count in story.models.items()]
    yield from _field("trained", ", ".join(models) or "no model on it")
    for one in story.appearances[-MOST:]:
        here = ", told here" if one.version == story.version else ""
        yield from _field("data set", f"{one.version}  {one.made}  {one.state}{here}")
    if story.document:
        yield ""
        yield from (f"  {heading}" for heading in _outline(story.document))


def _beginning(story: "Story") -> Iterator[str]:
    if page := story.page:
        kind = f"{page.content_type}{'; ' + page.charset if page.charset else ''}, {page.size:,} bytes"
        yield from _field("fetched", f"{page.fetched_at:%Y-%m-%d %H:%M:%S} UTC, {kind}, run {page.crawl}")
        if page.etag or page.last_modified:
            yield from _field("", f"ETag {page.etag or '(none)'}, last modified {page.last_modified or '(not said)'}")
        if page.missing:
            yield from _field("", f"not there any more in the last {_many(page.missing, 'run')}")
    else:
        yield from _field("fetched", "not read")
    if read := story.extracted:
        about = [f"“{read.title}”", _many(len(read.text.split()), "word"), _many(len(_outline(read)), "heading")]
        about += [read.language or "language not said"] + ([f"dated {read.date}"] if read.date else [])
        yield from _field("extracted", ", ".join(about))


def _fate(story: "Story") -> Iterator[str]:
    if done := story.cleaned:
        change = "nothing changed"
        if done.lines_out or done.words_before != done.words_after:
            lines = f"{_many(done.lines_out, 'line')} out or altered"
            change = f"{done.words_before:,} to {_many(done.words_after, 'word')}, {lines}"
        yield from _field("cleaned", "; ".join([change, *map(_spoken, done.counts)]))
        for line in done.lines:
            yield from _field("", f"- {line[:100]}")
    for reject in story.rejects:
        figures = f" (score {reject.score:g}, threshold {reject.threshold:g})" if reject.threshold else ""
        yield from _field("left out", f"{reject.rule}: {reject.detail}{figures}")
        if reject.matched:
            yield from _field("repeats", f"{reject.matched} (similarity {reject.score:.3g})")
    if story.document:
        language = f", {story.document.language}" if story.document.language else ""
        yield from _field("kept", f"document {story.document.id}, “{story.document.title}”{language}")
    for reject in story.repeated_by[:MOST]:
        yield from _field("repeated by", f"{reject.url} ({reject.rule}, similarity {reject.score:.3g})")
    yield from _more(len(story.repeated_by))


def _list(name: str, rows: "Sequence[Made]") -> Iterator[str]:
    if not rows:
        yield from _field(f"{name}s", "none")
    for number, row in enumerate(rows[:MOST]):
        yield from _field(_many(len(rows), name) if not number else "", f"{row.id}  {row.where:<13} {row.about}")
    yield from _more(len(rows))


def _more(count: int) -> Iterator[str]:
    if count > MOST:
        yield from _field("", f"and {count - MOST} more; --json shows them all")


def _spoken(count: str) -> str:
    return count.replace("_", " ").replace("=", " ")


def _many(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


def _field(name: str, text: str) -> Iterator[str]:
    # Titles and details are a page's, and may be of several lines.
    yield f"{name:<{LABEL}} {' '.join(text.splitlines())}"


def _outline(document: "Document") -> list[str]:
    headed = [section for section in document.sections if section.heading]
    return [f"{'  ' * max(section.level - 1, 0)}{' '.join(section.heading.split())}" for section in headed]
