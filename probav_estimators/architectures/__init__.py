"""Nets: one architecture a file."""

from ._block_predictor import FusedBlock
from ._bottleneck_srresnet import BottleneckSRResNet
from ._fsrcnn import FSRCNN
from ._fsrcnn_v2 import FSRCNNv2
from ._fusion_net import FusionNet, ImageParts
from ._fusion_weights import is_displacement
from ._highres_net import HighResNet
from ._misr_gru import MISRGRU
from ._piunet import PIUNet
from ._rams import RAMS
from ._srcnn import SRCNN
from ._srcnn_ex import SRCNNEx
from ._srcnn_v2 import SRCNNv2
from ._srcnn_v3 import SRCNNv3
from ._srresnet import SRResNet
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
]
