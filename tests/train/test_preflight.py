"""`wellread train --check` on small workspaces: what it shows, and one clear line for whatever would go wrong."""

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import app.train_check
from app.cli import run
from configs.artifacts import Made, Workspace
from configs.errors import ModelError
from configs.load import load_config
from ingest.examples.completion import Completion
from ingest.examples.stage import COMPLETIONS
from ingest.records import Example, write_table
from tests.train.conftest import END, TEMPLATE, make_example, make_tokenizer, save_model
from train.preflight.check import REPORT, TEXT, checked
from train.preflight.shown import Segment, Shown
from train.saving import about_processes, mark_complete
from train.spec import CHECKPOINTS, LOG, PROGRESS, SPEC
from train.stage import run_of

Outcome = tuple[int, str, str]
CONFIG = {"train.max_tokens": 1024, "train.max_steps": 4, "model.device": "cpu", "train.precision": "float32"}


def rows(train: int = 16, holdout: int = 4) -> list[Example]:
    return [make_example(number, "train" if number < train else "holdout") for number in range(train + holdout)]


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[[Iterable[Example]], Path]:
    def make(found: Iterable[Example]) -> Path:
        def fill(folder: Path) -> Made:
            return Made({"n": write_table(folder / "examples.parquet", found, Example)})

        Workspace(tmp_path / "root").build("examples", fill, inputs={}, settings={})
        return tmp_path / "root"

    return make


@pytest.fixture
def cli(capsys, tmp_path, monkeypatch) -> Callable[..., Outcome]:
    """Runs `wellread train`: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def invoke(root: Path, model: Path, *options: str, **settings: object) -> Outcome:
        named = {name.replace("__", "."): value for name, value in settings.items()}
        capsys.readouterr()
        values = {"root": root, "model.name": model, **CONFIG, **named}
        code = run(["train", *options, *(f"--set={name}={value}" for name, value in values.items())])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return invoke


@pytest.fixture
def refused(cli) -> Callable[..., str]:
    """The one line of a check that refuses."""

    def invoke(root: Path, model: Path, **settings: object) -> str:
        code, out, err = cli(root, model, "--check", **settings)
        lines = [line for line in err.splitlines() if not line.startswith("check")]
        assert (code, out, len(lines)) == (1, "", 1), err
        assert lines[0].startswith("Error: ")
        return lines[0]

    return invoke


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be spoilt."""
    return shutil.copytree(tiny, tmp_path / "model")


# What is shown


def test_all_well_shows_examples_with_marks_memory_and_time(cli, workspace, tiny) -> None:
    code, out, err = cli(workspace(rows()), tiny, "--check")
    assert (code, err.strip()) == (0, "check: ...")
    assert "«Item 4 is 4 high. [1]<|im_end|>»" in out
    assert out.count("tokens are trained, between « and »") == 3
    assert "training takes about" in out
    assert "time: 4 steps of about" in out
    assert "-m train.run" in out
    assert "precision: float32 (train.precision says so)" in out


def test_json_holds_the_segments_and_the_estimate(cli, workspace, tiny) -> None:
    code, out, _ = cli(workspace(rows()), tiny, "--check", "--json")
    found = json.loads(out)
    assert code == 0
    for example in found["shown"]:
        trained = [segment["text"] for segment in example["segments"] if segment["trained"]]
        assert [text.endswith(END) for text in trained] == [True]
        assert "".join(segment["text"] for segment in example["segments"]) in example["text"].replace("«", "")[:-1]
    assert found["counts"]["examples"] == 16
    assert found["memory"]["total"] > found["memory"]["process"] > 0
    assert found["timing"]["steps"] == 4
    # The tiny model's process is mostly libraries; the estimate still has to be of the right size.
    assert found["timing"]["peak_bytes"] > 0


def test_text_of_pages_is_never_markup_and_moves_no_cursor(monkeypatch) -> None:
    screen = Console(file=StringIO(), force_terminal=True, width=80, color_system="standard")
    monkeypatch.setattr(app.train_check, "out", screen)
    example = Shown("id", 2, 1, (Segment("[red]page\x1b[2J[/red]", trained=False), Segment("answer", trained=True)))
    app.train_check._show_example(example)
    shown = screen.file.getvalue()
    assert "[red]page[2J[/red]" in shown
    assert "\x1b[1;30;42manswer" in shown


def test_one_example_is_trained_and_said_to_be_too_few(cli, workspace, tiny) -> None:
    code, out, err = cli(workspace(rows(train=1)), tiny, "--check")
    assert code == 0
    assert "time: 4 steps" in out
    assert "there is only 1 example: the model will know it by heart" in err


# Data


def test_no_examples_is_one_line(refused, workspace, tiny) -> None:
    assert "holds no training examples. Give it more documents" in refused(workspace(rows(train=0)), tiny)


def test_a_refused_training_leaves_a_folder_only_where_something_was_trained(cli, workspace, tiny) -> None:
    root = workspace(rows(train=0))
    assert cli(root, tiny)[0] == 1
    assert not [*root.glob("models/.partial-*")]
    settings = {"root": root, "model.name": tiny, **CONFIG}
    folder, _ = run_of(load_config(None, [f"{name}={value}" for name, value in settings.items()]))
    folder.mkdir(parents=True)
    (folder / PROGRESS).touch()
    assert cli(root, tiny)[0] == 1
    assert (folder / PROGRESS).exists()


def test_more_too_long_examples_than_allowed_are_refused_with_counts(refused, cli, workspace, tiny) -> None:
    long = [replace(one, question=one.question + " Really?" * 40) for one in rows(train=4, holdout=0)]
    root = workspace([*rows(train=16, holdout=0)[4:], *long])
    line = refused(root, tiny, train__max_tokens=500)
    assert "4 of 16 examples are longer than 500 tokens (train.max_tokens) and would be left out, 25% where" in line
    assert "train.max_left_out = 0.2 allows 20%. Raise train.max_tokens (the longest has " in line
    code, out, err = cli(root, tiny, "--check", train__max_tokens=500, train__max_left_out=0.3)
    assert code == 0
    assert "Warning: 4 of 16 examples are longer than 500 tokens (train.max_tokens) and are left out" in err
    assert "examples 12, too long 4" in out


def test_examples_longer_than_the_models_context_are_one_line(refused, workspace, model) -> None:
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 300}
    (model / "config.json").write_text(json.dumps(config))
    line = refused(workspace(rows()), model)
    assert "all 16 examples are longer than 300 tokens (the model's own context)" in line
    assert "lower chunk.max_tokens or examples.passages" in line


def test_documents_in_both_halves_are_refused(refused, workspace, tiny) -> None:
    both = [replace(one, doc_id="shared") if number in (2, 17) else one for number, one in enumerate(rows())]
    line = refused(workspace(both), tiny)
    assert "1 document(s) of " in line
    assert "would be trained on and evaluated on (the first: document shared)" in line


def test_the_same_question_over_the_same_passages_in_both_halves_is_refused(refused, workspace, tiny) -> None:
    again = replace(make_example(3), id="again", doc_id="other", split="holdout")
    line = refused(workspace([*rows(), again]), tiny)
    assert "1 question(s) with their passages of " in line
    assert "How high is item 3?" in line


def test_own_conversations_that_hold_a_held_out_answer_are_refused(refused, workspace, tiny, tmp_path) -> None:
    held_out = rows()[-1]
    file = tmp_path / "mine.jsonl"
    turns = [("user", "Hello?"), ("assistant", "Yes."), ("user", held_out.question), ("assistant", held_out.answer)]
    messages = [{"role": role, "content": content} for role, content in turns]
    file.write_text(json.dumps({"messages": messages[:2]}) + "\n" + json.dumps({"messages": messages}) + "\n")
    line = refused(workspace(rows()), tiny, train__data=file)
    assert f"1 conversation(s) of {file} would be trained on and evaluated on (the first: {file}:2)" in line


def preferences(file: Path, question: str, answer: str) -> Path:
    rows = [("Is it high?", "Yes, it is."), (question, answer)]
    lines = [{"prompt": prompt, "chosen": chosen, "rejected": "I do not care."} for prompt, chosen in rows]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_pairs_are_shown_and_compared_with_the_held_out_half(cli, refused, workspace, tiny, tmp_path) -> None:
    root, held_out = workspace(rows()), rows()[-2]
    file = preferences(tmp_path / "pairs.jsonl", "Is it low?", "No, it is not.")
    settings = {"train__objective": "dpo", "train__preference__data": file}
    code, out, _ = cli(root, tiny, "--check", **settings)
    assert code == 0
    assert "«Yes, it is.<|im_end|>»" in out
    assert "«I do not care.<|im_end|>»" in out
    assert "time: 4 steps" in out
    preferences(file, held_out.question, held_out.answer)
    assert f"1 conversation(s) of {file} would be trained on and evaluated on" in refused(root, tiny, **settings)


def test_documents_that_are_read_in_pretraining_are_not_held_out(refused, workspace, tiny) -> None:
    root = workspace(rows())
    section = Completion("s", rows()[-1].doc_id, "https://x.test/p", ("High",), "Items are high. " * 20, "train")
    for examples in root.glob("examples/*/examples.parquet"):
        write_table(examples.with_name(COMPLETIONS), [section], Completion)
    line = refused(root, tiny, train__objective="pretrain")
    assert f"1 document(s) of {examples.with_name(COMPLETIONS)} would be trained on and evaluated on" in line


def test_a_file_that_is_not_utf_8_is_one_line(refused, workspace, tiny, tmp_path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes('{"messages": [{"role": "user", "content": "Grüße"}]}'.encode("latin-1"))
    assert f"{file}:1: not UTF-8 (byte 46 of the line). Save the file as UTF-8" in refused(
        workspace(rows()), tiny, train__data=file
    )


# Template and tokenizer


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (TEMPLATE.replace("<|im_end|>\n{% endfor", "\n{% endfor"), "ends an answer with no token at which generation"),
        (
            TEMPLATE.replace(
                "{% for message in messages %}", "{% for message in messages if message.role != 'system' %}"
            ),
            "leaves out or changes what the system says",
        ),
        (
            TEMPLATE.replace("in messages %}", "in (messages[:1] + messages[-2:]) %}"),
            "leaves out or changes what the user says",
        ),
        (
            TEMPLATE.replace("in messages %}", "in messages | sort(attribute='role') %}"),
            "drops or moves message 3 of 5, of role 'assistant'",
        ),
    ],
    ids=["no end of turn", "no system role", "no earlier turns", "another order"],
)
def test_a_template_that_keeps_something_back_is_refused(refused, workspace, model, template, says) -> None:
    make_tokenizer(template).save_pretrained(model)
    line = refused(workspace(rows()), model)
    assert "the chat template of " in line
    assert says in line


def test_a_model_without_a_chat_template_is_one_line(refused, workspace, tmp_path) -> None:
    assert "has no chat template. Choose an instruct or chat model" in refused(
        workspace(rows()), save_model(tmp_path / "bare", template=None)
    )


def test_a_tokenizer_with_nothing_to_pad_with_is_one_line(refused, workspace, model) -> None:
    file = model / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in settings.items() if name != "eos_token"}))
    assert "has neither a padding nor an end token" in refused(workspace(rows()), model)


def test_a_vocabulary_larger_than_the_embedding_is_refused(refused, workspace, model) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<one>", "<two>"])
    tokenizer.save_pretrained(model)
    line = refused(workspace(rows()), model)
    assert "has 260 tokens, but the model's embedding has 258 rows. Use the tokenizer that the model was" in line


# Weights, what training starts from, what an earlier try left


def test_damaged_weights_are_found_without_loading_them(refused, workspace, model) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert f"cannot read {file}: " in refused(workspace(rows()), model)


def test_weights_of_another_model_are_refused(refused, workspace, model) -> None:
    file = model / "model.safetensors"
    weights = load_file(file)
    save_file({**weights, "model.norm.weight": torch.ones(16)}, file, metadata={"format": "pt"})
    assert f"{file} holds model.norm.weight of shape [16], but config.json asks for [32]" in refused(
        workspace(rows()), model
    )


@pytest.fixture
def trained(workspace, tiny: Path) -> tuple[Path, Path]:
    """A workspace with a trained model, and the folder of its adapter."""
    root = workspace(rows())

    def fill(folder: Path) -> Made:
        base = AutoModelForCausalLM.from_pretrained(tiny)
        adapted = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
        adapted.save_pretrained(folder / "adapter")
        make_tokenizer().save_pretrained(folder / "adapter")
        return Made()

    version = Workspace(root).build("models", fill, inputs={}, settings={"model": str(tiny)})
    return root, version.path / "adapter"


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_of_this_model_is_a_start(cli, trained, tiny) -> None:
    code, out, _ = cli(trained[0], tiny, "--check", train__start="latest")
    assert code == 0
    assert "time: 4 steps" in out


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_of_another_model_is_refused(refused, trained, tiny) -> None:
    file = trained[1] / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "some/other"}))
    assert f"was trained on 'some/other', not on '{tiny}'. Set model.name to some/other" in refused(
        trained[0], tiny, train__start="latest"
    )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_of_another_template_or_tokenizer_is_refused(refused, trained, tiny) -> None:
    make_tokenizer(TEMPLATE.replace("assistant", "bot")).save_pretrained(trained[1])
    assert "was trained with another chat template than" in refused(trained[0], tiny, train__start="latest")
    grown = make_tokenizer()
    grown.add_tokens(["<new>"])
    grown.save_pretrained(trained[1])
    assert "was trained with another tokenizer (259 tokens, and" in refused(trained[0], tiny, train__start="latest")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_an_adapter_without_weights_is_one_line(refused, trained, tiny) -> None:
    (trained[1] / "adapter_model.safetensors").unlink()
    assert "adapter holds no weights" in refused(trained[0], tiny, train__start="latest")


def config_of(root: Path, model: Path):
    return load_config(
        None, [f"{name}={value}" for name, value in {"root": root, "model.name": model, **CONFIG}.items()]
    )


def checkpoint(root: Path, model: Path, step: int) -> Path:
    """A complete checkpoint of an earlier try at the run that `cli` makes."""
    folder, spec = run_of(config_of(root, model))
    made = folder / CHECKPOINTS / f"checkpoint-{step}"
    made.mkdir(parents=True)
    (made / "trainer_state.json").write_text("{}")
    save_file({"weight": torch.ones(8)}, made / "adapter_model.safetensors")
    mark_complete(made, about_processes(spec, 1))
    return made


def test_an_unreadable_checkpoint_of_an_earlier_try_is_one_line(refused, cli, workspace, tiny) -> None:
    root = workspace(rows())
    checkpoint(root, tiny, 2)
    last = checkpoint(root, tiny, 4)
    file = last / "adapter_model.safetensors"
    file.write_bytes(b"\xff" * file.stat().st_size)
    line = refused(root, tiny)
    assert f"the checkpoint {last} of an earlier try cannot be read: " in line
    assert "Delete that folder: training then goes on from the one before it" in line
    file.write_bytes(b"short")
    code, _, err = cli(root, tiny, "--check")
    assert code == 0
    assert "checkpoint-4 cannot be read and is not used: training goes on from checkpoint-2" in err


# Machines


def test_a_gpu_that_is_not_there_is_one_line(refused, workspace, tiny) -> None:
    if torch.cuda.is_available():
        pytest.fail("this test is for machines without a GPU")
    assert "'cuda', but torch sees no GPU. Set model.device" in refused(workspace(rows()), tiny, model__device="cuda")


def test_a_program_that_is_not_installed_is_one_line(refused, workspace, tiny, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = refused(workspace(rows()), tiny, train__launcher="mpi", train__processes=2)
    assert "train.launcher is mpi, but the program mpirun is not installed" in line


def test_too_little_memory_names_settings_that_fit(refused, workspace, tiny) -> None:
    line = refused(workspace(rows()), tiny, train__batch_size=1 << 17)
    assert "out of memory foreseen: training takes about " in line
    assert "These fit: --set train.batch_size=" in line


def test_an_adapter_for_modules_that_are_not_there_is_one_line(refused, workspace, tiny) -> None:
    line = refused(workspace(rows()), tiny, train__lora__target="[query_proj]")
    assert "train.lora.target = ['query_proj'] suits no module of this model" in line
    assert ".." not in line
    assert line.endswith("not found in the base model. Use all-linear, or names of its linear layers")


def test_an_unknown_launcher_is_named_with_the_known_ones(cli, workspace, tiny) -> None:
    code, _, err = cli(workspace(rows()), tiny, "--launcher", "nope", "--check")
    assert code == 2
    assert "--launcher 'nope' is no launcher. Known: local, torchrun" in err
    assert "Edit" not in err


# Before every training


def test_training_is_refused_before_a_process_starts(cli, workspace, tiny) -> None:
    both = [replace(one, doc_id="shared") if number in (2, 17) else one for number, one in enumerate(rows())]
    root = workspace(both)
    code, _, err = cli(root, tiny)
    assert code == 1
    assert "would be trained on and evaluated on" in err
    assert not list(root.glob(f"models/.partial-*/{LOG}"))


def test_a_run_that_was_checked_is_not_checked_again(workspace, model, caplog) -> None:
    root = workspace(rows())
    folder, spec = run_of(config_of(root, model))
    folder.mkdir(parents=True)
    spec.write(folder)
    with caplog.at_level("INFO", "train"):
        checked(folder)
    assert "checked 16 examples, some are shown in " in caplog.text
    assert "«Item 4 is 4 high. [1]<|im_end|>»" in (folder / TEXT).read_text()
    assert json.loads((folder / REPORT).read_text())["timing"] is None
    # Were it checked again, the model would be missed.
    shutil.rmtree(model)
    checked(folder)
    spoilt = checkpoint(root, model, 2) / "trainer_state.json"
    spoilt.write_text("}{")
    with pytest.raises(ModelError, match=r"checkpoint-2 of an earlier try cannot be read: trainer_state.json"):
        checked(folder)
    spec.model_copy(update={"seed": 4}).write(folder)
    with pytest.raises(ModelError, match="cannot load model"):
        checked(folder)
    assert (folder / SPEC).exists()
