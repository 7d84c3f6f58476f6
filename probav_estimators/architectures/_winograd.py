"""Convolutions of 3 x 3 pixels by Winograd's minimal filtering, for predictions on x86 CPUs.

4 x 4 pixels of the output are computed from 6 x 6 of the input with 36 multiplications for each
pair of channels, instead of 144.

References
----------
A. Lavin, S. Gray: Fast algorithms for convolutional neural networks. CVPR 2016.
B. Barabasz et al.: Error analysis and improving the accuracy of Winograd convolution for deep
neural networks. ACM Transactions on Mathematical Software 46, 2020.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from torch import nn

from ..compiling import njit
from ..cpu_inference import can_compute, divide_work

# Interpolation points besides 0 and infinity: +-p and +-q. These are exact in binary, and have half
# the rounding error of the usual 1 and 2.
_P, _Q = np.float32(0.75), np.float32(1.5)
_P2, _Q2 = _P**2, _Q**2
_P3, _Q3 = _P**3, _Q**3
_PRODUCT, _SUM = _P2 * _Q2, _P2 + _Q2

# Transform of the filters (6, 3), and its product for both axes (36, 9).
_POINTS = np.array([0, _P, -_P, _Q, -_Q], np.float64)
_FILTER_ROWS = np.vander(_POINTS, 3, increasing=True) / [
    [np.prod(point - np.delete(_POINTS, number))] for number, point in enumerate(_POINTS)
]
_FILTER_TRANSFORM = np.kron(*2 * [np.vstack([_FILTER_ROWS, [0, 0, 1]])]).astype(np.float32)

# Tiles whose products fit in the cache together.
_N_TILES = 18

# Rows of a block of the matrix product, whose sums stay in registers: a divisor of that number. The
# padded number of filters is a multiple of the columns of a block, 32 or 16.
_BLOCK_ROWS = 6
_FILTER_MULTIPLE = 32

_compiled = njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")


class Conv3x3(nn.Conv2d):
    """Convolution of 3 x 3 pixels with zero padding, and ReLU or a skip connection after it.

    Without gradients, in float32 and on x86 CPUs with AVX2 by Winograd's algorithm, whose rounding
    error is a few times that of `torch.nn.Conv2d`, which computes the rest.

    Parameters
    ----------
    in_channels, out_channels : int
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(
        self, inputs: torch.Tensor, *, relu: bool = False, skip: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Convolve images.

        Parameters
        ----------
        inputs : float tensor of shape (n, in_channels, h, w)
        relu : bool, default=False
            Whether negative values become 0.
        skip : float tensor of shape (n, out_channels, h, w), default=None
            Added to the result.

        Returns
        -------
        float tensor of shape (n, out_channels, h, w)
        """
        if self._is_fast(inputs):
            return _convolve(inputs, self.weight, self.bias, relu, skip)
        outputs = super().forward(inputs)
        outputs = torch.relu(outputs) if relu else outputs
        return outputs if skip is None else skip + outputs

    def _is_fast(self, inputs):
        return (
            can_compute(inputs)
            and self.weight.dtype == torch.float32
            and torch.backends.cpu.get_cpu_capability() in {"AVX2", "AVX512"}
        )


def _convolve(inputs, weight, bias, relu, skip):
    """Convolve images, tiles being divided among the threads of torch."""
    inputs = inputs.permute(0, 2, 3, 1).contiguous()
    n, height, width, _ = inputs.shape
    outputs = inputs.new_empty((n, height, width, len(weight)))
    adds = skip is not None
    skip = skip.permute(0, 2, 3, 1).contiguous() if adds else outputs
    inputs, weight, bias, skip, out = (
        x.detach().numpy() for x in (inputs, weight, bias, skip, outputs)
    )
    filters, least = _transform_filters(weight), np.float32(0 if relu else -np.inf)
    work = partial(_convolve_tiles, inputs, filters, bias, skip, adds, out, least)
    divide_work(work, n * -(-height // 4) * -(-width // 4), _N_TILES)
    return outputs.permute(0, 3, 1, 2)


def _transform_filters(weight):
    """Transform filters (o, i, 3, 3) to (36, i, padded o)."""
    n_filters, n_channels = weight.shape[:2]
    filters = np.zeros((36, n_channels, n_filters + -n_filters % _FILTER_MULTIPLE), np.float32)
    pixels = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(9, n_channels, n_filters)
    _add_products(_FILTER_TRANSFORM, pixels, filters)
    return filters


@_compiled
def _add_products(matrix, pixels, out):
    # Not by a library, whose threads would wait for the next product on the cores of ours.
    for row in range(len(out)):
        for column in range(len(pixels)):
            for i in range(pixels.shape[1]):
                for k in range(pixels.shape[2]):
                    out[row, i, k] += matrix[row, column] * pixels[column, i, k]


@_compiled
def _convolve_tiles(inputs, filters, bias, skip, adds, outputs, least, start, stop):
    """Compute tiles `start` to `stop` of the output, counted along rows, then images."""
    _, height, width, n_channels = inputs.shape
    n_filters = outputs.shape[3]
    n_rows, n_columns = (height + 3) // 4, (width + 3) // 4
    padded = np.zeros((6, 6, n_channels), np.float32)
    once = np.empty((6, 6, n_channels), np.float32)
    tiles = np.zeros((_N_TILES, 6, 6, n_channels), np.float32)
    products = np.empty((_N_TILES, 6, 6, filters.shape[2]), np.float32)
    once_back = np.empty((4, 6, n_filters), np.float32)
    result = np.empty((4, 4, n_filters), np.float32)
    for first in range(start, stop, _N_TILES):
        last = min(first + _N_TILES, stop)
        for number in range(first, last):
            image, place = divmod(number, n_rows * n_columns)
            top, left = place // n_columns * 4 - 1, place % n_columns * 4 - 1
            if top < 0 or left < 0 or top + 6 > height or left + 6 > width:
                _pad_tile(inputs[image], top, left, padded)
                _transform(padded, 0, 0, once)
            else:
                _transform(inputs[image], top, left, once)
            _transform(once, 0, 0, tiles[number - first])
        _multiply(
            tiles.reshape((_N_TILES, 36, n_channels)),
            filters,
            products.reshape((_N_TILES, 36, filters.shape[2])),
        )
        for number in range(first, last):
            image, place = divmod(number, n_rows * n_columns)
            top, left = place // n_columns * 4, place % n_columns * 4
            _transform_back(products[number - first], once_back)
            _transform_back(once_back, result)
            for i in range(min(4, height - top)):
                for j in range(min(4, width - left)):
                    for k in range(n_filters):
                        value = max(result[i, j, k] + bias[k], least)
                        if adds:
                            value += skip[image, top + i, left + j, k]
                        outputs[image, top + i, left + j, k] = value


@_compiled
def _pad_tile(image, top, left, tile):
    """Copy a tile of an image, with zeros outside the image."""
    height, width, n_channels = image.shape
    for i in range(6):
        for j in range(6):
            if 0 <= top + i < height and 0 <= left + j < width:
                for k in range(n_channels):
                    tile[i, j, k] = image[top + i, left + j, k]
            else:
                for k in range(n_channels):
                    tile[i, j, k] = 0


@_compiled
def _transform(image, top, left, out):
    """Transform the rows of a tile of an image, and swap rows and columns."""
    for i in range(6):
        for k in range(out.shape[2]):
            a = image[top + i, left, k]
            b = image[top + i, left + 1, k]
            c = image[top + i, left + 2, k]
            d = image[top + i, left + 3, k]
            e = image[top + i, left + 4, k]
            f = image[top + i, left + 5, k]
            even, odd = e - _Q2 * c, _P * (d - _Q2 * b)
            out[0, i, k] = _PRODUCT * a - _SUM * c + e
            out[1, i, k] = even + odd
            out[2, i, k] = even - odd
            even, odd = e - _P2 * c, _Q * (d - _P2 * b)
            out[3, i, k] = even + odd
            out[4, i, k] = even - odd
            out[5, i, k] = _PRODUCT * b - _SUM * d + f


@_compiled
def _transform_back(tile, out):
    """Transform the rows of a product back, and swap rows and columns."""
    for i in range(len(tile)):
        for k in range(out.shape[2]):
            even, odd = tile[i, 1, k] + tile[i, 2, k], tile[i, 1, k] - tile[i, 2, k]
            wide_even, wide_odd = tile[i, 3, k] + tile[i, 4, k], tile[i, 3, k] - tile[i, 4, k]
            out[0, i, k] = tile[i, 0, k] + even + wide_even
            out[1, i, k] = _P * odd + _Q * wide_odd
            out[2, i, k] = _P2 * even + _Q2 * wide_even
            out[3, i, k] = _P3 * odd + _Q3 * wide_odd + tile[i, 5, k]


def _multiply(tiles, filters, out):
    """Multiply tiles (t, 36, i) by filters (36, i, o)."""
    np.matmul(tiles.swapaxes(0, 1), filters, out=out.swapaxes(0, 1))


@overload(_multiply)
def _compile_multiply(tiles, filters, out):
    return lambda tiles, filters, out: _multiply_blocks(tiles, filters, out)


@intrinsic
def _multiply_blocks(typing_context, tiles, filters, out):
    """Multiply with the sums of a block in vector registers, which Numba's loops cannot express."""
    return types.void(tiles, filters, out), _write_multiply


def _write_multiply(context, builder, signature, arguments):
    kinds, int64 = signature.args, ir.IntType(64)
    tiles, filters, out = (
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(kinds, arguments, strict=True)
    )
    n_columns = 32 if "+avx512f" in context.codegen().magic_tuple()[2] else 16
    vector = ir.VectorType(ir.FloatType(), n_columns)
    nothing = ir.Constant(vector, ir.Undefined)
    first_of_all = ir.Constant(ir.VectorType(ir.IntType(32), n_columns), [0] * n_columns)

    def item(number, array, *index):
        return cgutils.get_item_pointer(context, builder, kinds[number], array, index)

    def columns(number, array, *index):
        return builder.bitcast(item(number, array, *index), vector.as_pointer())

    def loop(stop, step=1):
        return cgutils.for_range_slice(builder, int64(0), stop, int64(step), intp=int64)

    n_tiles, n_products, n_channels = cgutils.unpack_tuple(builder, tiles.shape, 3)
    n_filters = builder.extract_value(filters.shape, 2)
    sums = [cgutils.alloca_once(builder, vector) for _ in range(_BLOCK_ROWS)]
    with (
        loop(n_products) as (product, _),
        loop(n_filters, n_columns) as (column, _),
        loop(n_tiles, _BLOCK_ROWS) as (top, _),
    ):
        rows = [builder.add(top, int64(number)) for number in range(_BLOCK_ROWS)]
        for total in sums:
            builder.store(ir.Constant(vector, None), total)
        with loop(n_channels) as (channel, _):
            right = builder.load(columns(1, filters, product, channel, column), align=4)
            for row, total in zip(rows, sums, strict=True):
                left = builder.load(item(0, tiles, row, product, channel))
                left = builder.insert_element(nothing, left, ir.IntType(32)(0))
                left = builder.shuffle_vector(left, nothing, first_of_all)
                term = builder.fmul(left, right, flags=["contract"])
                term = builder.fadd(builder.load(total), term, flags=["contract"])
                builder.store(term, total)
        for row, total in zip(rows, sums, strict=True):
            builder.store(builder.load(total), columns(2, out, row, product, column), align=4)
    return context.get_dummy_value()
