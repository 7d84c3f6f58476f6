"""Nets: one architecture a file."""

from ._fsrcnn import FSRCNN
from ._fusion_net import FusedBlock, FusionNet
from ._srcnn import SRCNN
from ._srcnn_ex import SRCNNEx
from ._srresnet import SRResNet
from ._srvgg16 import SRVGG16

__all__ = ["FSRCNN", "SRCNN", "SRVGG16", "FusedBlock", "FusionNet", "SRCNNEx", "SRResNet"]
