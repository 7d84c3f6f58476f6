"""Compilation of functions, which is cached where a folder for it can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

__all__ = ["njit"]


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with Numba, as `numba.njit` does.

    Parameters
    ----------
    **options
        Those of `numba.njit`. With ``cache=True`` and neither a writable installation, a writable
        home nor ``NUMBA_CACHE_DIR``, every process compiles it.

    Returns
    -------
    decorator
    """

    def compile_function(function):
        try:
            return numba.njit(**options)(function)
        except RuntimeError:  # numba's, of a cache without a folder
            return numba.njit(**options | {"cache": False})(function)

    return compile_function
