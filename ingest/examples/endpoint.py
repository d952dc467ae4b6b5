"""Sends prompts to an OpenAI-compatible endpoint, several at once, and never the same one twice.

In: prompts. Out: replies by key. Each reply is appended to a JSONL file and synced before the next step, so a run that
is killed pays for nothing again but the few requests that were under way; files of earlier runs are read as well.

Overload and network errors are tried again with exponential back-off, or when Retry-After says. A request that fails
all the same ends the run with one line: what has been answered is kept, and the next run goes on from there. A refusal
of one prompt (400, 413, 422, as content filters give) is a reply like another. Redirects are not followed: they would
carry the key to another host.

Known limit: the endpoint is whichever the settings name, private addresses included.
"""

import asyncio
import contextlib
import email.utils
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from configs.artifacts import write_text_atomic
from configs.errors import ConfigError, ModelError
from ingest.examples.teacher import Prompt, Reply

KEY_VARIABLE = "WELLREAD_TEACHER_API_KEY"
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
# About the prompt and not about the address, the key or the model.
REFUSED = frozenset({400, 413, 422})
LONGEST_BACKOFF_S = 30.0
LONGEST_REPLY = 1_000_000


@dataclass(frozen=True)
class Endpoint:
    """Where the teacher is, and how it is asked.

    Attributes:
        url: up to and including `/v1`.
        key: secret, sent as a bearer token; empty for none.
        max_tokens: longest reply.
        concurrency: requests at once.
        timeout_s: for one whole request.
        retries: further tries.
        backoff_s: wait before the first of them; each next one waits twice as long.
        longest_wait_s: a Retry-After beyond it ends the run.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    temperature: float = 0.0
    max_tokens: int = 600
    concurrency: int = 4
    timeout_s: float = 120.0
    retries: int = 5
    backoff_s: float = 1.0
    longest_wait_s: float = 300.0


class Replies:
    """The replies so far, in a file that survives being killed; to be used in a `with`.

    Args:
        file: is read, and written to.
        earlier: of other runs; only read.
    """

    def __init__(self, file: Path, earlier: Iterable[Path] = ()) -> None:
        self._file = file
        self._known = {key: reply for path in (*earlier, file) for key, reply in _read_lines(path)}

    def __enter__(self) -> Self:
        # The last line may be torn, and a line that is appended to it would be lost with it.
        self._write_all()
        self._out = self._file.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.close()
        # Replies come in any order; sorted, the same replies are the same bytes.
        self._write_all()

    def get(self, key: str) -> Reply | None:
        """The reply to a prompt, if there is one yet."""
        return self._known.get(key)

    def add(self, key: str, reply: Reply) -> None:
        """Keep a reply; it is on the disk when this returns."""
        self._known[key] = reply
        self._out.write(_line(key, reply))
        self._out.flush()
        os.fsync(self._out.fileno())

    def _write_all(self) -> None:
        write_text_atomic(self._file, "".join(_line(key, self._known[key]) for key in sorted(self._known)))


def api_key(environ: Mapping[str, str] = os.environ) -> str:
    """The key to the teacher, which comes from the environment only; empty when it needs none.

    Raises:
        ConfigError: it cannot be sent in a header.
    """
    key = environ.get(KEY_VARIABLE, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        # The value is left out of the message: it is a secret, or the beginning of one.
        raise ConfigError(
            f"{KEY_VARIABLE} holds a space or another sign that no key has", "Set it again, without quotes"
        )
    return key


def ask_endpoint(
    prompts: Sequence[Prompt],
    endpoint: Endpoint,
    replies: Replies,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Reply]:
    """Each prompt's reply by its key; only those are sent that have none yet.

    Raises:
        ModelError: the endpoint cannot be reached, refuses the key or the model, or keeps failing.
    """
    waiting = [prompt for prompt in prompts if replies.get(prompt.key) is None]
    with replies:
        if waiting:
            asyncio.run(_ask_all(waiting, endpoint, replies, progress))
    found = {prompt.key: replies.get(prompt.key) for prompt in prompts}
    return {key: reply for key, reply in found.items() if reply is not None}


async def _ask_all(
    prompts: Sequence[Prompt], endpoint: Endpoint, replies: Replies, progress: Callable[[int, int], None]
) -> None:
    queue = iter(prompts)
    done = 0
    headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
    local = (urlsplit(endpoint.url).hostname or "") in ("localhost", "127.0.0.1", "::1")

    async def worker(client: httpx.AsyncClient) -> None:
        nonlocal done
        for prompt in queue:
            replies.add(prompt.key, await _ask_one(client, endpoint, prompt))
            done += 1
            progress(done, len(prompts))

    # A proxy from the environment cannot reach a server on this machine.
    async with httpx.AsyncClient(headers=headers, timeout=endpoint.timeout_s, trust_env=not local) as client:
        tasks = [asyncio.create_task(worker(client)) for _ in range(endpoint.concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _ask_one(client: httpx.AsyncClient, endpoint: Endpoint, prompt: Prompt) -> Reply:
    problem = ""
    for attempt in range(endpoint.retries + 1):
        wait = min(endpoint.backoff_s * 2**attempt, LONGEST_BACKOFF_S)
        try:
            async with asyncio.timeout(endpoint.timeout_s):
                response = await _post(client, endpoint, prompt)
        except TimeoutError:
            problem = f"did not answer within {endpoint.timeout_s:g} s"
        except httpx.HTTPError as error:
            problem = f"cannot be reached ({type(error).__name__})"
        else:
            if response.status_code not in RETRIED:
                return _reply(response, endpoint)
            problem = f"answered {response.status_code}"
            wait = max(wait, _retry_after(response))
        if wait > endpoint.longest_wait_s:
            problem += f" and asked to wait {wait:.0f} s"
            break
        if attempt < endpoint.retries:
            await asyncio.sleep(wait)
    raise _failed(endpoint, f"{problem}, {attempt + 1} times in a row" if attempt else problem)


async def _post(client: httpx.AsyncClient, endpoint: Endpoint, prompt: Prompt) -> httpx.Response:
    """The response with its body, of which no more is read than any reply needs."""
    body = {
        "model": endpoint.model,
        "messages": list(prompt.messages),
        "temperature": endpoint.temperature,
        "max_tokens": endpoint.max_tokens,
    }
    async with client.stream("POST", f"{endpoint.url.rstrip('/')}/chat/completions", json=body) as response:
        content = b""
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > LONGEST_REPLY:
                break
        headers = {"retry-after": response.headers.get("retry-after", "")}
        return httpx.Response(response.status_code, content=content[:LONGEST_REPLY], headers=headers)


def _reply(response: httpx.Response, endpoint: Endpoint) -> Reply:
    status = response.status_code
    if status in REFUSED:
        return Reply(refused=f"{endpoint.model} refused with {status}: {_message(response, endpoint.key)}")
    if status != httpx.codes.OK:
        raise _failed(endpoint, f"answered {status}: {_message(response, endpoint.key)}")
    try:
        text = response.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        raise _failed(endpoint, "does not speak the chat completions format") from None
    return Reply(text=text if isinstance(text, str) else "")


def _failed(endpoint: Endpoint, problem: str) -> ModelError:
    remedy = (
        f"Check examples.teacher.url and model, and the key in {KEY_VARIABLE}, then run this again: "
        "what was answered is kept"
    )
    return ModelError(f"the teacher {endpoint.model} at {endpoint.url} {problem}", remedy)


def _message(response: httpx.Response, key: str) -> str:
    """What the server says in its error, cut to a line; some repeat the key that they refuse."""
    try:
        error: Any = response.json()["error"]
        text = error["message"] if isinstance(error, dict) else error
    except (ValueError, LookupError, TypeError):
        text = response.text
    line = " ".join(str(text).split())
    return (line.replace(key, "***") if key else line)[:200]


def _retry_after(response: httpx.Response) -> float:
    """Seconds, from either form of the header (RFC 9110 section 10.2.3); 0 without one."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _line(key: str, reply: Reply) -> str:
    return json.dumps({"key": key, **asdict(reply)}) + "\n"


def _read_lines(path: Path) -> Iterable[tuple[str, Reply]]:
    """Whole lines of a file that may be missing, or torn at its end."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    for line in text.split("\n"):
        with contextlib.suppress(ValueError, TypeError, KeyError):
            row = json.loads(line)
            yield row.pop("key"), Reply(**row)
