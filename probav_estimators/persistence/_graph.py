"""Nets inside estimators."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..training import SceneNet


def split_estimator(estimator: Any) -> tuple[list[Any], SceneNet]:
    """Transformers and the fitted net that they lead to.

    Raises
    ------
    ValueError
        If there is no such net, or more than one.
    """
    steps: list[Any] = []
    inner = estimator
    while not isinstance(inner, SceneNet):
        if hasattr(inner, "steps"):
            steps += [step for _, step in inner.steps[:-1] if step not in (None, "passthrough")]
        several = hasattr(inner, "estimators_")
        parts = [] if several else _parts_of(inner)
        if not parts:
            remedy = (
                "export each of its estimators_"
                if several
                else "give a net or a pipeline that ends in one"
            )
            raise ValueError(f"{type(inner).__name__} is no net: {remedy}")
        inner = parts[0]
    inner.check_is_fitted()
    return steps, inner


def nets_of(estimator: Any) -> Iterator[SceneNet]:
    """All fitted nets inside an estimator."""
    if isinstance(estimator, SceneNet):
        estimator.check_is_fitted()
        yield estimator
    else:
        for part in _parts_of(estimator):
            yield from nets_of(part)


def _parts_of(estimator):
    """Estimators that make an estimator's images."""
    fitted = getattr(estimator, "estimators_", None)
    if fitted is not None:
        return list(fitted.values() if isinstance(fitted, dict) else fitted)
    if hasattr(estimator, "steps"):
        return [estimator.steps[-1][1]]
    return [estimator.estimator] if hasattr(estimator, "estimator") else []
