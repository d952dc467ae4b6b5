"""Classifiers and measurements of the user's choice, with a tiny model and a small script made on the spot."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from configs.errors import ConfigError, ModelError
from guards.base import Action
from guards.detectors.classifier import ClassifierGuard, MeasurementGuard

SCRIPT = """
import datasets
import evaluate


class Toxicity(evaluate.Measurement):
    def _info(self):
        return evaluate.MeasurementInfo(
            description="", citation="", inputs_description="", module_type="measurement",
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _download_and_prepare(self, dl_manager):
        self.bad = "vile" if self.config_name == "default" else self.config_name

    def _compute(self, predictions, toxic_label="hate"):
        return {"toxicity": [0.9 if self.bad in text and toxic_label == "hate" else 0.1 for text in predictions]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of one layer that answers by the word `vile` alone: a logit of 8 for it, and of -8 without it."""
    place = tmp_path_factory.mktemp("model")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "vile", "fine"]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.add_special_tokens({"unk_token": "[UNK]", "pad_token": "[PAD]"})
    tokenizer.save_pretrained(place)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=512, id2label={0: "neutral", 1: "toxic"}, label2id={"neutral": 0, "toxic": 1},
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    # Learned in a second; everything else about the model is random.
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    inputs = tokenizer(["vile fine", "fine fine", "vile vile", "what fine"], return_tensors="pt")
    for _ in range(60):
        optimizer.zero_grad()
        model(**inputs, labels=torch.tensor([1, 0, 1, 0])).loss.backward()
        optimizer.step()
    model.save_pretrained(place)
    return place


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    path = tmp_path / "toxicity.py"
    path.write_text(SCRIPT)
    return path


def test_a_local_classifier_decides(folder):
    guard = ClassifierGuard(model=str(folder))
    bad, good = guard.check("vile vile"), guard.check("fine fine")
    assert (bad.action, bad.category, bad.allowed) == (Action.BLOCK, "toxicity", False)
    assert bad.score > 0.8 > 0.2 > good.score
    assert [(span.start, span.end) for span in bad.spans] == [(0, 9)]
    assert (good.action, good.spans) == (Action.ALLOW, ())
    assert "vile" not in bad.reason


def test_the_labels_that_count_can_be_named(folder):
    turned = ClassifierGuard(model=str(folder), labels=["neutral"], action=Action.FLAG, category="boring")
    verdict = turned.check("fine fine")
    assert (verdict.action, verdict.category) == (Action.FLAG, "boring")
    assert turned.check("vile vile").action is Action.ALLOW
    with pytest.raises(ConfigError, match="has no label"):
        ClassifierGuard(model=str(folder), labels=["rude"]).check("x")


def test_a_long_text_is_read_to_its_end(folder):
    text = "fine " * 2000 + "vile vile vile"
    (span,) = ClassifierGuard(model=str(folder)).check("fine " * 2000 + "vile " * 200).spans[-1:]
    assert span.end > len(text) - 20
    assert ClassifierGuard(model=str(folder)).check("fine " * 2000).allowed


@pytest.mark.parametrize("text", ["", "\x00", "\ud800 vile", "😀\udfff", "مرحبا"])
def test_odd_texts_get_an_answer(folder, text):
    assert 0 <= ClassifierGuard(model=str(folder)).check(text).score <= 1


def test_a_model_that_is_not_there_is_one_line_with_a_remedy(tmp_path):
    guard = ClassifierGuard(model=str(tmp_path / "none"))
    with pytest.raises(ModelError, match="cannot load the classifier") as caught:
        guard.check("x")
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="download"):
        ClassifierGuard(model="nobody/no-such-model").warm_up()


def test_weights_in_pickle_are_refused(folder, tmp_path):
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load the classifier"):
        ClassifierGuard(model=str(tmp_path)).check("x")


def test_a_local_measurement_decides(script):
    guard = MeasurementGuard(module=str(script))
    assert guard.check("how vile").action is Action.BLOCK
    assert guard.check("how fine").action is Action.ALLOW
    assert MeasurementGuard(module=str(script), model="fine").check("how fine").score == pytest.approx(0.9)
    assert MeasurementGuard(module=str(script), toxic_label="other").check("how vile").allowed


def test_a_measurement_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(ModelError, match="no measurement script"):
        MeasurementGuard().check("x")
    broken = tmp_path / "toxicity.py"
    broken.write_text("raise OSError('gone')")
    with pytest.raises(ModelError, match="cannot load the measurement"):
        MeasurementGuard(module=str(broken)).check("x")
