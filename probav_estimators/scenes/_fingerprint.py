"""Hashes of arrays, tensors, functions and objects by value, never by address."""

import functools
import hashlib
import os
import types
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

__all__ = ["digest"]

_DIGEST_BYTES = 16


def digest(*parts: object) -> str:
    """Hash parts in their order.

    Parameters
    ----------
    *parts : object
        Arrays and tensors count by their values, lambdas and inner functions by their code, other
        functions and classes by their names, objects by `fingerprint()` where they have it, else by
        class and attributes.

    Returns
    -------
    str
        32 hexadecimal digits; the same in every process and session.
    """
    return _digest(parts, ())


def _digest(parts, outer):
    state = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        for piece in _as_bytes(part, outer):
            # The length in front keeps ("ab", "c") apart from ("a", "bc").
            state.update(len(piece).to_bytes(8, "little"))
            state.update(piece)
    return state.hexdigest()


def _as_bytes(part, outer):
    if isinstance(part, bytes):
        return b"bytes", part
    if isinstance(part, np.generic):
        part = part.item()
    if isinstance(part, np.ndarray) and part.dtype != object:
        pixels = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        return f"array {part.dtype.str} {part.shape}".encode(), pixels
    if hasattr(part, "untyped_storage"):
        return f"tensor {part.dtype} {tuple(part.shape)}".encode(), _bytes_of_tensor(part)
    if any(part is other for other in outer):
        return b"itself", b""
    kind, contents = _contents_of(part)
    if isinstance(contents, str):
        return kind.encode(), contents.encode()
    return kind.encode(), _digest(_sorted(contents, (*outer, part)), (*outer, part)).encode()


def _contents_of(part: Any) -> tuple[str, Any]:
    """Kind of an object, and text or further parts: a sequence, a mapping or a set."""
    if isinstance(part, dict | set | frozenset):
        return "dict" if isinstance(part, dict) else "set", part
    if isinstance(part, list | tuple | np.ndarray):
        return "sequence", part
    if isinstance(part, os.PathLike):
        return "path", os.fspath(part)
    if isinstance(part, types.ModuleType):
        return "module", part.__name__
    if isinstance(part, functools.partial):
        return "partial", [part.func, part.args, part.keywords]
    if isinstance(part, types.MethodType):
        return "method", [part.__self__, part.__func__.__qualname__]
    if isinstance(part, types.CodeType):
        return "code", [part.co_code, part.co_names, part.co_consts]
    if callable(part) and hasattr(part, "__qualname__"):
        name = f"{part.__module__}.{part.__qualname__}"
        if "<" in name and hasattr(part, "__code__"):
            # Lambdas and functions inside functions share their names.
            cells = [cell.cell_contents for cell in part.__closure__ or ()]
            return name, [part.__code__, part.__defaults__, part.__kwdefaults__, cells]
        return "callable", name
    name = type(part).__qualname__
    if callable(getattr(part, "fingerprint", None)):
        return name, part.fingerprint()
    if is_dataclass(part):
        return name, {field.name: getattr(part, field.name) for field in fields(part)}
    if hasattr(part, "__dict__"):
        return name, vars(part)
    text = repr(part)
    return name, "" if " at 0x" in text else text


def _sorted(contents, outer):
    if isinstance(contents, dict):
        return [entry for key in sorted(contents, key=repr) for entry in (key, contents[key])]
    if isinstance(contents, set | frozenset):
        return sorted(_digest([part], outer) for part in contents)
    return contents


def _bytes_of_tensor(tensor):
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
