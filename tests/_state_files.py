"""State files by the description of their format, independent of the package's writer."""

import hashlib
import json

import torch
from safetensors.torch import save


def write_described(path, kind, text, tensors, **changes):
    """Write a file with a valid checksum.

    Parameters
    ----------
    path : pathlib.Path
    kind : str
    text : str
        Its config, which need not be JSON.
    tensors : dict of str to tensor
    **changes : str
        Other metadata.
    """
    metadata = {"format": "2", "package_version": "0.2.0", "kind": kind, "config": text} | changes
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    path.write_bytes(save(tensors, metadata | {"checksum": digest.hexdigest()}))
    return path
