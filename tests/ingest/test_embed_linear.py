"""Packed linear layers compute what linear layers compute, and can be put back."""

import pytest
import torch
from torch import nn

from ingest.embed_linear import PackedLinear, pack


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Sequential(nn.Linear(96, 16, bias=False))).eval()


def test_packed_layers_give_the_same(model):
    values = torch.randn(3, 7, 48)
    with torch.inference_mode():
        expected = model(values)
        undo = pack(model)
        assert undo is not None
        assert [type(layer) for layer in (model[0], model[2][0])] == [PackedLinear, PackedLinear]
        torch.testing.assert_close(model(values), expected, atol=1e-5, rtol=1e-5)
        undo()
        assert torch.equal(model(values), expected)


def test_what_cannot_be_packed_is_left_as_it_is(model):
    assert pack(nn.Sequential(nn.GELU())) is None
    assert pack(model.half()) is None
    assert type(model[0]) is nn.Linear
