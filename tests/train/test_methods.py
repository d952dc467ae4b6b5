"""Every objective and method on the tiny model, in this process: what is learnt, and that it is learnt."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import ModelError
from ingest.examples.completion import Completion
from ingest.records import Example, write_table
from tests.train.conftest import END, make_example
from train.fit import train
from train.hardware import CHOSEN
from train.methods.dpo import checked_pairs, read_pairs
from train.methods.pretrain import document_rows
from train.model import load_model
from train.spec import CHECKPOINTS, FIGURES, PROGRESS, SPEC, Spec, read_progress

pytestmark = [
    # peft 0.21 asks transformers 5.23, and TRL 1.16 torch 2.13, by old names.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
LAST = Path(CHECKPOINTS) / "checkpoint-8" / "trainer_state.json"


def run(folder: Path, start: Path | None = None) -> list[dict]:
    """Train in this process; the rows of `progress.jsonl`."""
    spec = Spec.read(folder / SPEC).model_copy(update={"start": start})
    spec.write(folder)
    train(spec, folder)
    return read_progress(folder / PROGRESS)


def figures(folder: Path) -> dict:
    return json.loads((folder / FIGURES).read_text())


@pytest.fixture(scope="module")
def plain(make_run_in, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter after eight steps over the examples."""
    folder = make_run_in(tmp_path_factory.mktemp("plain"), max_steps=8, save_steps=8)
    run(folder)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {"lora": {"variant": "rslora"}},
        {"lora": {"variant": "dora"}},
        {"method": "full"},
        {"precision": "bfloat16"},
        {"packing": True, "batch_size": 2},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_the_loss_falls(make_run, plain: Path, settings: dict) -> None:
    folder = make_run(**{"max_steps": 8, "save_steps": 8, **settings})
    rows = run(folder)
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.1
    assert all(math.isfinite(row["grad_norm"]) for row in rows)
    full = settings.get("method") == "full"
    weights = load_file(folder / ("model/model.safetensors" if full else "adapter/adapter_model.safetensors"))
    same = not full and weights.keys() == load_file(plain / "adapter/adapter_model.safetensors").keys()
    # DoRA learns a magnitude too, full training every weight.
    assert same is (settings != {"lora": {"variant": "dora"}} and not full)


def test_what_was_chosen_is_written_down(plain: Path) -> None:
    chosen = json.loads((plain / CHOSEN).read_text())
    assert (chosen["precision"], chosen["why"]["precision"]) == ("float32", "train.precision says so")


def test_checkpointing_changes_no_loss_and_noise_does(make_run, plain: Path) -> None:
    expected = [row["loss"] for row in read_progress(plain / PROGRESS)][:2]
    again = run(make_run("again", max_steps=2, checkpointing="always"))
    assert [row["loss"] for row in again] == pytest.approx(expected, abs=1e-5)
    noisy = run(make_run("noisy", max_steps=2, neftune=5.0))
    assert [row["loss"] for row in noisy] != pytest.approx(expected, abs=1e-5)


def first(folder: Path) -> tuple[float, float, int]:
    """Loss, gradient and tokens of the first step."""
    row = run(folder)[0]
    return row["loss"], row["grad_norm"], row["tokens"]


def test_a_packed_step_learns_what_a_padded_one_does(make_run) -> None:
    padded = first(make_run("padded", max_steps=1, batch_size=16))
    folder = make_run("packed", max_steps=1, batch_size=16, packing=True)
    assert first(folder) == pytest.approx(padded, rel=1e-5)
    # The same count of useful tokens, in fewer rows; ids of all of them are known.
    assert (figures(folder)["used"], figures(folder)["checked_rows"]) == (16, 16)
    assert figures(folder)["packed_rows"] < 10
    named = [json.loads(line)["ids"] for line in (folder / "order-0.jsonl").read_text().splitlines()]
    assert len({name for row in named[0] for name in row.split(" + ")}) == 16


def own_data(folder: Path, *weights: int) -> Path:
    said = [("What is up?", "Not much."), ("And down?", "A little more than that.")]
    rows = [
        {"prompt": question, "completion": answer, "weight": weight}
        for (question, answer), weight in zip(said, weights, strict=True)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "own.jsonl"


def test_a_row_of_weight_two_counts_as_if_it_stood_there_twice(make_run, tmp_path: Path) -> None:
    # No training examples, so that the step is about these rows and no others.
    write_table(tmp_path / "examples.parquet", [make_example(1, "holdout")], Example)

    def one(name: str, data: Path, **train: object) -> tuple[float, float]:
        folder = make_run(name, max_steps=1, data=str(data), **train)
        Spec.read(folder / SPEC).model_copy(update={"examples": tmp_path / "examples.parquet"}).write(folder)
        return first(folder)[:2]

    file = own_data(tmp_path, 1, 1)
    unweighed = one("unweighed", file, batch_size=2)
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")
    doubled = one("doubled", file, batch_size=3)
    assert doubled[0] != pytest.approx(unweighed[0], rel=1e-5)
    file = own_data(tmp_path, 1, 2)
    assert one("padded", file, batch_size=2) == pytest.approx(doubled, rel=1e-5)
    assert one("accumulated", file, batch_size=1, accumulate=2) == pytest.approx(doubled, rel=1e-5)
    assert one("packed", file, batch_size=1, packing=True) == pytest.approx(doubled, rel=1e-5)


def test_conversations_of_several_answers_are_learnt_beside_the_examples(make_run, tmp_path: Path) -> None:
    talk = [{"role": role, "content": f"{role} {number}"} for number in range(3) for role in ("user", "assistant")]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": talk}) + "\n")
    folder = make_run(max_steps=2, batch_size=17, data=str(tmp_path / "talk.jsonl"))
    rows = run(folder)
    assert figures(folder)["used"] == 17
    assert rows[1]["loss"] < 6


# Continued pretraining


def sections(folder: Path) -> Path:
    texts = [
        f"Heading {number}\n\nItem {number} is {number} high, and <|im_end|> ends nothing. " for number in range(9)
    ]
    texts.append("Long\n\n" + "words and more words " * 60)
    rows = [Completion(f"c{n}", "d", "https://x.test", (), text, "train") for n, text in enumerate(texts)]
    write_table(folder / "completions.parquet", [*rows, Completion("h", "d", "", (), "held", "holdout")], Completion)
    return folder / "completions.parquet"


def test_documents_are_learnt_whole_with_an_end_and_nothing_is_left_out(tiny: Path, tmp_path: Path) -> None:
    loaded = load_model(str(tiny), "cpu")
    rows = document_rows(sections(tmp_path), loaded, 256).rows
    assert [row.id for row in rows[:9]] == [f"c{number}" for number in range(9)]
    end = loaded.tokenizer.eos_token_id
    for row in rows[:9]:
        assert row.encoded.labels[1:] == list(row.encoded.input_ids[1:])
        assert row.encoded.input_ids.count(end) == 1
        assert row.encoded.input_ids[-1] == end
    assert [row.id for row in rows[9:]] == [f"c9#{number}" for number in range(1, len(rows) - 8)]
    spelled = "".join(loaded.tokenizer.decode(row.encoded.input_ids) for row in rows[9:])
    assert spelled == "Long\n\n" + "words and more words " * 60 + END


def test_pretraining_lowers_the_loss_over_packed_documents(make_run, tmp_path: Path) -> None:
    examples = sections(tmp_path).with_name("examples.parquet")
    folder = make_run(objective="pretrain", max_steps=8, batch_size=2, method="full")
    Spec.read(folder / SPEC).model_copy(update={"examples": examples}).write(folder)
    rows = run(folder)
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert figures(folder)["packed_rows"] < figures(folder)["used"]


def test_pretraining_without_documents_says_what_to_run(make_run) -> None:
    with pytest.raises(ModelError, match=r"Set examples\.completions=true and run `wellread examples`"):
        run(make_run(objective="pretrain"))


# Preferences


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [{"prompt": f"Say {n}", "chosen": f"It is {n}.", "rejected": f"No {n}, no."} for n in range(8)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def logged(folder: Path, name: str) -> list[float]:
    history = json.loads((folder / LAST).read_text())["log_history"]
    return [row[name] for row in history if name in row]


@pytest.mark.parametrize(("objective", "method", "loss"), [("dpo", "lora", math.log(2)), ("ipo", "full", 25.0)])
def test_the_better_answer_becomes_more_likely_than_the_worse(
    make_run, pairs: Path, objective: str, method: str, loss: float
) -> None:
    folder = make_run(
        objective=objective, method=method, preference={"data": str(pairs)}, max_steps=8, save_steps=8, batch_size=8
    )
    rows = run(folder)
    # Model and reference are the same at first: log 2 for DPO, (1 / (2 beta))^2 for IPO.
    assert rows[0]["loss"] == pytest.approx(loss, rel=1e-5)
    assert rows[-1]["loss"] < 0.95 * loss
    margins = logged(folder, "rewards/margins")
    assert margins[0] == pytest.approx(0, abs=1e-5)
    assert margins[-1] > margins[3] > 0
    assert logged(folder, "rewards/accuracies")[-1] == 1
    assert figures(folder)["checked_rows"] == 2 * 8 * 8


def test_pairs_are_needed_for_preferences(make_run) -> None:
    with pytest.raises(ModelError, match=r"dpo has nothing to learn from.*Set train\.preference\.data"):
        run(make_run(objective="dpo"))


def test_every_batch_of_pairs_is_checked(tiny: Path, pairs: Path) -> None:
    loaded = load_model(str(tiny), "cpu")
    found, _ = read_pairs(pairs, loaded, 512)
    collator = checked_pairs(loaded, found)
    rows = [pair.columns() for pair in found]
    collator(rows)
    assert collator.rows == 16
    # The end of an answer left out, as by a template that does not close the turn.
    rows[0]["chosen_ids"] = rows[0]["chosen_ids"][:-1]
    with pytest.raises(ModelError, match="would not cover exactly the answer"):
        collator(rows)


# Going on from a trained model


def test_training_goes_on_from_an_adapter(make_run, plain: Path) -> None:
    curve = read_progress(plain / PROGRESS)
    folder = make_run(max_steps=4, save_steps=4)
    rows = run(folder, plain / "adapter")
    assert rows[0]["loss"] < curve[2]["loss"]
    before, after = (load_file(one / "adapter/adapter_model.safetensors") for one in (plain, folder))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_full_training_goes_on_from_an_adapter_and_from_full_weights(make_run, plain: Path) -> None:
    folder = make_run("merged", max_steps=2, method="full", learning_rate=1e-3)
    assert run(folder, plain / "adapter")[0]["loss"] < read_progress(plain / PROGRESS)[2]["loss"]
    more = make_run("more", max_steps=2, method="full", learning_rate=1e-3)
    assert run(more, folder / "model")[0]["loss"] < read_progress(plain / PROGRESS)[2]["loss"]
    with pytest.raises(ModelError, match=r"holds full weights, and train.method is lora"):
        run(make_run("lora"), folder / "model")


def test_preferences_are_compared_with_the_adapter_that_training_goes_on_with(make_run, plain, pairs, tiny) -> None:
    folder = make_run(objective="dpo", preference={"data": str(pairs)}, max_steps=8, save_steps=4, batch_size=8)
    rows = run(folder, plain / "adapter")
    assert rows[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert logged(folder, "rewards/margins")[-1] > 0
    # The copy that they were compared with is no part of the result.
    assert [path.name for path in (folder / "adapter").iterdir() if path.is_dir()] == []
    assert load_model(str(tiny), "cpu", adapter=folder / "adapter").model.active_adapters == ["default"]
    # Nor does a run that is resumed go on with that copy.
    shutil.rmtree(folder / CHECKPOINTS / "checkpoint-8")
    again = run(folder, plain / "adapter")
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in rows], abs=1e-5)


def test_preferences_are_compared_with_the_merged_adapter_in_full_training(make_run, plain: Path, pairs: Path) -> None:
    folder = make_run(objective="dpo", method="full", preference={"data": str(pairs)}, max_steps=1)
    assert run(folder, plain / "adapter")[0]["loss"] == pytest.approx(math.log(2), rel=1e-5)
