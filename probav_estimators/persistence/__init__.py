"""Models in files: estimators as safetensors, ONNX graphs, and model cards."""

from ._cards import model_card
from ._model_files import is_model_file, load_model, save_model
from ._onnx import export_onnx, onnx_inputs

__all__ = [
    "export_onnx",
    "is_model_file",
    "load_model",
    "model_card",
    "onnx_inputs",
    "save_model",
]
