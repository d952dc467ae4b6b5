"""The stage from an index and examples to the retriever that is used, and its command."""

import json
import shutil
from pathlib import Path

import pytest

from app.cli import run
from configs.artifacts import Workspace
from configs.errors import ArtifactError, ConfigError, GateRefused
from configs.schema import Config
from feedback.store import Feedback, Interaction, Store
from ingest.examples.split import split_documents
from ingest.retriever_in_use import MODEL, model_of, used_retriever
from tests.train.retriever_toy import CHUNKS, COMBINATIONS, fill_workspace, question_of, save_embedder
from train.retriever.stage import make_retriever, run_train_retriever, use_if_better


@pytest.fixture(scope="module")
def tiny_embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_embedder(tmp_path_factory.mktemp("embedder") / "tiny")


def make_config(root: Path, embedder: Path, **retriever: object) -> Config:
    training = {"epochs": 12, "learning_rate": 5e-3, "batch_size": 8, "blend": 1.0, "max_tokens": 32, **retriever}
    return Config.model_validate(
        {"root": root, "embed": {"model": str(embedder), "device": "cpu"}, "retriever": training, "seed": 1}
    )


def quiet(_what: str, _done: int, _total: int | None) -> None:
    pass


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    fill_workspace(tmp_path, split_documents(CHUNKS, 0.3, 0))
    return tmp_path


def test_a_retriever_that_wins_is_used_and_not_trained_again(workspace: Path, tiny_embedder: Path) -> None:
    config = make_config(workspace, tiny_embedder)
    assert used_retriever(workspace, str(tiny_embedder)) == ""
    version = run_train_retriever(config, quiet)
    figures = version.manifest.figures
    assert figures["dense_ndcg@10_trained"] > figures["dense_ndcg@10_base"] + 0.2
    assert version.manifest.counts["train"] + version.manifest.counts["holdout"] == len(CHUNKS)
    assert (workspace / "retrievers" / "used").read_text() == f"{version.id}\n"
    assert used_retriever(workspace, str(tiny_embedder)) == version.id
    assert model_of(workspace, version.id) == version.path / MODEL
    # What was trained from another embedder is of no use to this one.
    assert used_retriever(workspace, "embedded:all-MiniLM-L6-v2") == ""
    assert run_train_retriever(config, quiet).reused


def test_a_loser_is_refused_kept_and_not_used(workspace: Path, tiny_embedder: Path) -> None:
    winner = run_train_retriever(make_config(workspace, tiny_embedder), quiet)
    # So few, so small steps that nothing changes its place.
    loser = make_config(workspace, tiny_embedder, epochs=0.1, learning_rate=1e-9)
    for _ in range(2):
        with pytest.raises(
            GateRefused,
            match=r"retriever \w+ is not used: on held-out questions its hybrid nDCG@10 is .* against .*, and more is",
        ):
            run_train_retriever(loser, quiet)
    assert len(Workspace(workspace).versions("retrievers")) == 2
    assert used_retriever(workspace, str(tiny_embedder)) == winner.id
    # What counts as winning may change; nothing is trained again for it.
    with pytest.raises(GateRefused, match=r"at least 0\.990 more is asked for\. .* or retriever\.min_gain"):
        run_train_retriever(make_config(workspace, tiny_embedder, min_gain=0.99), quiet)
    assert len(Workspace(workspace).versions("retrievers")) == 2


def test_a_lost_version_is_not_used(workspace: Path, tiny_embedder: Path) -> None:
    version = run_train_retriever(make_config(workspace, tiny_embedder), quiet)
    shutil.rmtree(version.path)
    assert used_retriever(workspace, str(tiny_embedder)) == ""


def test_a_killed_run_is_finished_by_the_next(workspace: Path, tiny_embedder: Path) -> None:
    config = make_config(workspace, tiny_embedder)

    def die(what: str, _done: int, _total: int | None) -> None:
        if what == "embedding again":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_train_retriever(config, die)
    assert used_retriever(workspace, str(tiny_embedder)) == ""
    steps: list[str] = []
    version = run_train_retriever(config, lambda what, *_: steps.append(what))
    # What the first run has done is not done again.
    assert set(steps) == {"embedding again", "comparing"}
    assert sorted(path.name for path in version.path.iterdir()) == ["manifest.json", "model"]


def test_votes_make_another_version(workspace: Path, tiny_embedder: Path) -> None:
    config = make_config(workspace, tiny_embedder, epochs=1)
    before = make_retriever(config, quiet)
    store = Store(config.database_url)
    store.record(
        Interaction("i", "Which is it?", "That. [1]", "m", passages=[{"chunk_id": CHUNKS[0].id, "cited": True}])
    )
    store.add_feedback(Feedback("i", "up"))
    store.close()
    after = make_retriever(config, quiet)
    assert after.id != before.id
    assert after.manifest.counts["votes"] == 1
    without = make_config(workspace, tiny_embedder, epochs=1, votes=False)
    assert make_retriever(without, quiet).manifest.counts["votes"] == 0


def test_another_way_of_serving_is_judged_anew(workspace: Path, tiny_embedder: Path) -> None:
    config = make_config(workspace, tiny_embedder, epochs=1)
    before = make_retriever(config, quiet)
    for searched, same in (({"fusion": "rrf"}, False), ({"mode": "dense"}, True)):
        other = config.model_copy(update={"retrieve": config.retrieve.model_copy(update=searched)})
        assert (make_retriever(other, quiet).id == before.id) == same
    by_words = config.model_copy(update={"retrieve": config.retrieve.model_copy(update={"mode": "lexical"})})
    with pytest.raises(ConfigError, match=r"retrieve\.mode is lexical"):
        make_retriever(by_words, quiet)


def test_what_is_missing_is_named(tmp_path: Path, tiny_embedder: Path) -> None:
    with pytest.raises(ArtifactError, match="Run `wellread index` first"):
        make_retriever(make_config(tmp_path, tiny_embedder), quiet)


def test_the_command_shows_both_and_exits_with_three_when_it_lost(
    workspace: Path, tiny_embedder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"question": question_of(*COMBINATIONS[0]), "passage": "the hat"}) + "\n")
    settings = tmp_path / "wellread.yaml"
    settings.write_text(make_config(workspace, tiny_embedder).model_dump_json())
    command = ["train", "retriever", "--config", str(settings), "--pairs", str(pairs)]
    assert run([*command, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["stage"] == "retrievers"
    assert shown["figures"]["dense_gain"] > 0
    assert run([*command, "--set", "retriever.min_gain=0.99"]) == 3
    out, err = capsys.readouterr()
    assert "embedder alone ndcg@10" in out
    assert "is not used" in err
    version = Workspace(workspace).version("retrievers", shown["version"])
    use_if_better(make_config(workspace, tiny_embedder), version)
    pairs.unlink()
    assert run(command) == 1
    assert "cannot read" in capsys.readouterr().err
