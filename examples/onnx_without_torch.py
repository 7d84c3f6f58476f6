"""Super-resolve with onnxruntime and NumPy only: onnx_without_torch.py net.onnx in.npz out.npy"""

import json
import sys

import numpy as np
import onnxruntime

model, inputs, output = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
about = json.loads(session.get_modelmeta().custom_metadata_map["probav_estimators"])
for tensor in about["inputs"] + about["outputs"]:
    print(f"{tensor['name']} {tensor['shape']}: {tensor['description']}")
with np.load(inputs) as arrays:  # of probav_estimators.onnx_inputs
    images = session.run(["image"], dict(arrays))[0]
np.save(output, images.mean(axis=0).clip(0, 1))
print(f"{output}: {images[0].shape} pixels")
