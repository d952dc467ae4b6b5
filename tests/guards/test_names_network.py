"""The names model's network says the same once it is exported."""

import numpy as np
import onnxruntime
import torch

from guards.detectors.pii_model import SHAPES, Tagger
from guards.training.encoder import load_base
from guards.training.names_data import LABELS
from guards.training.names_network import NameTagger, export


def test_the_exported_network_gives_every_token_its_logits(tmp_path):
    torch.manual_seed(0)
    base, tokenizer = load_base(1, len(LABELS))
    base.pooled = False
    tagger = NameTagger(base).eval()
    ids, shapes = torch.tensor([[101, 7592, 2088, 102]]), torch.tensor([[0, 1, 2, 0]]) % SHAPES
    expected = tagger(ids, shapes)[0].detach().numpy()
    export(tagger, tokenizer, tmp_path / "names", {"version": "test"})
    session = onnxruntime.InferenceSession(str(tmp_path / "names.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {"ids": ids.numpy(), "shapes": shapes.numpy()})[0][0]
    assert found.shape == expected.shape == (4, len(LABELS))
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_the_exported_files_are_read_by_the_guard(tmp_path):
    base, tokenizer = load_base(1, len(LABELS))
    base.pooled = False
    export(NameTagger(base), tokenizer, tmp_path / "names", {"version": "test"})
    words = list(Tagger(tmp_path / "names").words("Ada Lovelace wrote it."))
    assert [word.start for word in words] == [0, 4, 13, 19, 21]
