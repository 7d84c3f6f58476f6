"""The study's models in scipy and numpy, with weights in the Keras layout."""

import numpy as np
from scipy.signal import correlate


def relu(x):
    return np.maximum(x, 0)


def capped(greatest):
    return lambda x: np.clip(x, 0, greatest)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def linear(x):
    return x


class Model:
    """Layers by Keras name, applied to images of shape (h, w, channels).

    Parameters
    ----------
    weights : dict of str to array
        "conv1/kernel", "conv1/bias", ...
    """

    def __init__(self, weights):
        self.weights = {name: np.asarray(x, np.float64) for name, x in weights.items()}

    def conv(self, name, x, activation=relu):
        kernel = self.weights[f"{name}/kernel"]
        rows, columns = (size // 2 for size in kernel.shape[:2])
        padded = np.pad(x, ((rows, rows), (columns, columns), (0, 0)))
        channels = [
            correlate(padded, kernel[..., number], mode="valid")[..., 0]
            for number in range(kernel.shape[-1])
        ]
        return activation(np.stack(channels, axis=-1) + self.weights[f"{name}/bias"])

    def transposed(self, name, x, activation=relu, stride=3):
        kernel = self.weights[f"{name}/kernel"]  # (h, w, out, in)
        size, (height, width) = len(kernel), x.shape[:2]
        full = np.zeros((stride * height + size, stride * width + size, kernel.shape[2]))
        for row, column in np.ndindex(height, width):
            window = full[stride * row :, stride * column :][:size, :size]
            window += kernel @ x[row, column]
        before = (size - stride) // 2
        cropped = full[before:, before:][: stride * height, : stride * width]
        return activation(cropped + self.weights[f"{name}/bias"])

    def norm(self, name, x):
        w = {kind: self.weights[f"{name}/{kind}"] for kind in ("gamma", "beta")}
        mean, variance = (self.weights[f"{name}/moving_{kind}"] for kind in ("mean", "variance"))
        return (x - mean) / np.sqrt(variance + 1e-3) * w["gamma"] + w["beta"]

    def dense(self, name, x, activation=relu):
        return activation(x @ self.weights[f"{name}/kernel"] + self.weights[f"{name}/bias"])


def srcnn(model, x, last=sigmoid):
    return model.conv("output", model.conv("mapping", model.conv("conv1", x)), last)


def srcnn_v2(model, x):
    x = model.conv("conv2", model.conv("conv1", x))
    return model.conv("output", model.conv("mapping", x), sigmoid)


def srcnn_v3(model, x):
    x = model.conv("mapping", model.conv("conv1", model.transposed("deconv", x)))
    image = model.conv("output", x, capped(1))
    if "output2/kernel" not in model.weights:
        return image
    scalar = model.dense("output3", x.max(axis=(0, 1)), capped(100))
    outputs = [image, model.conv("output2", x, capped(1)), np.broadcast_to(scalar, image.shape)]
    return np.concatenate(outputs, axis=-1)


def srvgg16(model, x):
    x = model.conv("conv1", x)
    for name in ("block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2"):
        x = model.conv(name, x)
    return model.conv("output", model.conv("mapping", x), sigmoid)


def fsrcnn_features(model, x, activation):
    for name in ("conv1", "conv2", "conv3_0", "conv3_1", "conv3_2", "conv3_3", "conv4"):
        x = model.conv(name, x, activation)
    return x


def fsrcnn(model, x, activation=relu):
    return model.transposed("output", fsrcnn_features(model, x, activation), sigmoid)


def fsrcnn_v2(model, x):
    return fsrcnn(model, x, elu)


def fsrcnn_finetuned(model, x):
    x = model.transposed("deconv", fsrcnn_features(model, x, elu), elu)
    return model.conv("output", model.conv("mapping", model.conv("conv1_", x)), sigmoid)


def bottleneck_srresnet(model, x):
    x = relu(model.norm("bn_conv1", model.conv("conv1", x, linear)))
    for block in "abc":
        start = x
        for part in "abc":
            name = f"2{block}_branch2{part}"
            x = model.norm(f"bn{name}", model.conv(f"res{name}", x, linear))
            x = x if part == "c" else relu(x)
        if block == "a":
            shortcut = model.conv("res2a_branch1", start, linear)
            start = model.norm("bn2a_branch1", shortcut)
        x = relu(x + start)
    return model.conv("output", model.conv("mapping", x), sigmoid)


def _conv(name, n_in, n_out, size):
    return {f"{name}/kernel": (size, size, n_in, n_out), f"{name}/bias": (n_out,)}


def _transposed(name, n_in, n_out, size):
    return {f"{name}/kernel": (size, size, n_out, n_in), f"{name}/bias": (n_out,)}


def _norm(name, n):
    return {f"{name}/{kind}": (n,) for kind in ("gamma", "beta", "moving_mean", "moving_variance")}


def _srcnn(n_in, n_out, kernel=1):
    return (
        _conv("conv1", n_in, 64, 9)
        | _conv("mapping", 64, 32, kernel)
        | _conv("output", 32, n_out, 5)
    )


def _srcnn_ex(n_in, n_out):
    return _srcnn(n_in, n_out, kernel=5)


def _srcnn_v2(n_in, n_out):
    return (
        _conv("conv1", n_in, 64, 9)
        | _conv("conv2", 64, 64, 7)
        | _conv("mapping", 64, 32, 5)
        | _conv("output", 32, n_out, 5)
    )


def _srcnn_v3(n_in, n_out):
    shapes = _transposed("deconv", n_in, 32, 7) | _srcnn(32, 1)
    if n_out == 1:
        return shapes
    return shapes | _conv("output2", 32, 1, 5) | {"output3/kernel": (32, 1), "output3/bias": (1,)}


def _srvgg16(n_in, n_out):
    return (
        _conv("conv1", n_in, 64, 9)
        | _conv("block1_conv1", 64, 64, 3)
        | _conv("block1_conv2", 64, 64, 3)
        | _conv("block2_conv1", 64, 128, 3)
        | _conv("block2_conv2", 128, 128, 3)
        | _conv("mapping", 128, 32, 5)
        | _conv("output", 32, n_out, 5)
    )


def _fsrcnn_features(n_in):
    shapes = _conv("conv1", n_in, 56, 5) | _conv("conv2", 56, 12, 1)
    for number in range(4):
        shapes |= _conv(f"conv3_{number}", 12, 12, 3)
    return shapes | _conv("conv4", 12, 56, 1)


def _fsrcnn(n_in, n_out):
    return _fsrcnn_features(n_in) | _transposed("output", 56, n_out, 5)


def _fsrcnn_finetuned(n_in, n_out):
    return (
        _fsrcnn_features(n_in)
        | _transposed("deconv", 56, 32, 5)
        | _conv("conv1_", 32, 64, 9)
        | _conv("mapping", 64, 32, 5)
        | _conv("output", 32, n_out, 5)
    )


def _bottleneck_srresnet(n_in, n_out):
    shapes = _conv("conv1", n_in, 64, 7) | _norm("bn_conv1", 64)
    n = 64
    for block in "abc":
        widths = {"a": (n, 64, 1), "b": (64, 64, 3), "c": (64, 256, 1)}
        for part, (wide, narrow, size) in widths.items():
            name = f"2{block}_branch2{part}"
            shapes |= _conv(f"res{name}", wide, narrow, size) | _norm(f"bn{name}", narrow)
        if block == "a":
            shapes |= _conv("res2a_branch1", n, 256, 1) | _norm("bn2a_branch1", 256)
        n = 256
    return shapes | _conv("mapping", 256, 32, 5) | _conv("output", 32, n_out, 5)


#: (function of input and output channels that returns weight shapes, model) of each class.
MODELS = {
    "SRCNN": (_srcnn, srcnn),
    "SRCNNEx": (_srcnn_ex, srcnn),
    "SRCNNv2": (_srcnn_v2, srcnn_v2),
    "SRCNNv3": (_srcnn_v3, srcnn_v3),
    "SRVGG16": (_srvgg16, srvgg16),
    "FSRCNN": (_fsrcnn, fsrcnn),
    "FSRCNNv2": (_fsrcnn, fsrcnn_v2),
    "FSRCNNv2 finetuned": (_fsrcnn_finetuned, fsrcnn_finetuned),
    "BottleneckSRResNet": (_bottleneck_srresnet, bottleneck_srresnet),
}


def random_weights(shapes, seed=0):
    """Weights of plausible size."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        fan_in = max(np.prod(shape[:-1]), 1) if name.endswith("kernel") else 100
        weights[name] = (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)
        if name.endswith(("gamma", "variance")):
            weights[name] = 0.5 + rng.random(shape, np.float32)
    return weights
