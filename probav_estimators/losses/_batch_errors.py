"""Errors of batches at the shifts of the best cPSNR, mean shifts, and likelihoods."""

from __future__ import annotations

import math

import torch

from ..imaging import bias_corrected_mse, shift_moments

__all__ = [
    "align_best",
    "batch_cpsnr",
    "best_shifts",
    "laplacian_loss",
    "mean_shift",
    "uncertainty_loss",
]

# Least cMSE: 100 dB, far below the noise of 16-bit values.
_MIN_CMSE = 1e-10

# Largest squared error in units of the variance.
_MAX_MISFIT = 50


def batch_cpsnr(sr: torch.Tensor, hr: torch.Tensor, clear: torch.Tensor) -> torch.Tensor:
    """Differentiable cPSNR of each image of a batch, in place.

    Parameters
    ----------
    sr, hr : float tensors of shape (n, H, W)
        Pixels whose peak is 1.
    clear : float tensor of shape (n, H, W)
        1.0 where the truth is clear, else 0.0; no image may be 0.0 everywhere.

    Returns
    -------
    tensor of shape (n,)
        In dB, at most 100; negative if the standard deviation of the errors exceeds 1.

    See Also
    --------
    probav_estimators.cpsnr : The same measure as a function of arrays.
    """
    count = clear.sum(dim=(1, 2))
    error = hr - sr
    # cMSE does not depend on a constant; without it float32 is more accurate.
    level = (clear * error.detach()).sum(dim=(1, 2), keepdim=True) / count[:, None, None]
    error = clear * (error - level)
    cmse = bias_corrected_mse(count, error.sum(dim=(1, 2)), error.square().sum(dim=(1, 2)))
    return -10 * cmse.clamp_min(_MIN_CMSE).log10()


def align_best(
    sr: torch.Tensor,
    hr: torch.Tensor,
    clear: torch.Tensor,
    border: int,
    in_place: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Crop a batch to the shift at which each image has its best cPSNR.

    Parameters
    ----------
    sr, hr : float tensors of shape (n, H, W)
        Both are differentiable.
    clear : float tensor of shape (n, H, W)
        1.0 where the truth is clear, else 0.0.
    border : int
        Largest shift in HR pixels.
    in_place : bool tensor of shape (n,), default=None
        Images that are cropped without a shift, as their truths are in place. None: none.

    Returns
    -------
    tuple of tensors of shape (n, H - 2 * border, W - 2 * border)
        `sr` and, from the best window, `hr` and `clear`.

    Raises
    ------
    ValueError
        If `border` leaves nothing of the images.
    """
    rows, columns = best_shifts(sr.detach(), hr, clear, border)
    if in_place is not None:
        known = in_place.tolist()
        rows, columns = (
            [border if fixed else first for fixed, first in zip(known, found, strict=True)]
            for found in (rows, columns)
        )
    return _windows(sr, hr, clear, border, rows, columns)


def _windows(sr, hr, clear, border, rows, columns):
    """Images without their border, and windows of their truths from given rows and columns."""
    height, width = (length - 2 * border for length in sr.shape[1:])

    def windows(stack):
        return torch.stack(
            [
                image[u : u + height, v : v + width]
                for image, u, v in zip(stack, rows, columns, strict=True)
            ]
        )

    return sr[:, border : border + height, border : border + width], windows(hr), windows(clear)


def best_shifts(
    sr: torch.Tensor, hr: torch.Tensor, clear: torch.Tensor, border: int
) -> tuple[list[int], list[int]]:
    """Find the first row and column of the best window of the truth, for each image.

    Parameters
    ----------
    sr, hr, clear : float tensors of shape (n, H, W)
        As for :func:`align_best`.
    border : int
        Largest shift in HR pixels.

    Returns
    -------
    rows : list of int
        From 0 to ``2 * border``; 0 where no window has a clear pixel.
    columns : list of int
        The same.

    Raises
    ------
    ValueError
        If `border` leaves nothing of the images.
    """
    if min(sr.shape[1:]) <= 2 * border:
        height, width = sr.shape[1:]
        raise ValueError(
            f"border={border} leaves nothing of images of {height} x {width} pixels: use larger "
            "patches, or a smaller border"
        )
    find_moments = _moments_on_cpu if sr.device.type == "cpu" else _moments_on_device
    count, total, total_of_squares = find_moments(sr, hr, clear, border)
    cmse = bias_corrected_mse(count, total, total_of_squares)
    # 0 / 0 where no pixel is clear: such a window is never the best.
    cmse = torch.where(count > 0, cmse, torch.inf).reshape(len(sr), -1)
    best = cmse.argmin(dim=1)
    n_shifts = 2 * border + 1
    return (best // n_shifts).tolist(), (best % n_shifts).tolist()


def _moments_on_cpu(sr, hr, clear, border):
    moments = [
        shift_moments(*images, border)
        for images in zip(sr.float().numpy(), hr.float().numpy(), clear.bool().numpy(), strict=True)
    ]
    return [torch.stack([torch.from_numpy(image[kind]) for image in moments]) for kind in range(3)]


def _moments_on_device(sr, hr, clear, border):
    n_shifts = 2 * border + 1
    height, width = (length - 2 * border for length in sr.shape[1:])
    centre = sr[:, border : border + height, border : border + width]
    level = (hr - sr).mean(dim=(1, 2), keepdim=True)
    moments = []
    for u in range(n_shifts):
        for v in range(n_shifts):
            weight = clear[:, u : u + height, v : v + width]
            error = weight * (hr[:, u : u + height, v : v + width] - centre - level)
            moments.append([x.sum(dim=(1, 2)) for x in (weight, error, error.square())])
    return [torch.stack(kind, dim=1) for kind in zip(*moments, strict=True)]


def mean_shift(
    sr: torch.Tensor, hr: torch.Tensor, clear: torch.Tensor, border: int
) -> torch.Tensor:
    """Differentiable mean shift of the images of a batch against their truths.

    Whole pixels are those of the best cPSNR. The rest is the least-squares solution of the
    first-order model ``sr = hr - shift * slope`` [1]_ with one shift for the batch, in which each
    truth is divided by its contrast.

    Parameters
    ----------
    sr, hr, clear : float tensors of shape (n, H, W)
        As for :func:`align_best`.
    border : int
        Largest shift in HR pixels.

    Returns
    -------
    tensor of shape (2,)
        Down and right in HR pixels; 0 if no truth has a clear pixel or contrast.

    Raises
    ------
    ValueError
        If `border` leaves nothing of the images.

    References
    ----------
    .. [1] B. D. Lucas, T. Kanade, "An iterative image registration technique with an application to
       stereo vision", International Joint Conference on Artificial Intelligence, 1981.
    """
    rows, columns = best_shifts(sr.detach(), hr, clear, border)
    whole = border - torch.tensor([rows, columns], dtype=sr.dtype, device=sr.device).T
    sr, hr, clear = _windows(sr, hr, clear, border, rows, columns)
    count = clear.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    level, error = ((clear * x).sum(dim=(1, 2), keepdim=True) / count for x in (hr, sr - hr))
    variance = (clear * (hr - level).square()).sum(dim=(1, 2), keepdim=True) / count
    weight = clear / (count * (variance + _MIN_CMSE))
    slopes = torch.stack(torch.gradient(hr, dim=(1, 2)), dim=1)
    products = torch.einsum("nihw,njhw,nhw->nij", slopes, slopes, weight)
    fit = torch.einsum("nihw,nhw->ni", slopes, weight * (sr - hr - error))
    total = products.sum(dim=0) + 1e-6 * torch.eye(2, dtype=sr.dtype, device=sr.device)
    moments = torch.einsum("nij,nj->ni", products, whole) - fit
    return torch.linalg.solve(total, moments.sum(dim=0))


def uncertainty_loss(prediction: torch.Tensor, truth: torch.Tensor, border: int) -> torch.Tensor:
    """Negative mean Gaussian log-likelihood of the predicted standard deviations.

    Errors are those of the challenge score: at the best shift, without their mean over the clear
    pixels of an image. The loss has no gradient with respect to the images.

    Parameters
    ----------
    prediction : float tensor of shape (n, 2, H, W)
        Images and standard deviations, greater than 0, in pixel values.
    truth : float tensor of shape (n, 2, H, W)
        HR images and status maps (1.0 = clear).
    border : int
        Largest shift in HR pixels.

    Returns
    -------
    scalar tensor
        Mean of ``log(std) + error ** 2 / (2 * std ** 2)`` over the clear pixels of the
        batch, without the constant of the normal distribution; 0 if there are none.

    Raises
    ------
    ValueError
        If `border` leaves nothing of the images.

    Notes
    -----
    Squared errors are clipped at 50 times the variance: larger ones are clouds that the status map
    misses, or change.

    References
    ----------
    .. [1] D. A. Nix, A. S. Weigend, "Estimating the mean and variance of the target probability
       distribution", IEEE International Conference on Neural Networks, 1994.
    """
    error, std, clear = _aligned_errors(prediction, truth, border)
    misfit = (error / std).square().clamp(max=_MAX_MISFIT)
    return (clear * (std.log() + 0.5 * misfit)).sum() / clear.sum().clamp_min(1)


def laplacian_loss(prediction: torch.Tensor, truth: torch.Tensor, border: int) -> torch.Tensor:
    """Negative mean Laplacian log-likelihood of the predicted standard deviations.

    Errors are those of :func:`uncertainty_loss`.

    Parameters
    ----------
    prediction : float tensor of shape (n, 2, H, W)
        Images and standard deviations, greater than 0, in pixel values.
    truth : float tensor of shape (n, 2, H, W)
        HR images and status maps (1.0 = clear).
    border : int
        Largest shift in HR pixels.

    Returns
    -------
    scalar tensor
        Mean of ``log(std) + sqrt(2) * abs(error) / std`` over the clear pixels of the
        batch, without the constant of the Laplace distribution; 0 if there are none.

    Raises
    ------
    ValueError
        If `border` leaves nothing of the images.

    References
    ----------
    .. [1] D. Valsesia, E. Magli, "Permutation invariance and uncertainty in multitemporal image
       super-resolution", IEEE Transactions on Geoscience and Remote Sensing 60, 2022.
    """
    error, std, clear = _aligned_errors(prediction, truth, border)
    misfit = math.sqrt(2) * error.abs() / std
    return (clear * (std.log() + misfit)).sum() / clear.sum().clamp_min(1)


def _aligned_errors(prediction, truth, border):
    """Errors at the best shift without their mean, standard deviations, and clear pixels."""
    sr, hr, clear = align_best(prediction[:, 0].detach(), truth[:, 0], truth[:, 1], border)
    height, width = sr.shape[1:]
    std = prediction[:, 1, border : border + height, border : border + width]
    count = clear.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    error = hr - sr
    return error - (clear * error).sum(dim=(1, 2), keepdim=True) / count, std, clear
