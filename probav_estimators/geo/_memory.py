"""Memory that was freed, given back to the system."""

import ctypes
from functools import cache

__all__ = ["release_memory"]


def release_memory() -> None:
    """Give freed memory back, where the C library keeps it and can be asked to (glibc).

    Arrays of a block are freed in an order that leaves holes in the heap, which the arrays of the
    next block do not fit in: without this, a process grows by some hundred megabytes.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim():
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
