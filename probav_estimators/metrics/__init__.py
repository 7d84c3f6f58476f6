"""Quality metrics of arrays: against the truth, the frames, or another image."""

from ..imaging import cpsnr, probav_score
from ._consistency import consistency, estimate_noise
from ._correctness import Correctness, correctness, correctness_maps
from ._degradation import see_frame
from ._deviations import coverage, error_retention, sharpness
from ._placement import align_image, image_shift, move_image, spatial_shift
from ._spectra import (
    HALVES_THRESHOLD,
    TRUTH_THRESHOLD,
    effective_mtf,
    fourier_ring_correlation,
    resolution,
    transfer_function,
)
from ._structure import cssim

__all__ = [
    "HALVES_THRESHOLD",
    "TRUTH_THRESHOLD",
    "Correctness",
    "align_image",
    "consistency",
    "correctness",
    "correctness_maps",
    "coverage",
    "cpsnr",
    "cssim",
    "effective_mtf",
    "error_retention",
    "estimate_noise",
    "fourier_ring_correlation",
    "image_shift",
    "move_image",
    "probav_score",
    "resolution",
    "see_frame",
    "sharpness",
    "spatial_shift",
    "transfer_function",
]
