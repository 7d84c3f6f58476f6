"""Models in files: estimators as one safetensors file, ONNX graphs, and what is said about them."""

from ._cards import model_card
from ._model_files import is_model_file, load_model, save_model
from ._onnx import export_onnx, onnx_inputs
from ._stac import write_stac_mlm

__all__ = [
    "export_onnx",
    "is_model_file",
    "load_model",
    "model_card",
    "onnx_inputs",
    "save_model",
    "write_stac_mlm",
]
