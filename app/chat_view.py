"""What the chat page shows, as HTML.

In: turns of a conversation. Out: HTML strings for `gr.HTML`, which puts them into the page as they are. So nothing
from a model, a document or a person gets here unescaped: questions, titles, urls and passages are escaped; answers are
rendered as Markdown with raw HTML, links and images off, so that an answer can neither run nor fetch anything.

Known limit: addresses of kind `file:` become links as well, but browsers follow them only from pages on disk.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from markdown_it import MarkdownIt

from serve.wire import Citation, GuardReport

CONTEXT_CHARS = 220
LINKABLE = re.compile(r"(https?|file)://[^\s\x00-\x1f\x7f]+", re.IGNORECASE)
MARKER = re.compile(r"\[(\d{1,3})\]")

# How a turn ended, or that it has not: the wire's finish reasons, and what only the page knows.
State = Literal["streaming", "stop", "length", "content_filter", "stopped", "failed"]


@dataclass
class Turn:
    """A question and what became of it."""

    question: str
    retrieval: bool = True
    answer: str = ""
    state: State = "streaming"
    interaction_id: str = ""
    grounded: bool = False
    citations: list[Citation] = field(default_factory=list)
    guard: list[GuardReport] = field(default_factory=list)
    search_query: str = ""
    """What was searched for, where that is not the question itself."""
    error: str = ""
    vote: Literal["up", "down"] | None = None
    note: str = ""
    """What became of the feedback, in words."""

    @property
    def answered(self) -> bool:
        """A whole answer came, so there is something to vote on."""
        return self.state in ("stop", "length", "content_filter") and bool(self.interaction_id)


@dataclass
class Chat:
    """A conversation, and the turn whose sources are shown."""

    turns: list[Turn] = field(default_factory=list)
    selected: int = -1


def conversation(chat: Chat, lead: str, examples: Sequence[str]) -> str:
    """The questions and answers; before the first one, `lead` and buttons for the examples."""
    busy = any(turn.state == "streaming" for turn in chat.turns)
    shown = (_turn(turn, number, number == chat.selected) for number, turn in enumerate(chat.turns))
    inner = "".join(shown) or _empty(lead, examples)
    return f'<div class="wr-log" role="log" aria-label="Conversation" aria-busy="{str(busy).lower()}">{inner}</div>'


def sources(chat: Chat) -> str:
    """The cards of the selected turn, numbered as in its answer."""
    turn = chat.turns[chat.selected] if 0 <= chat.selected < len(chat.turns) else None
    heading = "Nearest sources" if turn and turn.citations and not turn.grounded else "Sources"
    cards = "".join(_card(citation) for citation in turn.citations) if turn else ""
    return f'<h2 class="wr-side">{heading}</h2>{cards or _no_cards(turn)}'


def status(model: str, index: str) -> str:
    """The header's line about a server that is ready."""
    parts = [f"<span>{escape(model)}</span>" if model else "", f"<span>index {escape(index)}</span>" if index else ""]
    return f'<p class="wr-status" role="status"><i class="wr-dot"></i>{"".join(parts) or "<span>ready</span>"}</p>'


def alert(text: str, kind: Literal["error", "done"] = "error") -> str:
    """A line that screen readers announce at once."""
    return f'<p class="wr-alert wr-{kind}" role="alert">{escape(text)}</p>' if text else ""


def header(title: str) -> str:
    return f'<h1 class="wr-brand">{escape(title)}</h1>'


def correction_title(question: str) -> str:
    return f'<h2 class="wr-side">A better answer to</h2><p class="wr-quoted">{escape(question)}</p>'


def markdown(text: str, cited: Collection[int] = (), turn: int = 0) -> str:
    """An answer as inert HTML.

    Args:
        cited: the source numbers whose `[n]` become buttons.
        turn: the index that those buttons carry.
    """
    rendered: str = _MARKDOWN.render(text, {"cited": frozenset(cited), "turn": turn})
    return rendered


def _inert_markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False})
    parser.enable(["table", "strikethrough"])
    parser.disable(["link", "image", "autolink", "html_inline", "html_block", "reference"])
    parser.add_render_rule("text", _text_with_markers)
    return parser


def _text_with_markers(_: Any, tokens: Sequence[Any], at: int, __: Any, env: Any) -> str:
    return MARKER.sub(lambda found: _marker(int(found[1]), env), escape(tokens[at].content))


def _marker(number: int, env: Any) -> str:
    if number not in env["cited"]:
        return f'<span class="wr-cite">{number}</span>'
    where = f'data-act="choose" data-turn="{env["turn"]}" data-source="{number}"'
    return f'<button type="button" class="wr-cite" {where} aria-label="Source {number}">{number}</button>'


_MARKDOWN = _inert_markdown()


def _empty(lead: str, examples: Sequence[str]) -> str:
    buttons = "".join(
        f'<li><button type="button" data-act="example" data-turn="{number}">{escape(question)}</button></li>'
        for number, question in enumerate(examples)
    )
    return f'<div class="wr-empty"><p>{escape(lead)}</p>{f"<ul>{buttons}</ul>" if buttons else ""}</div>'


def _turn(turn: Turn, number: int, selected: bool) -> str:
    return (
        f'<article class="wr-turn{" wr-selected" if selected else ""}">'
        f'<div class="wr-question"><span class="wr-hidden">You asked: </span>{escape(turn.question)}</div>'
        f'<div class="wr-answer">{_verdict(turn)}{_body(turn, number)}{_notes(turn)}'
        f"{_foot(turn, number, selected)}</div></article>"
    )


def _body(turn: Turn, number: int) -> str:
    # What a guard held back stays back: only its reason is shown.
    if turn.state == "content_filter":
        return ""
    if turn.state == "streaming" and not turn.answer:
        return '<p class="wr-waiting"><span class="wr-hidden">Waiting for the answer</span><i></i><i></i><i></i></p>'
    live = " wr-live" if turn.state == "streaming" else ""
    cited = [citation.number for citation in turn.citations]
    return f'<div class="wr-text{live}">{markdown(turn.answer, cited, number)}</div>' if turn.answer else ""


def _verdict(turn: Turn) -> str:
    if turn.state == "content_filter":
        return '<p class="wr-verdict wr-blocked">Held back</p>'
    if turn.state not in ("stop", "length") or turn.grounded:
        return ""
    if not turn.retrieval:
        return '<p class="wr-verdict">Answered without the documents</p>'
    return '<p class="wr-verdict">Not in the documents</p>'


def _notes(turn: Turn) -> str:
    lines = [_guard_line(report) for report in turn.guard]
    if turn.state == "content_filter" and not lines:
        lines.append(turn.answer or "A safety check held this back, without giving a reason.")
    if turn.search_query and turn.state != "content_filter":
        lines.append(f"Searched for: {turn.search_query}")
    if turn.state == "length":
        lines.append("The answer reached the maximum length and was cut there.")
    if turn.state == "stopped":
        lines.append("Stopped.")
    noted = "".join(f'<p class="wr-note">{escape(line)}</p>' for line in lines)
    return noted + alert(turn.error)


def _guard_line(report: GuardReport) -> str:
    side = {"input": "Your question", "passage": "A passage"}.get(report.stage, "The answer")
    did = {"block": "was held back", "redact": "was changed", "flag": "was marked"}.get(report.action, report.action)
    return f"{side} {did}: {report.reason or report.category}"


def _foot(turn: Turn, number: int, selected: bool) -> str:
    if turn.state == "streaming":
        return ""
    parts = []
    if turn.citations:
        name = "nearest source" if not turn.grounded else "source"
        count = f"{len(turn.citations)} {name}{'s' if len(turn.citations) > 1 else ''}"
        pressed = f'aria-pressed="{str(selected).lower()}"'
        parts.append(f'<button type="button" data-act="choose" data-turn="{number}" {pressed}>{count}</button>')
    if turn.answered:
        parts += [_thumb(turn, number, "up", "Good answer"), _thumb(turn, number, "down", "Bad answer")]
        parts.append(f'<button type="button" data-act="correct" data-turn="{number}">Correct it</button>')
        parts.append(f'<span class="wr-saved" role="status">{escape(turn.note)}</span>')
    return f'<div class="wr-foot">{"".join(parts)}</div>' if parts else ""


_THUMB = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 21H4a1 1 0 0 1-1-1v-8a1 1 0 0 1 1-1h3m0 10V11m0 10h10.3'
    'a2 2 0 0 0 2-1.6l1.5-7.5a2 2 0 0 0-2-2.4H14l.8-3.9A2.1 2.1 0 0 0 12.7 3L7 11"/></svg>'
)


def _thumb(turn: Turn, number: int, vote: str, label: str) -> str:
    pressed = f'aria-pressed="{str(turn.vote == vote).lower()}"'
    where = f'data-act="vote" data-turn="{number}" data-vote="{vote}"'
    return f'<button type="button" class="wr-thumb wr-{vote}" {where} {pressed} aria-label="{label}">{_THUMB}</button>'


def _no_cards(turn: Turn | None) -> str:
    if turn is None:
        text = "The passages that an answer rests on appear here."
    elif turn.state == "streaming":
        text = "Reading…"
    elif not turn.retrieval:
        text = "The documents were switched off for this answer."
    else:
        text = "There are no sources for this answer."
    return f'<p class="wr-nothing">{text}</p>'


def _card(citation: Citation) -> str:
    title = escape(citation.title or citation.url)
    if LINKABLE.fullmatch(citation.url):
        away = '<span class="wr-hidden"> (opens in a new tab)</span>'
        address = f'href="{escape(citation.url)}" target="_blank" rel="noopener noreferrer"'
        title = f"<a {address}>{title}{away}</a>"
    heading = f'<p class="wr-heading">{escape(citation.heading)}</p>' if citation.heading else ""
    score = f'<span class="wr-score" title="Cosine similarity to the question">match {citation.score:.2f}</span>'
    return (
        f'<article class="wr-card" id="source-{citation.number}" tabindex="-1">'
        f'<header><span class="wr-number">{citation.number}</span><h3>{title}</h3>{score}</header>'
        f'{heading}{_passage(citation)}<p class="wr-url">{escape(citation.url)}</p></article>'
    )


def _passage(citation: Citation) -> str:
    text = citation.passage
    start, end = find_quote(text, citation.quote)
    if start == end:
        lost = f"<mark>{escape(citation.quote)}</mark> " if citation.quote.strip() else ""
        return f"<blockquote>{lost}{escape(_cut(text, 2 * CONTEXT_CHARS))}</blockquote>"
    before, after = text[:start], text[end:]
    quoted = f"<mark>{escape(text[start:end])}</mark>"
    excerpt = (
        f"<blockquote>{escape(_cut(before, -CONTEXT_CHARS))}{quoted}{escape(_cut(after, CONTEXT_CHARS))}</blockquote>"
    )
    if len(before) <= CONTEXT_CHARS and len(after) <= CONTEXT_CHARS:
        return excerpt
    whole = f"<blockquote>{escape(before)}{quoted}{escape(after)}</blockquote>"
    return f"{excerpt}<details><summary>Whole passage</summary>{whole}</details>"


def find_quote(passage: str, quote: str) -> tuple[int, int]:
    """Where the quote stands in the passage, however its white space is set; (0, 0) when it does not."""
    words = quote.split()
    found = re.search(r"\s+".join(re.escape(word) for word in words), passage) if words else None
    return found.span() if found else (0, 0)


def _cut(text: str, limit: int) -> str:
    """The first `limit` characters, or for a negative limit the last, at a word's edge, with an ellipsis."""
    if len(text) <= abs(limit):
        return text
    if limit < 0:
        return "… " + text[limit:].partition(" ")[2]
    return text[:limit].rpartition(" ")[0] + " …"
