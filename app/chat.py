"""The chat page: its layout, and which event leads where.

In: the address of a server that speaks `serve/wire.py`. Out: a Gradio page, mounted on a FastAPI app: the server's own,
or an empty one when the server runs elsewhere. The handlers are in `chat_events.py`, the HTML in `chat_view.py`.

The page loads nothing from other hosts: system fonts, no analytics, no share links, no programming interface of its
own, and no history of runs in the browser.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse

from app import chat_view as view
from app.chat_events import ChatEvents, Sampling
from app.chat_view import Chat
from app.client import Client
from serve.wire import MAX_MESSAGE_CHARS

HERE = Path(__file__).parent
LEAD = "Ask a question. The answer comes from the documents, and shows the passages it rests on."
STATE_SECONDS = 24 * 3600
SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0f6a5f"/>'
    '<path d="M7 9h8v14H7zM17 9h8v14h-8z" fill="#fff"/></svg>'
)


@dataclass
class Parts:
    """The components that events read and write."""

    chat: gr.State = field(default_factory=lambda: gr.State(Chat(), time_to_live=STATE_SECONDS))
    correcting: gr.State = field(default_factory=lambda: gr.State("", time_to_live=STATE_SECONDS))
    status: Any = None
    clear: Any = None
    conversation: Any = None
    sources: Any = None
    question: Any = None
    send: Any = None
    stop: Any = None
    settings: list[Any] = field(default_factory=list)
    panel: Any = None
    panel_title: Any = None
    correction: Any = None
    prefill: Any = None
    comment: Any = None
    save: Any = None
    close: Any = None
    saved: Any = None


def build_page(
    client: Client,
    *,
    title: str = "wellread",
    lead: str = LEAD,
    examples: Sequence[str] = (),
    sampling: Sampling | None = None,
) -> gr.Blocks:
    """Build the page.

    Args:
        client: the server that is asked.
        title: shown at the top and as the window's title.
        lead: one line that says what can be asked.
        examples: questions that the empty page offers.
        sampling: where the sliders stand at first.
    """
    events = ChatEvents(client, lead, examples)
    # Gradio would otherwise compute figures for a dashboard that is switched off, with pandas, over up to 10,000 past
    # events after each new one; with pandas 3 those calls are deprecated as well.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**12))
    page = gr.Blocks(title=title, analytics_enabled=False, fill_width=True)
    with page:
        parts = _layout(title, events, sampling or Sampling())
        _wire_questions(page, parts, events)
        _wire_feedback(parts, events)
    return page


def mount(
    app: FastAPI,
    server_url: str,
    path: str = "/chat",
    *,
    title: str = "wellread",
    lead: str = LEAD,
    examples: Sequence[str] = (),
    sampling: Sampling | None = None,
) -> FastAPI:
    """Put the page on `app` at `path`, and return the app.

    Args:
        server_url: the server that the page asks; the app itself, or another one.

    Raises:
        ServeError: `server_url` is not an address.
    """
    page = build_page(Client(server_url), title=title, lead=lead, examples=examples, sampling=sampling)
    # Gradio serves an icon only below its own path, and browsers ask for it here.
    app.add_api_route("/favicon.ico", _icon, include_in_schema=False)
    app.add_api_route("/", lambda: RedirectResponse(path), include_in_schema=False)
    gr.mount_gradio_app(
        app,
        page,
        path,
        theme=_theme(),
        css_paths=[HERE / "chat.css"],
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=False,
        # The page takes no files; Gradio's upload route exists all the same.
        max_file_size=1,
    )
    return app


def _icon() -> Response:
    return Response(ICON, media_type="image/svg+xml")


def _theme() -> gr.themes.Base:
    return gr.themes.Base(primary_hue="teal", neutral_hue="stone", font=SANS, font_mono=MONO, radius_size="md")


def _layout(title: str, events: ChatEvents, sampling: Sampling) -> Parts:
    parts = Parts()
    with gr.Row(elem_id="wr-top"):
        _html(view.header(title))
        parts.status = _html("", elem_id="wr-server")
        parts.clear = gr.Button("New conversation", size="sm", elem_id="wr-clear")
    with gr.Row(elem_id="wr-main", equal_height=False):
        with gr.Column(scale=3, min_width=320, elem_id="wr-left"):
            conversation, sources = events.shown(Chat())
            script = (HERE / "chat.js").read_text(encoding="utf-8")
            parts.conversation = _html(conversation, elem_id="wr-conversation", script=script)
            _composer(parts)
            _correction(parts)
            _settings(parts, sampling)
        with gr.Column(scale=2, min_width=320, elem_id="wr-right"):
            parts.sources = _html(sources, elem_id="wr-sources")
    return parts


def _html(value: str, *, elem_id: str | None = None, script: str | None = None) -> gr.HTML:
    return gr.HTML(value, elem_id=elem_id, js_on_load=script, apply_default_css=False)


def _composer(parts: Parts) -> None:
    with gr.Row(elem_id="wr-composer"):
        parts.question = gr.Textbox(
            label="Your question",
            show_label=False,
            container=False,
            placeholder="Ask the documents",
            lines=1,
            max_lines=8,
            max_length=MAX_MESSAGE_CHARS,
            autofocus=True,
            scale=1,
            elem_id="wr-question",
        )
        parts.send = gr.Button("Send", variant="primary", scale=0, min_width=88, elem_id="wr-send")
        parts.stop = gr.Button("Stop", variant="stop", scale=0, min_width=88, visible=False, elem_id="wr-stop")


def _correction(parts: Parts) -> None:
    with gr.Column(visible=False, elem_id="wr-correction") as parts.panel:
        parts.panel_title = _html("")
        parts.correction = gr.Textbox(label="Better answer", lines=4, max_lines=16, max_length=20_000)
        parts.comment = gr.Textbox(label="Comment (optional)", lines=1, max_lines=6, max_length=5_000)
        parts.saved = _html("")
        with gr.Row(elem_id="wr-correction-buttons"):
            parts.save = gr.Button("Save correction", variant="primary", size="md", scale=0, min_width=140)
            parts.prefill = gr.Button("Start from the answer", size="md", scale=0, min_width=180)
            parts.close = gr.Button("Close", size="md", scale=0, min_width=80)


def _settings(parts: Parts, sampling: Sampling) -> None:
    longest = max(16, sampling.max_tokens)
    with gr.Accordion("Settings", open=False, elem_id="wr-settings"):
        retrieval = gr.Checkbox(True, label="Answer from the documents")
        with gr.Row():
            sliders = [
                gr.Slider(0, 2, sampling.temperature, step=0.05, label="Temperature", info="0 is always the same"),
                gr.Slider(8, longest, sampling.max_tokens, step=8, label="Maximum tokens", info="Longest answer"),
                gr.Slider(0.05, 1, sampling.top_p, step=0.05, label="Top-p", info="1 is off"),
                gr.Slider(0, 200, sampling.top_k, step=1, label="Top-k", info="0 is off"),
                gr.Slider(1, 2, sampling.repetition_penalty, step=0.05, label="Repetition penalty", info="1 is off"),
            ]
    parts.settings = [retrieval, *sliders]


# Gradio's own spinners would cover the text that streams in.
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
# Streaming needs the queue. Without a limit, one visitor need not wait for another's answer: the server has its own.
_STREAMED: dict[str, Any] = {**_QUIET, "concurrency_limit": None}
# All else goes past the queue: Gradio 6.31 loses the results of a queued event whose predecessor ends as it starts
# (7 of 14 corrections opened right after a vote did not show).
_DIRECT: dict[str, Any] = {**_QUIET, "queue": False}


def _wire_questions(page: gr.Blocks, parts: Parts, events: ChatEvents) -> None:
    shown = [parts.chat, parts.conversation, parts.sources]
    buttons = [parts.send, parts.stop]
    asking = {
        "fn": events.ask,
        "inputs": [parts.question, parts.chat, *parts.settings],
        "outputs": [parts.question, *shown, *buttons],
        **_STREAMED,
    }
    typed = gr.on([parts.send.click, parts.question.submit], trigger_mode="once", **asking)
    picked = parts.conversation.example(events.example, None, parts.question, **_DIRECT).then(**asking)
    running = [typed, picked]
    parts.stop.click(events.stop, parts.chat, [*shown, *buttons], cancels=running, **_DIRECT)
    parts.clear.click(events.clear, None, [*shown, *buttons], cancels=running, **_DIRECT)
    parts.conversation.choose(events.choose, parts.chat, shown, **_DIRECT)
    page.load(events.server_status, None, parts.status, **_DIRECT)


def _wire_feedback(parts: Parts, events: ChatEvents) -> None:
    parts.conversation.vote(events.vote, parts.chat, [parts.chat, parts.conversation], **_DIRECT)
    parts.conversation.correct(
        events.correct, parts.chat, [parts.correcting, parts.panel, parts.panel_title, parts.saved], **_DIRECT
    )
    parts.prefill.click(events.prefill, [parts.chat, parts.correcting], parts.correction, **_DIRECT)
    parts.close.click(lambda: gr.update(visible=False), None, parts.panel, **_DIRECT)
    parts.save.click(
        events.send_correction,
        [parts.chat, parts.correcting, parts.correction, parts.comment],
        [parts.chat, parts.conversation, parts.correction, parts.comment, parts.panel, parts.saved],
        **_DIRECT,
    )
