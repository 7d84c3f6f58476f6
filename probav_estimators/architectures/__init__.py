"""Nets: one architecture and its variants a file."""

from ._block_predictor import FusedBlock, reference_frame
from ._fsrcnn import FSRCNN, FSRCNNv2
from ._fusion_net import FusionNet, ImageParts
from ._fusion_weights import is_displacement
from ._highres_net import HighResNet
from ._misr_gru import MISRGRU
from ._orientation import orientation_of
from ._piunet import PIUNet
from ._rams import RAMS
from ._srcnn import SRCNN, SRCNNEx, SRCNNv2, SRCNNv3
from ._srresnet import BottleneckSRResNet, SRResNet
from ._srvgg16 import SRVGG16
from ._tr_misr import TRMISR

__all__ = [
    "FSRCNN",
    "MISRGRU",
    "RAMS",
    "SRCNN",
    "SRVGG16",
    "TRMISR",
    "BottleneckSRResNet",
    "FSRCNNv2",
    "FusedBlock",
    "FusionNet",
    "HighResNet",
    "ImageParts",
    "PIUNet",
    "SRCNNEx",
    "SRCNNv2",
    "SRCNNv3",
    "SRResNet",
    "is_displacement",
    "orientation_of",
    "reference_frame",
]
