"""The fitted net inside an estimator."""

from typing import TYPE_CHECKING, Any, TypeVar

from sklearn.pipeline import Pipeline

if TYPE_CHECKING:
    from ._scene_net import SceneNet

__all__ = ["find_net"]

Net = TypeVar("Net", bound="SceneNet")


def find_net(estimator: Any, kind: type[Net]) -> Net:
    """Find the fitted net that an estimator ends in.

    Parameters
    ----------
    estimator : estimator
        A net, a pipeline that ends in one, a fitted search over such, or a `FrozenEstimator` of any
        of these.
    kind : type
        Class of nets.

    Returns
    -------
    estimator of class `kind`

    Raises
    ------
    ValueError
        If there is no such net, or it is not fitted.
    """
    inner = estimator
    while not isinstance(inner, kind):
        if isinstance(inner, Pipeline):
            inner = inner.steps[-1][1]
        elif hasattr(inner, "best_estimator_"):
            inner = inner.best_estimator_
        elif hasattr(inner, "param_grid") or hasattr(inner, "param_distributions"):
            raise ValueError(
                f"start_from is a {type(inner).__name__} without a best estimator: fit it, with "
                "refit, first"
            )
        elif hasattr(inner, "estimator") and not hasattr(inner, "estimators_"):
            inner = inner.estimator
        else:
            raise ValueError(
                f"start_from must end in a fitted net, got a {type(inner).__name__}: give a net, "
                "or a pipeline or a search that ends in one"
            )
    if not inner.__sklearn_is_fitted__():
        raise ValueError(
            "start_from is not fitted: fit it, and wrap it in sklearn.frozen.FrozenEstimator "
            "where it is cloned"
        )
    return inner
