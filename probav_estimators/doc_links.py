"""Where the documentation of an estimator is: scikit-learn's HTML representation links to it."""

from __future__ import annotations

from typing import Any

__all__ = ["DocLinkMixin"]


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
