"""Nets inside estimators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..prediction import last_step, split_steps
from ..training import SceneNet


def split_estimator(estimator: Any) -> tuple[list[Any], SceneNet]:
    """Transformers and the fitted net that they lead to.

    Raises
    ------
    ValueError
        If there is no such net, or more than one.
    """
    steps, net = split_steps(estimator)
    if not isinstance(net, SceneNet):
        remedy = (
            "export each of its estimators_"
            if hasattr(net, "estimators_")
            else "give a net or a pipeline that ends in one"
        )
        raise ValueError(f"{type(net).__name__} is no net: {remedy}")
    net.check_is_fitted()
    return steps, net


def nets_of(estimator: Any) -> Iterator[SceneNet]:
    """All fitted nets inside an estimator."""
    last = last_step(estimator)
    if isinstance(last, SceneNet):
        last.check_is_fitted()
        yield last
        return
    fitted = getattr(last, "estimators_", [])
    for part in fitted.values() if isinstance(fitted, dict) else fitted:
        yield from nets_of(part)
