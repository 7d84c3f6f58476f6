"""Mixins of estimators: the link to their documentation, and tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sklearn.utils import Tags

__all__ = ["DocLinkMixin", "SceneEstimatorMixin"]


class DocLinkMixin:
    """Mixin of estimators that this package documents; stands before BaseEstimator.

    Classes that are derived from them elsewhere have no page of their own, and get no link.
    """

    _doc_link_module = "probav_estimators"
    _doc_link_template = (
        "https://probav-estimators.readthedocs.io/en/stable/generated/probav_estimators.{name}.html"
    )

    def _doc_link_url_param_generator(self, *estimator: Any) -> dict[str, str]:
        # Older scikit-learn hands the estimator over once more.
        return {"name": type(self).__name__}


class SceneEstimatorMixin(DocLinkMixin):
    """Mixin of estimators that take a list of scenes and no `y`; stands before BaseEstimator.

    Those that predict images are no regressors to scikit-learn: what takes regressors, such as
    VotingRegressor, works with one number for each sample.
    """

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags
