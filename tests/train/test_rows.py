"""The user's own conversations and preferences: formats, weights, and one clear line for what is wrong."""

import json
from pathlib import Path

import pytest

from configs.errors import ModelError
from ingest.records import Example, write_table
from tests.train.conftest import make_example
from train.methods.dpo import read_pairs
from train.model import LoadedModel, load_model
from train.rows import own_rows, training_rows
from train.user_data import PREFERENCE_REMEDY, preference, read_lines


@pytest.fixture(scope="module")
def loaded(tiny: Path) -> LoadedModel:
    return load_model(str(tiny), "cpu")


def write(folder: Path, *lines: object) -> Path:
    file = folder / "own.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


SAID = {"role": "user", "content": "Hi"}
ANSWERED = {"role": "assistant", "content": "Hello."}


def test_all_formats_of_conversations_are_read(tmp_path: Path, loaded: LoadedModel) -> None:
    file = write(
        tmp_path,
        {"messages": [SAID, ANSWERED, SAID, ANSWERED], "weight": 2},
        {"id": "mine", "prompt": "Hi", "completion": "Hello."},
        {"prompt": [SAID, ANSWERED, SAID], "completion": [ANSWERED]},
    )
    file.write_text("\ufeff" + file.read_text() + "\n")
    rows = own_rows(file, loaded, 512).rows
    assert [row.id for row in rows] == ["own.jsonl:1", "mine", "own.jsonl:3"]
    assert [row.weight for row in rows] == [2.0, 1.0, 1.0]
    # A completion is learnt, and not the answers in its prompt.
    assert [len(row.encoded.learnt) for row in rows] == [2, 1, 1]
    assert rows[0].encoded.input_ids == rows[2].encoded.input_ids


def test_own_conversations_stand_beside_the_examples_or_alone(
    tmp_path: Path, loaded: LoadedModel, examples: Path
) -> None:
    file = write(tmp_path, {"prompt": "Hi", "completion": "Hello."})
    assert len(training_rows(examples, file, loaded, 1024).rows) == 17
    none = tmp_path / "examples.parquet"
    write_table(none, [make_example(1, "holdout")], Example)
    assert [row.id for row in training_rows(none, file, loaded, 1024).rows] == ["own.jsonl:1"]
    with pytest.raises(ModelError, match="holds no training examples"):
        training_rows(none, None, loaded, 1024)


def test_rows_that_are_too_long_are_counted(tmp_path: Path, loaded: LoadedModel) -> None:
    file = write(tmp_path, {"prompt": "Hi", "completion": "Hello."}, {"prompt": "Hi", "completion": "very long " * 30})
    found = own_rows(file, loaded, 128)
    assert (len(found.rows), found.too_long) == (1, 1)
    with pytest.raises(ModelError, match=r"all 2 rows of .*own\.jsonl are longer than 8 tokens"):
        own_rows(file, loaded, 8)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"messages": [SAID, {"role": "bot", "content": "x"}]}, "unknown role 'bot'; known: system, user, assistant"),
        ({"messages": [SAID]}, "no message has role 'assistant'"),
        ({"messages": [{"role": "assistant", "content": "Hi"}, SAID]}, "the first message is an answer"),
        ({"messages": []}, "'messages' is empty"),
        ({"messages": 7}, "'messages' is neither a text nor a list of messages"),
        ({"prompt": "Hi", "completion": "x", "messages": []}, "'prompt' and 'completion' are there too"),
        ({"messages": [SAID, {"role": "assistant"}]}, "is no message with role and content"),
        ({"messages": [SAID, {"role": "assistant", "content": " "}]}, "a message of role 'assistant' has no text"),
        ({"messages": [SAID, ANSWERED], "weight": -1}, "weight is -1, not a number above 0"),
        ({"messages": [SAID, ANSWERED], "weight": "2"}, "weight is '2', not a number above 0"),
        ({"prompt": "Hi", "completion": [SAID]}, "'completion' is not one message of role 'assistant'"),
        ({"text": "Hi"}, "neither 'messages' nor 'prompt' and 'completion'"),
        ([1], "not a JSON object"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(tmp_path: Path, loaded: LoadedModel, line: object, problem: str) -> None:
    file = write(tmp_path, {"prompt": "Hi", "completion": "Hello."}, line)
    with pytest.raises(ModelError) as caught:
        own_rows(file, loaded, 512)
    assert caught.value.problem.startswith(f"{file}:2: ")
    assert problem in caught.value.problem
    assert "\n" not in str(caught.value)


def test_files_that_are_no_lines_of_json_are_refused(tmp_path: Path, loaded: LoadedModel) -> None:
    file = tmp_path / "own.jsonl"
    with pytest.raises(ModelError, match=r"cannot read .*Correct train\.data$"):
        own_rows(file, loaded, 512)
    with pytest.raises(ModelError, match=r"cannot read .*Correct train\.preference\.data$"):
        read_pairs(file, loaded, 512)
    file.write_bytes(b"\n \n")
    with pytest.raises(ModelError, match="is empty"):
        own_rows(file, loaded, 512)
    file.write_bytes(b'{"prompt": "Hi", "completion": "Hello."}\n{"prompt": "caf\xe9", "completion": "x"}\n')
    with pytest.raises(ModelError, match=r"own\.jsonl:2: not UTF-8 \(byte 16 of the line\)"):
        own_rows(file, loaded, 512)
    file.write_text('{"prompt": "Hi",\n')
    with pytest.raises(ModelError, match=r"own\.jsonl:1: not JSON"):
        own_rows(file, loaded, 512)


def test_all_formats_of_preferences_are_read(tmp_path: Path) -> None:
    worse = {"role": "assistant", "content": "No."}
    file = write(
        tmp_path,
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "No."},
        {"prompt": [SAID], "chosen": [ANSWERED], "rejected": [worse]},
        {"chosen": [SAID, ANSWERED], "rejected": [SAID, worse]},
    )
    assert [preference(line) for line in read_lines(file, PREFERENCE_REMEDY)] == [([SAID], "Hello.", "No.")] * 3


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"prompt": "Hi", "chosen": "Hello."}, "'rejected' is missing"),
        ({"prompt": "Hi", "chosen": "Hello.", "rejected": " Hello."}, "chosen and rejected are the same"),
        ({"chosen": "Hello.", "rejected": "No."}, "must be lists of messages"),
        ({"chosen": [SAID, ANSWERED], "rejected": [ANSWERED]}, "do not begin with the same messages"),
    ],
)
def test_a_wrong_pair_is_named_with_its_number(tmp_path: Path, loaded: LoadedModel, line: object, problem: str) -> None:
    with pytest.raises(ModelError, match=rf"own\.jsonl:1: .*{problem}"):
        read_pairs(write(tmp_path, line), loaded, 512)


def test_a_pair_is_left_out_when_either_answer_is_too_long(tmp_path: Path, loaded: LoadedModel) -> None:
    file = write(
        tmp_path,
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "No."},
        {"prompt": "Hi", "chosen": "Hello.", "rejected": "No. " * 60},
    )
    pairs, too_long = read_pairs(file, loaded, 128)
    assert ([pair.id for pair in pairs], too_long) == (["own.jsonl:1"], 1)
    columns = pairs[0].columns()
    spelled = {name: loaded.tokenizer.decode(ids) for name, ids in columns.items()}
    assert spelled["chosen_ids"] == "Hello.<|im_end|>"
    assert spelled["rejected_ids"] == "No.<|im_end|>"
    assert spelled["prompt_ids"].endswith("<|im_start|>assistant\n")
