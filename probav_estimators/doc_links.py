"""Mixins of estimators: the link to their documentation, and tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sklearn.utils import Tags

__all__ = ["DocLinkMixin", "SceneEstimatorMixin"]


class DocLinkMixin:
    """Mixin, before BaseEstimator, that links estimators of this package to their documentation."""

    _doc_link_module = "probav_estimators"
    _doc_link_template = (
        "https://probav-estimators.readthedocs.io/en/stable/generated/"
        "probav_estimators.{estimator_name}.html"
    )


class SceneEstimatorMixin(DocLinkMixin):
    """Mixin, before BaseEstimator, of estimators that take a list of scenes and no `y`.

    They are not regressors in scikit-learn's sense, which predict one number per sample.
    """

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        return tags
