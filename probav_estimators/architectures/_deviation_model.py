"""Standard deviations of the errors of fused images."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any, ClassVar

import torch
from torch import nn

from ._data_consistency import Posterior, box_mean

__all__ = ["DeviationModel"]

# Side in LR pixels of the squares in which contrast and detail are measured, and span of the
# variables.
_CONTRAST_SIZE = 7
_SPAN = 2.5


class DeviationModel(nn.Module):
    """Standard deviations of errors, from those of the posterior and other predictors of errors.

    The logarithm of a standard deviation is that of the posterior plus a polynomial of second
    degree, whose variables are logarithms: the standard deviation of the prior, the share of it
    that is left, the number of clear frames, the residual of the frames, the PSF variance (not a
    logarithm), the local contrast of the image, and its detail beyond bicubic upscaling.
    """

    n_variables = 7

    #: Values of the buffer for layers that were not calibrated: of a constant, the variables, and
    #: the products of two of them.
    defaults: ClassVar[dict[str, Any]] = {
        "coefficients": [0.0] * (1 + n_variables + n_variables * (n_variables + 1) // 2)
    }

    #: Middle of the variables, so that coefficients are comparable.
    middle = (-2.0, -0.3, 2.0, -2.0, 0.05, -0.5, -1.5)

    coefficients: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in self.defaults.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32))

    def forward(
        self, posterior: Posterior, image: torch.Tensor, aligned: Any, variance: torch.Tensor
    ) -> torch.Tensor:
        """Standard deviations (n, scale ** 2, h, w) in standard deviations of the scene."""
        terms = self.terms(posterior, image, aligned, variance)
        exponent: Any = sum(a * x for a, x in zip(self.coefficients, terms, strict=True))
        return posterior.deviation * exponent.exp()

    def terms(
        self, posterior: Posterior, image: torch.Tensor, aligned: Any, variance: torch.Tensor
    ) -> list[torch.Tensor]:
        """A constant, the variables around their middle, and the products of two of them."""
        variables = self.variables(posterior, image, aligned, variance)
        linear = [
            (x - middle).clamp(-_SPAN, _SPAN)
            for x, middle in zip(variables, self.middle, strict=True)
        ]
        products = [a * b for a, b in combinations_with_replacement(linear, 2)]
        return [torch.ones_like(linear[0]), *linear, *products]

    def variables(
        self, posterior: Posterior, image: torch.Tensor, aligned: Any, variance: torch.Tensor
    ) -> list[torch.Tensor]:
        """Variables of the polynomial, of shapes (n, 1 or scale ** 2, h, w)."""
        mean = box_mean(image.mean(dim=1, keepdim=True), _CONTRAST_SIZE)
        contrast = _local_mean_square(image - mean)
        detail = _local_mean_square(image - aligned.bicubic)
        left = 1 - posterior.measured_share
        return [
            posterior.prior_deviation.log(),
            0.5 * (left + 1e-3).log(),
            torch.log1p(aligned.clear.sum(dim=1, keepdim=True)),
            0.5 * posterior.noise.log(),
            variance[:, None, None, None].expand_as(left),
            0.5 * (contrast + 1e-6).log(),
            0.5 * (detail + 1e-6).log(),
        ]


def _local_mean_square(image):
    return box_mean(image.square().mean(dim=1, keepdim=True), _CONTRAST_SIZE)
