"""A real server on a free port, around a small model, a small index and the real guards and store.

Run it to try a page against it: `python -m tests.serve.conftest [PORT]`.
"""

import asyncio
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from feedback.store import Store
from guards.policy import ANSWERING, LivePolicy, Policy, load_policy
from ingest.passages import Passages, write_passages
from ingest.records import Chunk, stable_id
from ingest.search.base import Hit, Retrieved
from ingest.search.filters import Filter, mask
from serve.answer import Assistant
from serve.api import create_app
from serve.condense import Mode
from serve.engines.base import Piece, Sampling
from serve.live_index import LiveIndex
from serve.recorder import Recorder
from serve.retrieve import Retriever, Searchable
from serve.runtime import Runtime
from serve.server import address_of, listen
from serve.wire import ModelCard
from train.chat import Turn

SITE = "https://docs.example.org"


def passage(page: str, heading: str, text: str, start: int = 0, **more: Any) -> Chunk:
    url = f"{SITE}/{page}"
    return Chunk(
        id=stable_id(url, text),
        doc_id=stable_id(url),
        url=url,
        title=page.title(),
        headings=(heading,),
        text=text,
        start=start,
        end=start + len(text),
        **more,
    )


DOCUMENTS = (
    passage(
        "vacuum",
        "What does VACUUM FULL do?",
        "Plain VACUUM only marks space for reuse.\nVACUUM FULL rewrites the whole table into a new file on disk. "
        "It needs an exclusive lock.",
        start=100,
    ),
    passage("index", "How do I create an index?", "An index is created with CREATE INDEX. It speeds up lookups."),
    passage("backup", "How do I make a backup?", "A backup is made with pg_dump, which writes a script file."),
)


class WordIndex:
    """Searches by the share of the question's words that a passage holds, which also is how answerable it is."""

    threshold = 0.5

    def __init__(self, chunks: Sequence[Chunk] = DOCUMENTS, version: str = "index-1") -> None:
        self.version = version
        with tempfile.TemporaryDirectory() as folder:
            write_passages(Path(folder), chunks)
            self.passages = Passages.load(Path(folder))
        self.searched: list[str] = []

    def search(self, query: str, k: int, wanted: Filter | None = None) -> Retrieved:
        self.searched.append(query)
        words = query.lower().strip("?.").split()
        allowed = np.flatnonzero(mask(self.passages, wanted or Filter())).tolist()
        scored = [(self._score(words, self.passages[row]), -row) for row in allowed]
        best = sorted(scored, reverse=True)[:k]
        hits = tuple(Hit(self.passages[-row], score, score) for score, row in best)
        return Retrieved(query, hits, tuple(-row for _, row in best))

    def answerability(self, retrieved: Retrieved) -> float:
        return retrieved.hits[0].score

    def section(self, row: int) -> Chunk:
        return self.passages.section(row)

    @staticmethod
    def _score(words: list[str], chunk: Chunk) -> float:
        text = f"{chunk.heading_path} {chunk.text}".lower()
        return sum(word in text for word in words) / max(len(words), 1)


class ScriptedEngine:
    """A model that answers with the sentence in which it finds most of the question, or with a scripted text.

    It writes word by word, counts a word as a token, and waits `delay` seconds before each.
    """

    name = "scripted"

    def __init__(self, max_context: int = 400, delay: float = 0.0) -> None:
        self.max_context = max_context
        self.delay = delay
        self.script: dict[str, str | Exception] = {}
        self.calls: list[Sequence[Turn]] = []
        self.sampling: list[Sampling] = []
        self.written = 0
        self.stopped = threading.Event()

    def count_tokens(self, messages: Sequence[Turn]) -> int:
        return sum(len(turn["content"].split()) for turn in messages)

    async def generate(self, messages: Sequence[Turn], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        self.calls.append(messages)
        self.sampling.append(sampling)
        answer = self._answer(messages[-1]["content"])
        words = answer.split(" ")
        size = self.count_tokens(messages)
        try:
            for place, word in enumerate(words[: sampling.max_tokens]):
                await asyncio.sleep(self.delay)
                self.written += 1
                yield Piece(word if place == 0 else f" {word}", None, size, place + 1)
            reason = "stop" if len(words) <= sampling.max_tokens else "length"
            yield Piece("", reason, size, min(len(words), sampling.max_tokens))
        finally:
            self.stopped.set()

    async def close(self) -> None:
        self.stopped.set()

    def _answer(self, prompt: str) -> str:
        before, found, question = prompt.rpartition("Question: ")
        passages = before.partition("Passages:")[2]
        scripted = next((text for key, text in self.script.items() if key in question), None)
        if isinstance(scripted, Exception):
            raise scripted
        if scripted is not None or not found:
            return f"You said: {question}" if scripted is None else scripted
        wanted = Counter(question.lower().strip("?.").split())
        lines = [line for line in passages.splitlines() if line and not line.startswith("[")]
        sentences = [sentence for line in lines for sentence in line.split(". ")]
        best = max(sentences, key=lambda sentence: sum((wanted & Counter(sentence.lower().split())).values()))
        return best.rstrip(".") + "."


def build_runtime(
    folder: Path,
    engine: ScriptedEngine,
    store: Store | None = None,
    *,
    policy: Policy | LivePolicy | None = None,
    index: WordIndex | None = None,
    live: LiveIndex[Searchable] | None = None,
    condensing: Mode = "terms",
    **options: Any,
) -> Runtime:
    """A runtime over one index, or over one that is followed; `options` are the retriever's."""
    store = store or Store(f"sqlite:///{folder / 'feedback.db'}")
    still = index or WordIndex()
    if policy is None:
        policy = load_policy("balanced")
        policy.warm_up(*ANSWERING)
    recorder = Recorder(store, policy, "champion:v1")
    retriever = Retriever((lambda: live.current) if live else (lambda: still), 3, **options)
    return Runtime(
        assistant=Assistant(engine, retriever, policy, recorder, condensing=condensing),
        recorder=recorder,
        store=store,
        engine=engine,
        card=ModelCard(id="champion", created=1, version="v1", base="scripted"),
        names=frozenset({"champion", "v1"}),
        defaults=Sampling(max_tokens=120),
        live=live,
    )


class Running:
    """A server in a thread, and a client of it."""

    def __init__(self, load: Callable[[], Runtime], max_body_bytes: int = 64 * 1024) -> None:
        self.loaded = threading.Event()
        self.app = create_app(load, max_body_bytes=max_body_bytes, on_loaded=lambda _loading: self.loaded.set())
        self._listener = listen("127.0.0.1", 0)
        self.url = address_of(self._listener)
        self._server = uvicorn.Server(
            uvicorn.Config(self.app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]})
        self._thread.start()
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def ask(self, question: str, **more: object) -> httpx.Response:
        body = {"messages": [{"role": "user", "content": question}], **more}
        return self.client.post("/v1/chat/completions", json=body)

    def stop(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def runtime(tmp_path: Path, engine: ScriptedEngine) -> Runtime:
    return build_runtime(tmp_path, engine)


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def begin(load: Callable[[], Runtime], **options: int) -> Running:
        running.append(Running(load, **options))
        return running[-1]

    yield begin
    for server in running:
        server.stop()


@pytest.fixture
def server(start: Callable[..., Running], runtime: Runtime) -> Running:
    begun = start(lambda: runtime)
    begun.loaded.wait()
    return begun


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        uvicorn.run(
            create_app(lambda: build_runtime(Path(folder), ScriptedEngine(delay=0.05))),
            port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000,
        )
