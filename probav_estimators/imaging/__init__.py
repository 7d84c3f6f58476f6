"""Pixel work on plain arrays: scores, upscaling, registration, radiometry, blocks."""

from ._adjustment import Adjustment, adjust_groups, adjust_pairs, adjust_shifts, robust_mean
from ._blocks import Block, block_of, plan_blocks
from ._copies import Copies, find_copies, merge_copies
from ._distortion import distortion_nodes, estimate_distortion
from ._frame_alignment import Alignment, Placement, align_frames, move_frames, normalize_frames
from ._grey_scales import GreyPanel, Picture, check_grey_scale, scale_greys
from ._group_registration import FrameGroup, GroupRegistration, GroupTie, register_groups
from ._interpolation import (
    BICUBIC_REACH,
    bicubic_clearest_mean,
    clearest_mean,
    move_bicubic,
    pad_window,
    select_clearest,
    upscale_bicubic,
    upscale_spline,
)
from ._mean_level import mean_level, shift_to_level
from ._metrics import (
    MAX_CPSNR,
    bias_corrected_mse,
    challenge_norm,
    challenge_score,
    check_norm,
    compared_images,
    cpsnr,
    error_map,
    finite_cpsnr,
    probav_score,
    shift_moments,
)
from ._pixels import (
    as_finite_pixels,
    as_mask,
    as_pixels,
    as_value_range,
    check_pixels,
    fill_hidden,
    hide_masked,
    is_plain,
    to_uint16,
)
from ._psf_estimation import MIN_FRAMES, PsfEstimate, estimate_psf
from ._response import LEAST_SIGMA, USUAL_SIGMA, cumulative_response
from ._shift_estimation import Registration, register_frames
from ._stretch import grey_limits
from ._window_sums import block_sums, window_sums

__all__ = [
    "BICUBIC_REACH",
    "LEAST_SIGMA",
    "MAX_CPSNR",
    "MIN_FRAMES",
    "USUAL_SIGMA",
    "Adjustment",
    "Alignment",
    "Block",
    "Copies",
    "FrameGroup",
    "GreyPanel",
    "GroupRegistration",
    "GroupTie",
    "Picture",
    "Placement",
    "PsfEstimate",
    "Registration",
    "adjust_groups",
    "adjust_pairs",
    "adjust_shifts",
    "align_frames",
    "as_finite_pixels",
    "as_mask",
    "as_pixels",
    "as_value_range",
    "bias_corrected_mse",
    "bicubic_clearest_mean",
    "block_of",
    "block_sums",
    "challenge_norm",
    "challenge_score",
    "check_grey_scale",
    "check_norm",
    "check_pixels",
    "clearest_mean",
    "compared_images",
    "cpsnr",
    "cumulative_response",
    "distortion_nodes",
    "error_map",
    "estimate_distortion",
    "estimate_psf",
    "fill_hidden",
    "find_copies",
    "finite_cpsnr",
    "grey_limits",
    "hide_masked",
    "is_plain",
    "mean_level",
    "merge_copies",
    "move_bicubic",
    "move_frames",
    "normalize_frames",
    "pad_window",
    "plan_blocks",
    "probav_score",
    "register_frames",
    "register_groups",
    "robust_mean",
    "scale_greys",
    "select_clearest",
    "shift_moments",
    "shift_to_level",
    "to_uint16",
    "upscale_bicubic",
    "upscale_spline",
    "window_sums",
]
