"""The published architectures, layer by layer, and what can be set about them."""

import numpy as np
import pytest
import torch
from _helpers import composed, small_scenes
from sklearn.base import clone
from torch import nn

from probav_estimators import (
    FSRCNN,
    SRCNN,
    SRVGG16,
    CPSNRLoss,
    MaskedMSELoss,
    MSELoss,
    SRCNNEx,
    SRResNet,
)

PUBLISHED_SIZES = {SRCNN: 97_058, SRCNNEx: 146_210, FSRCNN: 40_974, SRVGG16: 492_706}
ALL = [*PUBLISHED_SIZES, SRResNet]
SMALL = {SRResNet: {"n_blocks": 2, "n_features": 8}}


def inputs_for(architecture, scenes, **options):
    return composed(scenes, scale=None if architecture.upscales else 3, **options)


def small(architecture, **parameters):
    defaults = {"max_epochs": 1, "batch_size": 4, "random_state": 0, "verbose": 0}
    return architecture(**SMALL.get(architecture, {}), **(defaults | parameters))


@pytest.fixture(scope="module")
def scenes():
    return small_scenes(4)


@pytest.mark.parametrize(("architecture", "size"), PUBLISHED_SIZES.items())
def test_nets_have_the_published_number_of_parameters(architecture, size):
    layers = architecture().build_layers(18, 2, 3)
    assert sum(parameter.numel() for parameter in layers.parameters()) == size


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_layers_make_images_of_hr_size(architecture, scale):
    net = small(architecture)
    inputs = torch.zeros(1, 5, *((10, 7) if net.upscales else (10 * scale, 7 * scale)))
    assert net.build_layers(5, 1, scale)(inputs).shape == (1, 1, 10 * scale, 7 * scale)


@pytest.mark.parametrize("architecture", ALL)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"residual": True, "patch_size": 8, "augment": True, "criterion__border": 1},
        {"compute_dtype": "bfloat16", "predict_clearance": False, "criterion": MaskedMSELoss},
        {"compute_dtype": "float32", "residual": True, "criterion": MSELoss},
    ],
    ids=["published", "patches", "bfloat16", "mse"],
)
def test_every_net_trains_in_every_way(architecture, parameters, scenes):
    inputs = inputs_for(architecture, scenes)
    net = small(architecture, **parameters).fit(inputs)
    images = net.predict(inputs)
    assert images.shape == (len(scenes), *scenes[0].hr.shape)
    assert np.isfinite(images).all()
    assert np.isfinite(net.history[-1, "train_loss"])


@pytest.mark.parametrize("architecture", [FSRCNN, SRResNet])
def test_a_net_that_upscales_says_to_remove_the_upscaler(architecture, scenes):
    with pytest.raises(ValueError, match=r"upscales by itself.*remove BicubicUpscaler"):
        small(architecture).fit(composed(scenes, scale=3))


class TestFSRCNN:
    @pytest.mark.parametrize(
        ("activation", "layer"), [("relu", nn.ReLU), ("elu", nn.ELU), ("prelu", nn.PReLU)]
    )
    def test_activation_is_a_choice(self, activation, layer):
        layers = FSRCNN(activation=activation).build_layers(9, 1, 3)
        assert sum(isinstance(module, layer) for module in layers) == 7

    @pytest.mark.parametrize("kernel_size", [3, 4, 7, 9, 12])
    @pytest.mark.parametrize("scale", [2, 3])
    def test_any_deconvolution_gives_the_right_size(self, kernel_size, scale):
        layers = FSRCNN(deconv_kernel_size=kernel_size).build_layers(1, 1, scale)
        assert layers(torch.zeros(1, 1, 6, 5)).shape == (1, 1, 6 * scale, 5 * scale)

    def test_a_deconvolution_that_leaves_gaps_is_refused(self, scenes):
        net = small(FSRCNN, deconv_kernel_size=2)
        with pytest.raises(ValueError, match="deconv_kernel_size=2 leaves gaps"):
            net.fit(inputs_for(FSRCNN, scenes))

    def test_mapping_kernels_can_be_wider_but_not_even(self, scenes):
        layers = FSRCNN(mapping_kernel_size=5).build_layers(1, 1, 3)
        assert [m.kernel_size[0] for m in layers if isinstance(m, nn.Conv2d)].count(5) == 5
        with pytest.raises(ValueError, match="mapping_kernel_size must be odd, got 4"):
            small(FSRCNN, mapping_kernel_size=4).fit(inputs_for(FSRCNN, scenes))

    def test_an_unknown_activation_is_refused(self, scenes):
        with pytest.raises(ValueError, match="'activation' parameter of FSRCNN"):
            small(FSRCNN, activation="tanh").fit(inputs_for(FSRCNN, scenes))


def vgg16_state(seed=0):
    """What torchvision's vgg16().state_dict() has of the first two blocks, and some more."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128)}
    state = {}
    for number, (n_out, n_in) in shapes.items():
        state[f"features.{number}.weight"] = torch.randn(n_out, n_in, 3, 3, generator=generator)
        state[f"features.{number}.bias"] = torch.randn(n_out, generator=generator)
    return state


class TestVGGWeights:
    def assert_filled(self, layers, state):
        convolutions = [module for module in layers if isinstance(module, nn.Conv2d)]
        # 9x9, then the blocks; the first layer of block 1 sees colours in VGG16.
        for convolution, number in zip(convolutions[2:5], (2, 5, 7), strict=True):
            torch.testing.assert_close(convolution.weight, state[f"features.{number}.weight"])
            torch.testing.assert_close(convolution.bias, state[f"features.{number}.bias"])

    def test_fill_the_layers_whose_shapes_fit(self):
        state = vgg16_state()
        self.assert_filled(SRVGG16(vgg_weights=state).build_layers(18, 2, 3), state)

    def test_come_from_a_file_too(self, tmp_path, scenes):
        torch.save(vgg16_state(), tmp_path / "vgg16.pt")
        net = small(SRVGG16, vgg_weights=tmp_path / "vgg16.pt", lr=1e-9, patch_size=8)
        net.fit(inputs_for(SRVGG16, scenes))
        layers = [*net.module_.features, net.module_.head]
        state = {name: value.contiguous() for name, value in vgg16_state().items()}
        for convolution, number in zip(
            [m for m in layers if isinstance(m, nn.Conv2d)][2:5], (2, 5, 7), strict=True
        ):
            weight = convolution.weight.detach().contiguous()
            torch.testing.assert_close(weight, state[f"features.{number}.weight"])

    def test_survive_cloning(self):
        net = clone(SRVGG16(vgg_weights=vgg16_state()))
        self.assert_filled(net.build_layers(9, 1, 3), vgg16_state())

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.pt does not exist"):
            SRVGG16(vgg_weights=tmp_path / "nowhere.pt").build_layers(9, 1, 3)

    def test_truncated_file_is_named(self, tmp_path):
        path = tmp_path / "vgg16.pt"
        torch.save(vgg16_state(), path)
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ValueError, match=r"vgg16\.pt cannot be read as a state dict"):
            SRVGG16(vgg_weights=path).build_layers(9, 1, 3)

    def test_a_file_of_something_else_is_refused(self, tmp_path):
        torch.save(torch.zeros(3), tmp_path / "tensor.pt")
        with pytest.raises(ValueError, match=r"tensor\.pt holds a Tensor, not a state dict"):
            SRVGG16(vgg_weights=tmp_path / "tensor.pt").build_layers(9, 1, 3)

    def test_weights_of_another_net_are_refused(self):
        state = vgg16_state()
        state["features.5.weight"] = torch.zeros(128, 128, 3, 3)
        with pytest.raises(ValueError, match=r"not of VGG16: features\.5\.weight has shape"):
            SRVGG16(vgg_weights=state).build_layers(9, 1, 3)
        with pytest.raises(ValueError, match=r"features\.2\.weight is missing"):
            SRVGG16(vgg_weights={"conv1.weight": torch.zeros(3)}).build_layers(9, 1, 3)


class TestSRResNet:
    def test_depth_and_width_are_parameters(self):
        def size(**parameters):
            layers = SRResNet(**parameters).build_layers(9, 2, 3)
            return sum(parameter.numel() for parameter in layers.parameters())

        # A block has two 3x3 convolutions with their biases.
        per_block = size(n_blocks=3, n_features=8) - size(n_blocks=2, n_features=8)
        assert per_block == 2 * (8 * 8 * 9 + 8)
        assert size(n_blocks=2, n_features=16) > size(n_blocks=2, n_features=8)


def test_an_optimizer_can_be_named(scenes):
    net = small(SRCNN, optimizer="SGD", optimizer__momentum=0.5).fit(inputs_for(SRCNN, scenes))
    assert isinstance(net.optimizer_, torch.optim.SGD)
    assert net.optimizer_.param_groups[0]["momentum"] == 0.5


def test_an_optimizer_that_does_not_exist_is_refused(scenes):
    with pytest.raises(ValueError, match=r"'optimizer' parameter of SRCNN.*'NAdam'.*'NAdamm'"):
        small(SRCNN, optimizer="NAdamm").fit(inputs_for(SRCNN, scenes))


def test_the_loss_is_a_choice(scenes):
    for criterion in (CPSNRLoss, MaskedMSELoss, MSELoss):
        net = small(SRCNN, criterion=criterion, criterion__clearance_weight=0.25)
        net.fit(inputs_for(SRCNN, scenes))
        assert isinstance(net.criterion_, criterion)
        assert net.criterion_.clearance_weight == 0.25
