"""What is chosen for the machine, why, and what is refused in one line."""

from pathlib import Path

import pytest

from configs.errors import ModelError
from configs.training import ModelSettings, TrainSettings
from train.hardware import Gpu, check_alike, check_four_bit, choose, choose_attention, choose_liger, choose_precision
from train.starting import loading_options

NEW, OLD = Gpu("H200", bfloat16=True), Gpu("V100", bfloat16=False)


@pytest.mark.parametrize(
    ("asked", "gpus", "units", "deepspeed", "expected"),
    [
        ("auto", [NEW], "", False, ("bfloat16", "H200 has it")),
        ("auto", [OLD], "", False, ("float16", "V100 has no bfloat16")),
        ("auto", [], "avx512_bf16", False, ("bfloat16", "this CPU has avx512_bf16")),
        ("auto", [], "avx512_bf16", True, ("float32", "DeepSpeed on a CPU")),
        ("auto", [], "", False, ("float32", "this CPU has no bfloat16 units")),
        ("bfloat16", [], "", False, ("bfloat16", "train.precision says so")),
    ],
)
def test_precision_follows_the_hardware(
    asked: str, gpus: list[Gpu], units: str, deepspeed: bool, expected: tuple[str, str]
) -> None:
    assert choose_precision(asked, gpus, units, deepspeed=deepspeed) == expected


def test_a_precision_that_the_hardware_has_not_is_refused() -> None:
    with pytest.raises(ModelError, match="float16, which only GPUs are trained in"):
        choose_precision("float16", [], "", deepspeed=False)
    with pytest.raises(ModelError, match="bfloat16, which V100 has not"):
        choose_precision("bfloat16", [OLD], "", deepspeed=False)


def test_gpus_of_different_kinds_are_refused() -> None:
    check_alike([NEW, NEW])
    with pytest.raises(ModelError, match=r"different kinds: H200, V100.*CUDA_VISIBLE_DEVICES"):
        check_alike([NEW, OLD])


def test_what_needs_a_gpu_is_refused_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelError, match="'cuda', but torch sees no GPU"):
        choose(ModelSettings(device="cuda"), TrainSettings())
    with pytest.raises(ModelError, match=r"qlora, and there is no GPU for its 4-bit weights.*Set train\.method=lora"):
        choose(ModelSettings(device="cpu"), TrainSettings(method="qlora"))
    with pytest.raises(ModelError, match="flash_attention_2, which needs a GPU"):
        choose_attention("flash_attention_2", "bfloat16", on_gpu=False)
    with pytest.raises(ModelError, match="liger is always, which needs a GPU"):
        choose_liger("always", on_gpu=False)


def test_a_cpu_gets_float32_weights_and_no_checkpointing() -> None:
    chosen = choose(ModelSettings(device="cpu"), TrainSettings())
    assert (chosen.device, chosen.weights, chosen.attention) == ("cpu", "float32", "sdpa")
    assert not chosen.checkpointing
    assert chosen.lines()[1] == "attention: sdpa (FlashAttention needs a GPU)"
    assert choose(ModelSettings(device="cpu"), TrainSettings(checkpointing="always")).checkpointing


def test_four_bits_are_of_the_published_kind(tmp_path: Path) -> None:
    chosen = choose(ModelSettings(device="cpu"), TrainSettings(precision="bfloat16"))
    chosen.write(tmp_path)
    four = loading_options("qlora", chosen)["quantization_config"]
    assert (four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == ("nf4", True)
    assert str(four.bnb_4bit_compute_dtype) == "torch.bfloat16"
    assert "quantization_config" not in loading_options("lora", chosen)
    with pytest.raises(ModelError, match="no GPU"):
        check_four_bit(on_gpu=False)
