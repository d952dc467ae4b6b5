"""The estimates before training: memory against what autograd really keeps, and against the ZeRO paper's figures."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM

from configs.errors import ModelError
from configs.training import ClusterSettings, LoraSettings, ModelSettings, TrainSettings
from train.methods.base import adapter_config
from train.model import load_outline
from train.preflight.devices import Device, check_count, computing, cpu, find_devices
from train.preflight.fits import would_fit
from train.preflight.fitting import proposals
from train.preflight.memory import Memory, Setup, Shape, activations, estimate
from train.preflight.outline import shape_of
from train.preflight.remaining import Remaining, readable
from train.preflight.timing import Clock
from train.spec import PROGRESS

ROWS, TOKENS = 4, 64
LORA = LoraSettings(rank=4)
# Of Llama 3 8B, whose adapter of rank 16 has 41.9 million parameters.
LLAMA = Shape(32, 4096, 32, 8, 128, 14336, 128256, 8_030_261_248, 6_979_321_856, 41_943_040, 224, 16)


@pytest.fixture(scope="module")
def shape(tiny: Path) -> Shape:
    return shape_of(load_outline(str(tiny)), adapter_config(LORA))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_shape_has_the_parameters_of_the_real_model_and_adapter(shape: Shape, tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    adapted: Any = get_peft_model(model, adapter_config(LORA))
    assert shape.adapter == sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert (shape.adapted, shape.rank, shape.kv_heads, shape.gated) == (14, 4, 2, True)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_activations_are_what_autograd_keeps(shape: Shape, tiny: Path, method: str, half: bool, attention: str) -> None:
    expected = activations(shape, Setup(method, ROWS, TOKENS, half=half, attention=attention))
    assert expected == pytest.approx(kept_by_autograd(tiny, method, half, attention), rel=0.1)


def kept_by_autograd(tiny: Path, method: str, half: bool, attention: str) -> int:
    """Bytes of what a forward pass of the layers saves for the backward pass, weights and their casts left out."""
    model: Any = AutoModelForCausalLM.from_pretrained(tiny, attn_implementation=attention)
    model = get_peft_model(model, adapter_config(LORA)) if method == "lora" else model
    weights = [weight.shape for weight in model.parameters()]
    known = {*weights, *(shape[::-1] for shape in weights)}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        # Tables of the rotary embedding and masks are of one row for all, operands of attention of one for each head.
        of_rows = tensor.shape[0] in (ROWS, ROWS * TOKENS, ROWS * model.config.num_attention_heads)
        if tensor.shape not in known and tensor.numel() >= ROWS * TOKENS and of_rows:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model.train()
    body = model.get_base_model().model if method == "lora" else model.model
    computing_half = torch.autocast("cpu", torch.bfloat16) if half else nullcontext()
    with computing_half, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        body(input_ids=torch.randint(0, 256, (ROWS, TOKENS)), use_cache=False)
    return sum(kept.values())


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_states_are_those_of_the_zero_paper(stage: int, gigabytes: float) -> None:
    # Rajbhandari et al. 2020, figure 1: 7.5B parameters, 64 GPUs, K = 12; its baseline keeps 16 bytes a parameter.
    billion = 7_500_000_000
    shape = replace(LLAMA, parameters=billion, linear=0, vocabulary=0)
    setup = Setup("full", 1, 1, half=True, processes=64, zero=stage or 1, on_gpu=True)
    memory = estimate(shape, replace(setup, processes=1) if stage == 0 else setup)
    states = memory.weights + memory.gradients + memory.optimizer
    assert states / 1e9 == pytest.approx(gigabytes, abs=0.06)


def test_offload_moves_states_to_the_machine(shape: Shape) -> None:
    kept = estimate(LLAMA, Setup("full", 1, 2048, half=True, processes=2, zero=3, on_gpu=True))
    moved = estimate(LLAMA, Setup("full", 1, 2048, half=True, processes=2, zero=3, offload="cpu", on_gpu=True))
    assert moved.optimizer == 0
    assert moved.weights < kept.weights
    assert moved.host >= kept.optimizer


def test_four_bit_weights_are_a_quarter_of_half_ones() -> None:
    setup = Setup("lora", 1, 2048, half=True, frozen_bytes=2, on_gpu=True)
    half = estimate(LLAMA, setup).weights
    four = estimate(LLAMA, replace(setup, method="qlora")).weights
    assert four / half == pytest.approx(0.36, abs=0.03)  # the embedding stays as it is


def test_gradients_follow_activations_unless_they_are_accumulated() -> None:
    alone = Memory(1, 2, 4, gradients=8, activations=16, loss=32, allocator=64, gradients_follow=True)
    assert alone.total == 1 + 2 + 4 + 16 + 32 + 64
    assert replace(alone, gradients=80).total == 1 + 2 + 4 + 80 + 64
    assert replace(alone, gradients_follow=False).total == 127
    assert "host" not in alone.parts()
    assert replace(alone, host=5).parts()["host"] == 5


def test_what_is_proposed_fits() -> None:
    setup = Setup("lora", 8, 2048, half=True, frozen_bytes=2, on_gpu=True)
    need, free = estimate(LLAMA, setup).total, 40_000_000_000
    assert need > free
    found = proposals(LLAMA, setup, free, "local", 1)
    assert str(found[0].change) == "--set train.batch_size=1 --set train.accumulate=8"
    assert all(one.memory.total <= free for one in found)
    assert all(estimate(LLAMA, one.change.setup) == one.memory for one in found)
    assert "train.checkpointing=always" in " ".join(str(one.change) for one in found)


def test_a_smaller_batch_of_pairs_is_smaller() -> None:
    # A batch of 4 pairs is 8 rows.
    setup = Setup("lora", 8, 2048, answers=2, half=True, frozen_bytes=2, on_gpu=True)
    settings = [str(one.change) for one in proposals(LLAMA, setup, estimate(LLAMA, setup).total - 1, "local", 1)]
    assert settings[0] == "--set train.batch_size=2 --set train.accumulate=2"


def test_several_changes_are_proposed_where_one_is_not_enough() -> None:
    setup = Setup("full", 8, 4096, half=True, on_gpu=True)
    found = proposals(LLAMA, setup, 24_000_000_000, "local", 1)
    assert found
    assert len(found[0].change.settings) > 1


def test_processes_are_divided_before_the_method_is_another() -> None:
    setup = Setup("full", 1, 512, half=True, checkpointing=True, processes=8, on_gpu=True)
    settings = [one.change.settings for one in proposals(LLAMA, setup, 80_000_000_000, "torchrun", 8)]
    assert {"train.launcher": "deepspeed", "train.deepspeed.stage": "2"} in settings


def test_nothing_fits_says_so() -> None:
    told = would_fit(LLAMA, Setup("full", 1, 512), 1_000_000_000, TrainSettings())
    assert told == "No settings of train fit: choose a smaller model, or a larger machine"


# Machines


def test_more_processes_than_gpus_are_refused() -> None:
    gpu = Device("Some GPU", 80, 80)
    with pytest.raises(ModelError, match=r"train.processes = 4, but torch sees 2 GPU\(s\). Set train.processes to 2"):
        check_count([gpu, gpu], 4)
    check_count([gpu, gpu], 2)
    check_count([], 4)


def test_a_cluster_that_is_asked_for_no_gpus_cannot_train_on_them() -> None:
    slurm = TrainSettings(launcher="slurm", cluster=ClusterSettings(gpus=0))
    with pytest.raises(ModelError, match=r"'cuda', but train.cluster.gpus = 0 asks slurm for none"):
        find_devices(ModelSettings(device="cuda"), slurm)
    assert find_devices(ModelSettings(), slurm) == []


def test_a_clusters_gpus_are_not_looked_for_here() -> None:
    slurm = TrainSettings(launcher="slurm", cluster=ClusterSettings(gpus=4))
    chosen = computing(ModelSettings(device="cuda"), slurm)
    assert (chosen.device, chosen.precision, chosen.weights) == ("cuda", "bfloat16", "bfloat16")


def test_the_machines_memory_is_between_nothing_and_all() -> None:
    device = cpu()
    assert 0 < device.free <= device.total


# Time


def test_what_is_left_is_told_once_from_the_steps_of_this_start(tmp_path: Path, caplog) -> None:
    seen: list[tuple[str, int, int | None]] = []
    told = Remaining(tmp_path, lambda *what: seen.append(what))
    with caplog.at_level("INFO", "train"):
        for step, seconds in enumerate([90.0, 60.0, 61.0, 62.0, 50.0], 1):
            with (tmp_path / PROGRESS).open("a") as file:
                file.write(json.dumps({"step": step, "of": 100, "loss": 1.0, "seconds": seconds}) + "\n")
            told("train", step, 100)
    assert [record.getMessage() for record in caplog.records] == ["a step takes 61.0 s; about 1.6 h left"]
    assert len(seen) == 5
    assert [readable(seconds) for seconds in (5.4, 89, 91, 5300, 6000)] == ["5 s", "89 s", "2 min", "88 min", "1.7 h"]


def test_timed_steps_end_early_where_they_are_slow() -> None:
    class Control:
        should_training_stop = False

    ticks = iter(range(0, 1000, 5))
    clock, control = Clock(steps=10, budget_s=8, now=lambda: next(ticks)), Control()
    while not control.should_training_stop:
        clock.on_step_begin(None, None, control)
        clock.on_step_end(None, None, control)
    assert len(clock.seconds) == 2
