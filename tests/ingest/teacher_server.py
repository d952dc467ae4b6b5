"""A small real server that speaks the chat completions format, with replies that a test writes down."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Said:
    """One response: `text` as the message of a completion, or `body` as it is."""

    text: str = ""
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


class TeacherServer:
    """`requests` lists the bodies received, `keys` the Authorization headers; `reply` is asked for each request."""

    def __init__(self, reply: Callable[[dict[str, Any], int], Said]) -> None:
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.url = ""
        # Set at the end, so that a reply which hangs can wait for it.
        self.closing = threading.Event()

    def passages(self) -> list[str]:
        """What the user's messages said, in the order received."""
        return [request["messages"][1]["content"] for request in self.requests]


def pairs(*found: tuple[str, str]) -> str:
    """The JSON that a teacher is asked for."""
    return json.dumps({"pairs": [{"question": question, "answer": answer} for question, answer in found]})


@contextmanager
def teaching(reply: Callable[[dict[str, Any], int], Said]) -> Iterator[TeacherServer]:
    """Serve until the block ends. `reply` gets the request and how many came before it."""
    teacher = TeacherServer(reply)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"teacher": teacher}))
    teacher.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield teacher
    finally:
        teacher.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is killed, or gives up, is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    teacher: TeacherServer

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with _Server.lock:
            before = len(self.teacher.requests)
            self.teacher.requests.append({"path": self.path, **request})
            self.teacher.keys.add(self.headers.get("authorization", ""))
        said = self.teacher.reply(request, before)
        completion = {"choices": [{"index": 0, "message": {"role": "assistant", "content": said.text}}]}
        body = said.body if said.body is not None else json.dumps(completion).encode()
        self.send_response(said.status)
        for name, value in {"Content-Type": "application/json", **said.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""
