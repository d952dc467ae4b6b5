"""The port, the start and the stop of the process."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from configs.errors import ArtifactError, ServeError
from configs.load import load_config
from serve.server import address_of, listen, run_server, serve_app

ROOT = Path(__file__).parents[2]

SERVE_UNTIL_TOLD = """
import sys, tempfile
from pathlib import Path
from serve.server import serve_app
from tests.serve.conftest import ScriptedEngine, build_runtime

def mount(app, url):
    app.add_api_route("/extra", lambda: {"url": url})

engine = ScriptedEngine(delay=0.02)
engine.script["VACUUM"] = "A sentence of some words. " * 20
serve_app(
    lambda: build_runtime(Path(sys.argv[1]), engine),
    extra_mounts=mount,
    on_ready=lambda url: print(url, flush=True),
)
"""


def test_port_0_takes_a_free_port():
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        assert address_of(first) != address_of(second)
        assert not address_of(first).endswith(":0")


def test_addresses_of_all_interfaces_are_reached_on_loopback():
    with listen("0.0.0.0", 0) as listener:  # noqa: S104  closed again at once
        assert address_of(listener).startswith("http://127.0.0.1:")


def test_a_port_in_use_is_told_before_anything_is_loaded():
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServeError, match=rf"port {port} on 127.0.0.1 is in use.*serve.port=0"):
            serve_app(lambda: pytest.fail("loaded"), port=port)


def test_a_host_that_is_not_here_is_told():
    with pytest.raises(ServeError, match=r"cannot listen on 192.0.2.1.*serve.host"):
        listen("192.0.2.1", 0)


def test_a_failure_to_load_ends_the_server():
    def load():
        raise ArtifactError("no index", "Run `wellread index` first")

    with pytest.raises(ArtifactError, match="wellread index"):
        serve_app(load)


def test_without_an_index_the_server_says_how_to_make_one(tmp_path):
    config = load_config(ROOT / "configs" / "ci.yaml", [f"root={tmp_path}", "serve.port=0"], {})
    with pytest.raises(ArtifactError, match="Run `wellread index` first"):
        run_server(config)


LOAD_FOR_EVER = """
import time
from serve.server import serve_app

serve_app(lambda: time.sleep(3600), extra_mounts=lambda app, url: print(url, flush=True))
"""


@pytest.fixture
def start_process(tmp_path):
    """Starts Python with a program; whatever happens, it does not outlive the test."""
    processes = []

    def begin(program):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        processes.append(process)
        return process, process.stdout.readline().strip()

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def test_ctrl_c_does_not_wait_for_the_model_to_load(start_process):
    process, url = start_process(LOAD_FOR_EVER)
    transport = httpx.HTTPTransport(retries=5)
    with httpx.Client(transport=transport, timeout=60) as client:
        assert client.get(f"{url}/readyz").json()["status"] == "starting"
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]


def test_ctrl_c_lets_answers_end_and_the_port_go(start_process):
    process, url = start_process(SERVE_UNTIL_TOLD)
    assert httpx.get(f"{url}/extra", trust_env=False).json() == {"url": url}
    answers = []

    def ask():
        body = {"messages": [{"role": "user", "content": "What does VACUUM do?"}], "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, trust_env=False, timeout=60) as response:
            for line in response.iter_lines():
                if "[DONE]" not in line and not answers:
                    process.send_signal(signal.SIGINT)
                answers.append(line)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    _, errors = process.communicate(timeout=60)
    assert answers[-2] == "data: [DONE]"
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    with socket.socket() as again, pytest.raises(ConnectionRefusedError):
        again.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))
