"""Convolutions by Winograd's algorithm agree with those of torch."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import conv2d

from probav_estimators.architectures._winograd import Conv3x3

HAS_AVX2 = torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}


def make_layer(n_channels, n_filters, seed=0):
    torch.manual_seed(seed)
    layer = Conv3x3(n_channels, n_filters)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return layer


def images(*shape, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def exact(layer, inputs):
    """The convolution in double precision."""
    return conv2d(inputs.double(), layer.weight.double(), layer.bias.double(), padding=1)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 3),
    n_channels=st.sampled_from([1, 3, 16, 40, 65]),
    n_filters=st.sampled_from([1, 9, 32, 40]),
    height=st.integers(1, 14),
    width=st.integers(1, 30),
    channels_last=st.booleans(),
    relu=st.booleans(),
    adds=st.booleans(),
)
def test_it_is_the_convolution(n, n_channels, n_filters, height, width, channels_last, relu, adds):
    layer = make_layer(n_channels, n_filters)
    inputs = images(n, n_channels, height, width)
    skip = images(n, n_filters, height, width, seed=2)
    expected = exact(layer, inputs)
    expected = expected.relu() if relu else expected
    expected = skip + expected if adds else expected
    if channels_last:
        inputs, skip = (x.contiguous(memory_format=torch.channels_last) for x in (inputs, skip))
    before = inputs.clone(), skip.clone()
    with torch.inference_mode():
        found = layer(inputs, relu=relu, skip=skip if adds else None)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(inputs, before[0])
    assert torch.equal(skip, before[1])


def test_the_error_is_a_few_times_that_of_a_sum_in_single_precision():
    layer, inputs = make_layer(64, 64), images(1, 64, 66, 70)
    expected = exact(layer, inputs)
    with torch.no_grad():
        errors = [
            (found - expected).square().mean().sqrt() / expected.std()
            for found in (layer(inputs), nn.Conv2d.forward(layer, inputs))
        ]
    assert errors[0] < 1e-6
    assert errors[0] < 8 * errors[1]


def test_a_pixel_changes_its_neighbours_only():
    layer = make_layer(16, 16)
    black = torch.zeros(1, 16, 21, 22)
    dot = black.clone()
    dot[..., 8, 9] = 1
    with torch.no_grad():
        change = (layer(dot) - layer(black)).abs().amax(dim=(0, 1))
    assert change[7:10, 8:11].min() > 0.01
    change[7:10, 8:11] = 0
    assert change.max() < 1e-6
    # Tiles that the pixel is no input of.
    change[4:12, 8:12] = 0
    assert change.max() == 0


@pytest.mark.parametrize("change", ["in place", "data", "replaced", "loaded"])
def test_it_follows_the_weights(change):
    layer, other, inputs = make_layer(16, 16), make_layer(16, 16, seed=5), images(1, 16, 8, 8)
    with torch.no_grad():
        layer(inputs)
        if change == "in place":
            layer.weight.copy_(other.weight)
            layer.bias.copy_(other.bias)
        elif change == "data":
            layer.weight.data.copy_(other.weight)
            layer.bias.data.copy_(other.bias)
        elif change == "replaced":
            layer.weight, layer.bias = other.weight, other.bias
        else:
            layer.load_state_dict(other.state_dict())
        assert torch.equal(layer(inputs), other(inputs))
        assert torch.equal(pickle.loads(pickle.dumps(layer))(inputs), other(inputs))


class TestPlainConvolutions:
    """Where gradients, other precisions or traces are wanted, torch computes."""

    def test_gradients_are_those_of_torch(self):
        layer, inputs = make_layer(16, 16), images(1, 16, 9, 9)
        plain = nn.Conv2d(16, 16, 3, padding=1)
        plain.load_state_dict(layer.state_dict())
        skip = images(1, 16, 9, 9, seed=3)
        expected = skip + torch.relu(plain(inputs))
        found = layer(inputs, relu=True, skip=skip)
        assert torch.equal(found, expected)
        for result in (found, expected):
            result.square().sum().backward()
        assert torch.equal(layer.weight.grad, plain.weight.grad)

    @torch.no_grad()
    def test_autocast_is_obeyed(self):
        layer, inputs = make_layer(16, 16), images(1, 16, 9, 9)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(inputs).dtype == torch.bfloat16

    @torch.no_grad()
    def test_exported_programs_hold_convolutions(self):
        layer, inputs = make_layer(16, 16).eval(), images(1, 16, 9, 9)
        program = torch.export.export(layer, (inputs,))
        names = [str(node.target) for node in program.graph.nodes]
        assert any("conv2d" in name for name in names)
        torch.testing.assert_close(program.module()(inputs), layer(inputs), atol=1e-5, rtol=0)

    @pytest.mark.skipif(not HAS_AVX2, reason="Winograd's algorithm is used with AVX2 only")
    def test_predictions_do_not_call_torch(self, monkeypatch):
        layer, inputs = make_layer(16, 16), images(1, 16, 9, 9)
        monkeypatch.setattr(nn.Conv2d, "forward", None)
        with torch.no_grad():
            layer(inputs)
