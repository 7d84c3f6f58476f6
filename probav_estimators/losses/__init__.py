"""Training losses, and the sensor model of ReprojectionLoss and FusionNet."""

from ._adversarial import AdversarialLoss
from ._batch_errors import (
    align_best,
    batch_cpsnr,
    best_shifts,
    laplacian_loss,
    mean_shift,
    uncertainty_loss,
)
from ._reprojection import ReprojectionLoss
from ._scores import CPSNRLoss, MaskedMSELoss, MSELoss, SceneLoss, check_parameters
from ._sensor_model import GREATEST_SIGMA, SensorModel, without_edges

__all__ = [
    "GREATEST_SIGMA",
    "AdversarialLoss",
    "CPSNRLoss",
    "MSELoss",
    "MaskedMSELoss",
    "ReprojectionLoss",
    "SceneLoss",
    "SensorModel",
    "align_best",
    "batch_cpsnr",
    "best_shifts",
    "check_parameters",
    "laplacian_loss",
    "mean_shift",
    "uncertainty_loss",
    "without_edges",
]
