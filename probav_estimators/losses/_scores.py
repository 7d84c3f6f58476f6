"""Base of the training losses, and those that compare an image with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import torch
from sklearn.utils._param_validation import Interval, validate_parameter_constraints
from torch import nn
from torch.nn.functional import binary_cross_entropy

from ..imaging import challenge_score
from ._batch_errors import align_best, batch_cpsnr

if TYPE_CHECKING:
    from ..scenes import Scene

__all__ = ["CPSNRLoss", "MSELoss", "MaskedMSELoss", "SceneLoss", "check_parameters"]


class SceneLoss(nn.Module):
    """Base of losses of the image and, if the net predicts one, of the clearance map.

    A subclass that compares with HR images overrides :meth:`image_loss`, another one `needs_truth`,
    `left_out`, :meth:`prepare` and :meth:`compare`.

    Parameters
    ----------
    clearance_weight : float, default=0.5
        Weight of the binary cross-entropy of the clearance channel, if there is one; at least 0.

    Raises
    ------
    ValueError
        If the weight is negative.

    Examples
    --------
    >>> from probav_estimators import SceneLoss
    >>> class MeanAbsoluteError(SceneLoss):
    ...     def image_loss(self, sr, hr, clear):
    ...         return (clear * (sr - hr).abs()).sum() / clear.sum().clamp_min(1)
    """

    #: Whether it compares with HR images; otherwise scenes need none.
    needs_truth = True

    #: Fraction of the frames of each sample that it compares with and the net does not fuse.
    left_out = 0.0

    def __init__(self, clearance_weight: float = 0.5) -> None:
        super().__init__()
        self.clearance_weight = clearance_weight
        check_parameters(self, clearance_weight=[Interval(Real, 0, None, closed="left")])

    def prepare(self, scenes: Sequence[Scene]) -> None:
        """Learn from all scenes of `fit` before the training."""

    def compare(
        self,
        prediction: torch.Tensor,
        target: dict[str, torch.Tensor],
        sample: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        """Compute the loss of a batch, in a training.

        Parameters
        ----------
        prediction : float tensor of shape (n, 1 or 2, H, W)
            Image in [0, 1] and, in the second channel, the probability that a pixel is clear.
        target : dict of tensors
            If the loss `needs_truth`: "truth" (n, 2, H, W), HR image and status map, and "in_place"
            (n,), whether frames were registered to the truth.
        sample : dict of tensors
            Inputs of the net and, if the loss has frames `left_out`, their positions.

        Returns
        -------
        scalar tensor
        """
        return self(prediction, target["truth"])

    def forward(
        self, prediction: torch.Tensor, truth: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """Compute the loss of a batch with HR images.

        Parameters
        ----------
        prediction : float tensor of shape (n, 1 or 2, H, W)
            Image in [0, 1] and, in the second channel, the probability that a pixel is clear.
        truth : float tensor of shape (n, 2, H, W)
            HR image in [0, 1] and status map (1.0 = clear).
        **options
            Passed to :meth:`image_loss`.

        Returns
        -------
        scalar tensor
        """
        clear = truth[:, 1]
        loss = self.image_loss(prediction[:, 0], truth[:, 0], clear, **options)
        if prediction.shape[1] > 1:
            loss = loss + self.clearance_weight * binary_cross_entropy(prediction[:, 1], clear)
        return loss

    def image_loss(self, sr: torch.Tensor, hr: torch.Tensor, clear: torch.Tensor) -> torch.Tensor:
        """Compute the loss of images.

        Parameters
        ----------
        sr, hr, clear : float tensors of shape (n, H, W)
            Image, truth, and 1.0 where the truth is clear.

        Returns
        -------
        scalar tensor
        """
        raise NotImplementedError(f"{type(self).__name__} must override image_loss or compare")


class CPSNRLoss(SceneLoss):
    """The challenge score as a loss: norm / cPSNR + clearance_weight * BCE.

    Parameters
    ----------
    norm : float, default=46.5
        Numerator in dB, close to the mean N of the data set; greater than 0.
    clearance_weight : float, default=0.5
        Weight of the binary cross-entropy of the clearance channel, if there is one; at least 0.
    border : int, default=0
        0: the image is compared in place, as in the published loss. Greater: the image, cropped by
        `border` pixels on every side, is compared with all windows of its size in the truth, and
        the loss is that of the best window; in a training of FusionNet, only of truths of
        unknown position.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in a batch, if `border` leaves nothing of its images.

    See Also
    --------
    probav_estimators.cpsnr : The same measure as a function of arrays.

    Notes
    -----
    The loss of samples without a clear pixel is 0.

    The quotient has a pole at 0 dB and is negative below it, which would reward divergence. Below
    10 dB the loss is therefore the tangent ``norm / 10 * (2 - cPSNR / 10)``, which increases with
    the error. An image of 0 dB or less has pixels outside [0, 1] or is the negative of its truth.

    References
    ----------
    .. [1] M. Märtens et al., "Super-resolution of PROBA-V images using convolutional neural
       networks", Astrodynamics 3, 387-402, 2019.

    Examples
    --------
    >>> import torch
    >>> from probav_estimators import CPSNRLoss
    >>> hr = torch.linspace(0, 0.25, 144).reshape(1, 1, 12, 12)
    >>> truth = torch.cat([hr, torch.ones_like(hr)], dim=1)
    >>> round(CPSNRLoss(norm=22.89, border=3)(hr.flip(2), truth).item(), 3)
    1.0
    """

    def __init__(self, norm: float = 46.5, clearance_weight: float = 0.5, border: int = 0) -> None:
        super().__init__(clearance_weight)
        self.norm = norm
        self.border = border
        check_parameters(
            self,
            norm=[Interval(Real, 0, None, closed="neither")],
            border=[Interval(Integral, 0, None, closed="left")],
        )

    def compare(
        self,
        prediction: torch.Tensor,
        target: dict[str, torch.Tensor],
        sample: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        in_place = target.get("in_place")
        options = {} if in_place is None or not in_place.any() else {"in_place": in_place}
        return self(prediction, target["truth"], **options)

    def image_loss(
        self,
        sr: torch.Tensor,
        hr: torch.Tensor,
        clear: torch.Tensor,
        in_place: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if self.border:
            sr, hr, clear = align_best(sr, hr, clear, self.border, in_place)
        return self.aligned_loss(sr, hr, clear)

    def aligned_loss(self, sr: torch.Tensor, hr: torch.Tensor, clear: torch.Tensor) -> torch.Tensor:
        """Loss of images (n, H, W) that are registered to their truths."""
        known = clear.any(dim=2).any(dim=1)
        cpsnr = batch_cpsnr(sr[known], hr[known], clear[known])
        return challenge_score(self.norm, cpsnr, torch.where).sum() / len(sr)


class MaskedMSELoss(SceneLoss):
    """Mean squared error of the clear pixels + clearance_weight * BCE.

    Parameters
    ----------
    clearance_weight : float, default=0.5
        Weight of the binary cross-entropy of the clearance channel, if there is one; at least 0.

    Raises
    ------
    ValueError
        If the weight is negative.

    See Also
    --------
    CPSNRLoss : Forgives a constant error and, with a border, a shift.

    Notes
    -----
    The mean is over the clear pixels of the whole batch; 0 if there are none.

    Examples
    --------
    >>> import torch
    >>> from probav_estimators import MaskedMSELoss
    >>> truth = torch.tensor([[[[0.5, 0.5]], [[1.0, 0.0]]]])
    >>> MaskedMSELoss()(torch.tensor([[[[0.25, 0.0]]]]), truth).item()
    0.0625
    """

    def image_loss(self, sr: torch.Tensor, hr: torch.Tensor, clear: torch.Tensor) -> torch.Tensor:
        return (clear * (sr - hr) ** 2).sum() / clear.sum().clamp_min(1)


class MSELoss(SceneLoss):
    """Mean squared error of all pixels, clear or not, + clearance_weight * BCE.

    Parameters
    ----------
    clearance_weight : float, default=0.5
        Weight of the binary cross-entropy of the clearance channel, if there is one; at least 0.

    Raises
    ------
    ValueError
        If the weight is negative.

    See Also
    --------
    MaskedMSELoss : Error of the clear pixels alone.

    Examples
    --------
    >>> import torch
    >>> from probav_estimators import MSELoss
    >>> truth = torch.tensor([[[[0.5, 0.5]], [[1.0, 0.0]]]])
    >>> MSELoss()(torch.tensor([[[[0.25, 0.0]]]]), truth).item()
    0.15625
    """

    def image_loss(self, sr: torch.Tensor, hr: torch.Tensor, clear: torch.Tensor) -> torch.Tensor:
        return ((sr - hr) ** 2).mean()


def check_parameters(owner: object, **constraints: list[Any]) -> None:
    """Raise a ValueError that names the attribute of an object that is not valid, and its value."""
    values = {name: getattr(owner, name) for name in constraints}
    validate_parameter_constraints(constraints, values, type(owner).__name__)
