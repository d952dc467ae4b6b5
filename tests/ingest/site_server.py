"""A real HTTP server on a loopback port, whose answers a test writes down."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """One response. A body that is no bytes object is sent piece by piece, without a Content-Length."""

    body: bytes | Iterable[bytes] = b""
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


class Site:
    """Path to answer, or to a function that gives one; anything else is 404.

    An answer with an ETag or a Last-Modified header is not sent again to those who have it. `asked` lists the paths in
    order, `spared` those that were answered with 304.
    """

    def __init__(self, answers: dict[str, Answer | Callable[[], Answer]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.spared: list[str] = []
        self.agents: set[str] = set()
        self.url = ""


def page(text: str, *links: str, title: str = "A page") -> Answer:
    """An HTML page with a paragraph and links."""
    anchors = "".join(f'<p><a href="{link}">to {link}</a></p>' for link in links)
    html = f"<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p>{anchors}</body></html>"
    return Answer(html.encode())


def tagged(answer: Answer, etag: str) -> Answer:
    """The same with an ETag."""
    return Answer(answer.body, answer.status, answer.content_type, {**answer.headers, "ETag": f'"{etag}"'})


def with_head(answer: Answer, markup: str) -> Answer:
    """The same page with more in its head."""
    if not isinstance(answer.body, bytes):
        raise TypeError("only a page that is sent whole has a head to change")
    return Answer(answer.body.replace(b"<head>", b"<head>" + markup.encode()), headers=answer.headers)


def redirect(target: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": target})


@contextmanager
def serving(answers: dict[str, Answer | Callable[[], Answer]]) -> Iterator[Site]:
    """Serve a site until the block ends."""
    site = Site(answers)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    site.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up in the middle is what several tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; without this the second waits 40 ms for the first one's acknowledgement.
    disable_nagle_algorithm = True
    site: Site

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        self.site.agents.add(self.headers["user-agent"])
        answer = self.site.answers.get(self.path, Answer(b"not here", 404))
        answer = answer() if callable(answer) else answer
        if self._is_known(answer):
            self.site.spared.append(self.path)
            answer = Answer(status=304, headers=answer.headers)
        self._send(answer)

    def _is_known(self, answer: Answer) -> bool:
        conditions = {"ETag": "if-none-match", "Last-Modified": "if-modified-since"}
        asked = [(answer.headers.get(name), self.headers[asks]) for name, asks in conditions.items()]
        return any(has and has == wanted for has, wanted in asked)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        headers = {"Content-Type": answer.content_type, **answer.headers}
        whole = isinstance(answer.body, bytes)
        if whole and answer.status != HTTPStatus.NOT_MODIFIED:
            headers.setdefault("Content-Length", str(len(answer.body)))
        else:
            headers["Connection"] = "close"
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if answer.status == HTTPStatus.NOT_MODIFIED:
            return
        for piece in [answer.body] if whole else answer.body:
            self.wfile.write(piece)

    def log_message(self, *args: Any) -> None:
        """Quiet."""
