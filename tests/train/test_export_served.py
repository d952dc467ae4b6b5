"""Exports that other programs serve: MLflow's own server over HTTP, and OpenVINO GenAI."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from configs.schema import Config
from tests.train.export_toy import make_workspace, save_base
from train.export.stage import run_export
from train.export.torch_engine import TorchEngine
from train.model import load_model


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("served")
    return make_workspace(folder / "ws", save_base(folder / "base"))


def merged_answer(config: Config, content: str, most: int) -> str:
    """What the merged model, loaded by hand, answers."""
    merged = run_export(config, "latest", "merged", None, lambda *_: None)
    engine = TorchEngine(load_model(str(merged.path / "model"), "cpu", "float32"))
    prompt = engine.tokens(engine.prompt([{"role": "user", "content": content}]))
    return engine.loaded.tokenizer.decode(engine.greedy(prompt, most), skip_special_tokens=True).strip()


@contextmanager
def server(model: Path, work: Path) -> Iterator[str]:
    """`mlflow models serve` in a process of its own; its address, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # MLflow looks its own server program up on the path.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["mlflow", "models", "serve", "--model-uri", str(model), "--port", str(port), "--env-manager", "local"]
    process = subprocess.Popen(
        [sys.executable, "-m", *command, "--workers", "1"],
        cwd=work,
        env={**os.environ, "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(1200):
            assert process.poll() is None
            with suppress(URLError, ConnectionError), urlopen(f"http://127.0.0.1:{port}/ping"):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def invoke(address: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    request = Request(f"{address}/invocations", json.dumps(body).encode(), headers)  # noqa: S310  # our own server
    with urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*Any type hint is inferred as AnyType"
)  # of mlflow 3.17's own, when it is imported
def test_mlflow_serves_the_model_and_it_answers_alike(config: Config, tmp_path: Path) -> None:
    made = run_export(config, "latest", "mlflow", None, lambda *_: None)
    assert made.manifest.figures["prompts_unlike"] == 0
    assert not list(made.path.rglob("*.pkl"))
    asked = {"messages": [{"role": "user", "content": "the thing"}], "max_tokens": 6}
    with server(made.path / "mlflow", tmp_path) as address:
        said = invoke(address, {"inputs": [asked, asked]})
        assert said == {"predictions": [merged_answer(config, "the thing", 6)] * 2}
        with pytest.raises(HTTPError, match="400"):
            invoke(address, {"inputs": [{"text": "no messages"}]})


@pytest.mark.slow
def test_openvino_genai_loads_the_model_and_it_answers_alike(config: Config) -> None:
    import openvino_genai

    made = run_export(config, "latest", "openvino", "f16", lambda *_: None)
    assert made.manifest.figures["logprob_difference"] <= 0.01
    assert not list(made.path.rglob("*.gguf"))
    pipeline = openvino_genai.LLMPipeline(str(made.path / "openvino"), "CPU", INFERENCE_PRECISION_HINT="f32")
    said = pipeline.generate("the thing", max_new_tokens=6, do_sample=False, apply_chat_template=True)
    assert str(said).strip() == merged_answer(config, "the thing", 6)
