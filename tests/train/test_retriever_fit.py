"""Training itself, on a tiny random embedder and a language in which it knows nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import ArtifactError, ModelError
from ingest.embed import load_embedder
from ingest.search.hybrid import Ranker
from tests.train.retriever_toy import CHUNKS, COMBINATIONS, base_of, passage_of, question_of, save_embedder
from train.retriever.fit import Recipe, Triple, blend_weights, fit, load_model
from train.retriever.learn import learn
from train.retriever.task import Labelled, Task

RECIPE = Recipe(epochs=12, learning_rate=5e-3, batch_size=8, seed=1, checkpoint_steps=1000)
TRIPLES = [Triple(question_of(*names), passage_of(*names)) for names in COMBINATIONS[:24]]


@pytest.fixture(scope="module")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_embedder(tmp_path_factory.mktemp("embedder") / "tiny")


def toy_task() -> Task:
    """Every third combination is held out; each of its words is in others that are learned from."""
    labelled = [Labelled(question_of(*names), (row,)) for row, names in enumerate(COMBINATIONS)]
    held_out = set(range(0, len(COMBINATIONS), 3))
    return Task(
        CHUNKS,
        [str(row) for row in range(len(COMBINATIONS))],
        [one for row, one in enumerate(labelled) if row not in held_out],
        [one for row, one in enumerate(labelled) if row in held_out],
        frozenset(held_out),
    )


def test_training_finds_held_out_passages(tiny_embedder: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    learned = learn(
        toy_task(),
        base_of(tiny_embedder),
        tmp_path,
        RECIPE,
        Ranker(),
        negatives=1,
        progress=lambda *what: told.append(what),
    )
    found, figures = learned.judgement.figures(), learned.figures
    assert found["dense_ndcg@10_base"] < 0.5
    assert found["dense_ndcg@10_trained"] > 0.8
    assert found["dense_gain_low"] > 0
    assert figures["loss_last"] < figures["loss_first"]
    assert ("training", 48, 48) in told
    # What is left is the model, without anything that could run code when it is loaded.
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    kept = {path.suffix for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert kept <= {".json", ".safetensors", ".txt"}
    assert load_embedder(str(tmp_path / "model"), "cpu").max_tokens == 32


def train(embedder: Path, folder: Path, recipe: Recipe = RECIPE, triples=TRIPLES, progress=lambda *_: None):
    folder.mkdir(exist_ok=True)
    figures = fit(load_model(str(embedder), "cpu"), triples, folder / "model", recipe, progress)
    return figures, load_embedder(str(folder / "model"), "cpu").encode_queries([one.question for one in TRIPLES])


def test_training_tells_its_progress_in_one_way_only(
    tiny_embedder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(tiny_embedder, tmp_path / "x", Recipe(epochs=1, batch_size=8))
    out, err = capfd.readouterr()
    assert out == ""
    assert "%" not in err


def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(tiny_embedder: Path, tmp_path: Path) -> None:
    recipe = Recipe(epochs=4, learning_rate=5e-3, batch_size=8, seed=1, checkpoint_steps=5)
    _, whole = train(tiny_embedder, tmp_path / "whole", recipe)
    seen: list[int] = []

    def die_at_seven(done: int, _total: int) -> None:
        seen.append(done)
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny_embedder, tmp_path / "killed", recipe, progress=die_at_seven)
    assert not (tmp_path / "killed" / "model").exists()
    # A checkpoint that was being written when the run was killed counts for nothing.
    (tmp_path / "killed" / "checkpoints" / "checkpoint-9").mkdir()
    figures, again = train(tiny_embedder, tmp_path / "killed", recipe, progress=lambda done, _: seen.append(done))
    assert seen == [1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 10, 11, 12]
    assert figures["steps"] == 12
    np.testing.assert_allclose(again, whole, atol=1e-5)


def test_a_blend_lies_between_the_old_and_the_trained_weights(tiny_embedder: Path) -> None:
    model = load_model(str(tiny_embedder), "cpu")
    start = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    blend_weights(model, start, 0.25)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight, start[name] + 0.25)


@pytest.mark.parametrize(
    "triples", [[], TRIPLES[:1], [TRIPLES[0]] * 5, [Triple("the same?", one.passage) for one in TRIPLES]]
)
def test_too_little_to_learn_from_is_refused(tiny_embedder: Path, tmp_path: Path, triples: list[Triple]) -> None:
    with pytest.raises(ModelError, match="too few to learn from"):
        train(tiny_embedder, tmp_path / "x", triples=triples)


def test_questions_asked_twice_are_learned_from(tiny_embedder: Path, tmp_path: Path) -> None:
    figures, _ = train(tiny_embedder, tmp_path / "x", Recipe(epochs=1, batch_size=8), [*TRIPLES, *TRIPLES])
    assert figures["steps"] >= 6


def test_a_loss_that_is_not_finite_ends_training_in_one_line(tiny_embedder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"training diverged: the loss is nan\. Lower retriever\.learning_rate"):
        train(tiny_embedder, tmp_path / "x", Recipe(epochs=3, learning_rate=float("inf"), batch_size=8))
    assert not (tmp_path / "x" / "model").exists()


def test_without_questions_in_both_halves_nothing_is_trained(tiny_embedder: Path, tmp_path: Path) -> None:
    task = toy_task()
    for broken in (
        Task(task.chunks, task.groups, (), task.holdout),
        Task(task.chunks, task.groups, task.train, ()),
    ):
        with pytest.raises(ArtifactError, match="there is no question"):
            learn(
                broken,
                base_of(tiny_embedder),
                tmp_path,
                RECIPE,
                Ranker(),
                negatives=1,
                progress=lambda *_: None,
            )
    assert not list(tmp_path.iterdir())
