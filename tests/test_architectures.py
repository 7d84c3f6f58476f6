"""Published architectures: layers and parameters."""

import copy
import math
import zipfile

import numpy as np
import pytest
import torch
from _helpers import REGRESSORS, composed, small_scenes
from skorch.callbacks import Callback
from torch import nn

from probav_estimators import (
    FSRCNN,
    SRCNN,
    SRVGG16,
    BottleneckSRResNet,
    CPSNRLoss,
    MaskedMSELoss,
    MSELoss,
    SRCNNEx,
    SRCNNv3,
    SRResNet,
)

PUBLISHED_SIZES = {SRCNN: 97_058, SRCNNEx: 146_210, FSRCNN: 40_974, SRVGG16: 492_706}
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


@pytest.mark.parametrize("architecture", REGRESSORS)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_layers_make_images_of_hr_size(architecture, scale):
    net = small(architecture)
    inputs = torch.zeros(1, 5, *((10, 7) if net.upscales else (10 * scale, 7 * scale)))
    assert net.build_layers(5, 1, scale)(inputs).shape == (1, 1, 10 * scale, 7 * scale)


PUBLISHED_WAY = {"patch_size": 12}
WAYS = [
    {"residual": True, "patch_size": 8, "augment": True, "criterion__border": 1},
    {"compute_dtype": "bfloat16", "predict_clearance": False, "criterion": MaskedMSELoss},
    {"compute_dtype": "float32", "residual": True, "criterion": MSELoss},
]


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    [
        *((kind, PUBLISHED_WAY) for kind in REGRESSORS),
        *((kind, way) for kind in (SRCNN, FSRCNN) for way in WAYS),
    ],
)
def test_every_net_trains_in_every_way(architecture, parameters, scenes):
    inputs = inputs_for(architecture, scenes)
    net = small(architecture, **parameters).fit(inputs)
    images = net.predict(inputs)
    assert images.shape == (len(scenes), *scenes[0].hr.shape)
    assert np.isfinite(images).all()
    assert np.isfinite(net.history[-1, "train_loss"])


@pytest.mark.parametrize("architecture", [kind for kind in REGRESSORS if kind.upscales])
def test_a_net_that_upscales_says_to_remove_the_upscaler(architecture, scenes):
    with pytest.raises(ValueError, match=r"upscales by itself.*remove BicubicUpscaler"):
        small(architecture).fit(composed(scenes, scale=3))


WITH_KERNEL = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class TestWeightInit:
    @pytest.mark.parametrize("architecture", [SRCNN, FSRCNN, SRVGG16])
    def test_glorot_uniform_fills_its_bounds(self, architecture, scenes):
        net = small(architecture, weight_init="glorot_uniform")
        net.learn_layout(inputs_for(architecture, scenes))
        layers = [m for m in net.initialize().module_.modules() if isinstance(m, WITH_KERNEL)]
        assert len(layers) >= 3
        for layer in layers:
            n_kernel = math.prod(layer.kernel_size)
            fans = (layer.in_channels + layer.out_channels) * n_kernel
            greatest = layer.weight.abs().max().item() / math.sqrt(6 / fans)
            # The maximum of n uniform draws is closer to the bound for larger n.
            assert 1 - 12 / layer.weight.numel() < greatest <= 1
            assert abs(layer.weight.mean().item()) < 4 / math.sqrt(fans * layer.weight.numel())
            assert (layer.bias == 0).all()

    @pytest.mark.parametrize("architecture", REGRESSORS)
    def test_default_weights_are_those_of_the_layers(self, architecture, scenes):
        net = small(architecture)
        net.learn_layout(inputs_for(architecture, scenes))
        torch.manual_seed(net.initialize().seed_)
        expected = net.build_layers(3, 2, 3).state_dict().values()
        for ours, theirs in zip(net.module_.state_dict().values(), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0, check_stride=False)

    @pytest.mark.parametrize("architecture", REGRESSORS)
    def test_a_residual_net_begins_with_the_mean_frame(self, architecture, scenes):
        inputs = inputs_for(architecture, scenes)
        net = small(architecture, residual=True, weight_init="glorot_uniform")
        net.learn_layout(inputs)
        images, _ = net.collate([net.initialize().make_dataset(inputs)[0]])
        with torch.no_grad():
            output = net.module_.eval()(**images)
        torch.testing.assert_close(output[:, :1], images["mean"])

    def test_others_are_refused(self, scenes):
        with pytest.raises(ValueError, match="'weight_init' parameter of SRCNN must be"):
            small(SRCNN, weight_init="he").fit(inputs_for(SRCNN, scenes))


def size_of(net, in_channels=18, out_channels=2):
    layers = net.build_layers(in_channels, out_channels, 3)
    return sum(parameter.numel() for parameter in layers.parameters())


def convolution_size(*shape):
    """Number of weights and biases of convolutions, by (in, out, kernel size) of each."""
    return sum(n_out * (n_in * kernel**2 + 1) for n_in, n_out, kernel in shape)


class TestWidthsAndKernels:
    def test_srcnn(self):
        net = SRCNN(depth_multiplier=2, kernel_sizes=[11, 3, 7])
        expected = convolution_size((18, 128, 11), (128, 64, 3), (64, 2, 7))
        assert size_of(net) == expected

    def test_srvgg16(self):
        net = SRVGG16(depth_multiplier=2, kernel_sizes=(7, 3, 1))
        blocks = [(128, 128, 3), (128, 128, 3), (128, 256, 3), (256, 256, 3)]
        assert size_of(net) == convolution_size((18, 128, 7), *blocks, (256, 64, 3), (64, 2, 1))
        with pytest.raises(ValueError, match="vgg_weights needs depth_multiplier=1, got 2"):
            SRVGG16(vgg_weights=vgg16_state(), depth_multiplier=2).build_layers(9, 1, 3)

    def test_fsrcnn(self):
        net = FSRCNN(depth_multiplier=3, extraction_kernel_size=7, n_mapping=2)
        mapping = [(36, 36, 3)] * 2
        expected = [(18, 168, 7), (168, 36, 1), *mapping, (36, 168, 1)]
        # The last term is the transposed convolution: as many weights, and two biases.
        assert size_of(net) == convolution_size(*expected) + 168 * 2 * 81 + 2

    @pytest.mark.parametrize(
        ("kind", "params", "message"),
        [
            (SRCNN, {"kernel_sizes": (9, 2, 5)}, r"kernel_sizes\[1\] must be odd, got 2"),
            (SRCNN, {"kernel_sizes": (9, 5)}, r"SRCNN takes 3 kernel sizes.* has 2"),
            (SRVGG16, {"kernel_sizes": (9, 5, -1)}, r"kernel_sizes\[2\] must be odd, got -1"),
            (SRCNNEx, {"kernel_sizes": (9.0, 5, 5)}, r"kernel_sizes\[0\] must be odd, got 9\.0"),
            (SRCNN, {"kernel_sizes": 9}, "'kernel_sizes' parameter of SRCNN must be"),
            (SRCNN, {"depth_multiplier": 0}, "'depth_multiplier' parameter of SRCNN must be"),
            (FSRCNN, {"extraction_kernel_size": 4}, "extraction_kernel_size must be odd, got 4"),
        ],
    )
    def test_what_is_not_valid_is_named_by_fit(self, kind, params, message, scenes):
        with pytest.raises(ValueError, match=message):
            small(kind, **params).fit(inputs_for(kind, scenes))


def tensorflow_same_transposed(image, kernel, stride):
    """Transposed convolution of one channel with TensorFlow's padding "same", pixel by pixel."""
    size, total = len(kernel), len(kernel) - stride
    full = np.zeros([stride * (length - 1) + size for length in image.shape])
    for row, column in np.ndindex(image.shape):
        window = np.s_[stride * row :, stride * column :]
        full[window][:size, :size] += image[row, column] * kernel
    # Gradient of a convolution with padding "same", whose smaller half comes first.
    before = total // 2
    height, width = (stride * length for length in image.shape)
    return full[before : before + height, before : before + width]


class TestFSRCNN:
    def test_the_net_of_the_studys_code(self):
        assert size_of(FSRCNN(activation="elu", deconv_kernel_size=5), 18) == 34_702

    @pytest.mark.parametrize("kernel_size", [5, 9])
    def test_deconvolution_pads_as_tensorflow_does(self, kernel_size):
        last = FSRCNN(deconv_kernel_size=kernel_size).build_layers(1, 1, 3)[-1]
        image = np.random.default_rng(0).standard_normal((6, 5))
        kernels = last.weight.detach().numpy()[:, 0]
        with torch.no_grad():
            last.bias.zero_()
            stack = torch.zeros(1, len(kernels), 6, 5)
            stack[0, 7] = torch.from_numpy(image)
            found = last(stack)[0, 0].numpy()
        expected = tensorflow_same_transposed(image, kernels[7], 3)
        np.testing.assert_allclose(found, expected, atol=1e-6)

    @pytest.mark.parametrize(("kernel_size", "scale"), [(3, 2), (4, 3), (12, 3)])
    def test_any_deconvolution_gives_the_right_size(self, kernel_size, scale):
        layers = FSRCNN(deconv_kernel_size=kernel_size).build_layers(1, 1, scale)
        assert layers(torch.zeros(1, 1, 6, 5)).shape == (1, 1, 6 * scale, 5 * scale)

    def test_a_deconvolution_that_leaves_gaps_is_refused(self, scenes):
        net = small(FSRCNN, deconv_kernel_size=2)
        with pytest.raises(ValueError, match="deconv_kernel_size=2 leaves gaps"):
            net.fit(inputs_for(FSRCNN, scenes))


def vgg16_state(seed=0):
    """State dict of torchvision's vgg16(), up to the first layer of block 3."""
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
        # Skip the 9x9 layer and the first of block 1, which takes RGB in VGG16.
        for convolution, number in zip(convolutions[2:5], (2, 5, 7), strict=True):
            torch.testing.assert_close(convolution.weight, state[f"features.{number}.weight"])
            torch.testing.assert_close(convolution.bias, state[f"features.{number}.bias"])

    def test_fill_the_layers_whose_shapes_fit(self):
        state = vgg16_state()
        self.assert_filled(SRVGG16(vgg_weights=state).build_layers(18, 2, 3), state)

    def test_missing_file_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.pt does not exist"):
            SRVGG16(vgg_weights=tmp_path / "nowhere.pt").build_layers(9, 1, 3)

    @pytest.mark.parametrize("new", [True, False])
    def test_files_of_both_formats_of_torch_are_read(self, tmp_path, new):
        torch.save(vgg16_state(), tmp_path / "vgg16.pt", _use_new_zipfile_serialization=new)
        net = SRVGG16(vgg_weights=tmp_path / "vgg16.pt")
        self.assert_filled(net.build_layers(9, 1, 3), vgg16_state())

    def test_a_file_that_becomes_larger_than_it_is_takes_no_memory(self, tmp_path):
        class Bytes:
            def __reduce__(self):
                return bytearray, (10**8,)

        path = tmp_path / "vgg16.pt"
        torch.save({"features.2.bias": Bytes()}, path)
        self.refuses(path)
        torch.save({"features.2.bias": torch.zeros(10**7)}, path)
        with zipfile.ZipFile(path) as plain:
            parts = {part.filename: plain.read(part) for part in plain.infolist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in parts.items():
                packed.writestr(name, content)
        self.refuses(path)

    def refuses(self, path):
        resource = pytest.importorskip("resource")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ValueError, match=f"{path} cannot be read as a state dict.*vgg_weights"):
            SRVGG16(vgg_weights=path).build_layers(9, 1, 3)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 10_000  # KiB

    def test_weights_of_another_net_are_refused(self):
        state = vgg16_state()
        state["features.5.weight"] = torch.zeros(128, 128, 3, 3)
        with pytest.raises(ValueError, match=r"not of VGG16: features\.5\.weight has shape"):
            SRVGG16(vgg_weights=state).build_layers(9, 1, 3)
        with pytest.raises(ValueError, match=r"features\.2\.weight is missing"):
            SRVGG16(vgg_weights={"conv1.weight": torch.zeros(3)}).build_layers(9, 1, 3)


def outputs_of(net, inputs, *, training=False):
    """Output of the module for the first sample."""
    images, _ = net.collate([net.make_dataset(inputs)[0]])
    return net.module_.train(training)(**images)


class TestSRCNNv3:
    def net(self, scenes, **params):
        net = small(SRCNNv3, **params)
        net.learn_layout(inputs_for(SRCNNv3, scenes))
        return net.initialize()

    @pytest.mark.parametrize("residual", [False, True])
    def test_outputs_are_capped(self, residual, scenes):
        inputs = inputs_for(SRCNNv3, scenes)
        net = self.net(scenes, residual=residual)
        head = net.module_.head
        with torch.no_grad():
            head.clearance.weight.mul_(100)
            head.scalar.bias.fill_(200)
            image, clearance, scalar = outputs_of(net, inputs)[0]
            # Clearance reaches both bounds exactly.
            assert (clearance.min(), clearance.max()) == (0, 1)
            assert (scalar == 100).all()
            head.scalar.bias.fill_(-200)
            assert (outputs_of(net, inputs)[0, 2] == 0).all()
            head.image.bias.fill_(5)
            brighter = outputs_of(net, inputs)[0, 0]
        # The residual image is added to the mean frame without an activation.
        expected = image + 5 * net.std_ if residual else torch.ones_like(image)
        torch.testing.assert_close(brighter, expected)

    def test_third_channel_is_one_number_of_each_sample(self, scenes):
        inputs = inputs_for(SRCNNv3, scenes)
        net = self.net(scenes)
        with torch.no_grad():
            net.module_.head.scalar.bias.fill_(1)
        images, _ = net.collate([net.make_dataset(inputs)[number] for number in (0, 1)])
        scalars = net.module_(**images)[:, 2].flatten(1)
        assert (scalars == scalars[:, :1]).all()
        assert scalars[0, 0] != scalars[1, 0]

    def test_clearance_of_exactly_0_and_1_has_a_loss_and_a_gradient(self, scenes):
        inputs = inputs_for(SRCNNv3, scenes)
        net = self.net(scenes)
        with torch.no_grad():
            net.module_.head.clearance.weight.mul_(100)
        output = outputs_of(net, inputs, training=True)
        assert {0.0, 1.0} <= set(output[0, 1].flatten().tolist())
        truth = torch.from_numpy(np.stack([scenes[0].hr, scenes[0].sm]).astype(np.float32))[None]
        value = CPSNRLoss()(output, truth)
        value.backward()
        assert torch.isfinite(value)
        gradients = [p.grad for p in net.module_.parameters() if p.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


class KeptStates(Callback):
    """Copies all weights and buffers after every epoch."""

    def on_train_begin(self, net, **kwargs):
        self.states_ = []

    def on_epoch_end(self, net, **kwargs):
        self.states_.append(copy.deepcopy(net.module_.state_dict()))


@pytest.fixture(scope="module")
def inputs():
    return inputs_for(BottleneckSRResNet, small_scenes(4, shape=(8, 8)))


class TestBottleneckSRResNet:
    def test_a_training_normalises_by_its_batch_and_a_prediction_does_not(self, inputs):
        net = small(BottleneckSRResNet).fit(inputs)
        images, _ = net.collate([net.make_dataset(inputs)[number] for number in (0, 1)])
        first = {name: value[:1] for name, value in images.items()}
        with torch.no_grad():
            for training in (False, True):
                module = net.module_.train(training)
                difference = (module(**images)[:1] - module(**first)).abs().max()
                assert (difference > 1e-4) if training else (difference < 1e-6)
        np.testing.assert_allclose(net.predict(inputs)[:1], net.predict(inputs[:1]), atol=1e-6)

    def test_moving_statistics_keep_99_percent(self, inputs):
        net = small(BottleneckSRResNet, compute_dtype="float32", train_split=None, lr=1e-9)
        net.learn_layout(inputs)
        convolution = net.initialize().module_.features[0]
        images, _ = net.collate([net.make_dataset(inputs)[number] for number in range(4)])
        with torch.no_grad():
            batch = convolution(images["inputs"]).double().numpy()
        net.partial_fit(inputs)
        mean, variance = batch.mean(axis=(0, 2, 3)), batch.var(axis=(0, 2, 3), ddof=1)
        norm = net.module_.features[1]
        np.testing.assert_allclose(norm.running_mean, 0.01 * mean, atol=1e-5)
        np.testing.assert_allclose(norm.running_var, 0.99 + 0.01 * variance, atol=1e-5)

    def test_moving_statistics_of_the_best_epoch_come_back(self, inputs):
        kept = KeptStates()
        # The learning rate is too high on purpose: later epochs are worse.
        net = small(BottleneckSRResNet, max_epochs=5, batch_size=2, lr=0.3, train_split=0.5)
        net.set_params(callbacks=[("kept", kept)], callbacks__divergence=None).fit(inputs)
        scores = net.history[:, "valid_score"]
        best = int(np.argmin(scores))
        assert best < len(scores) - 1
        states = dict(net.callbacks_)["kept"].states_
        assert not torch.equal(*(states[at]["features.1.running_mean"] for at in (best, -1)))
        for name, value in net.module_.state_dict().items():
            assert torch.equal(value, states[best][name]), name

    def test_he_normal_is_drawn_where_the_study_states_it(self, inputs):
        net = small(BottleneckSRResNet, weight_init="glorot_uniform")
        net.learn_layout(inputs)
        *stated, mapping, output = (
            m for m in net.initialize().module_.modules() if isinstance(m, nn.Conv2d)
        )
        assert len(stated) == 11
        for layer in stated:
            std = math.sqrt(2 / (layer.in_channels * math.prod(layer.kernel_size)))
            # Truncated at two standard deviations, scaled up to compensate the truncation.
            greatest = layer.weight.abs().max().item() / (2 * std / 0.8796)
            assert 0.97 < greatest <= 1.0001
            n_weights = layer.weight.numel()
            assert layer.weight.std().item() == pytest.approx(std, rel=4 / math.sqrt(n_weights))
            assert (layer.bias == 0).all()
        for layer in (mapping, output):
            fans = (layer.in_channels + layer.out_channels) * math.prod(layer.kernel_size)
            greatest = layer.weight.abs().max().item() / math.sqrt(6 / fans)
            assert 0.98 < greatest <= 1


def test_an_optimizer_that_does_not_exist_is_refused(scenes):
    with pytest.raises(ValueError, match=r"'optimizer' parameter of SRCNN.*'NAdam'.*'NAdamm'"):
        small(SRCNN, optimizer="NAdamm").fit(inputs_for(SRCNN, scenes))
