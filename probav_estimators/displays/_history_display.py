"""The training of a net, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..prediction import last_step
from ._base import Display
from ._drawing import COLOURS, MARKERS, label_text

# Losses and scores that a history may have, and their labels.
_LOSSES = {"train_loss": "training loss", "valid_loss": "validation loss"}
_SCORES = {"train_score": "training score", "valid_score": "validation score"}


@dataclass(kw_only=True, eq=False, repr=False)
class HistoryDisplay(Display):
    """Losses and scores of a net's training and validation scenes by epoch, and its learning rate.

    Make one by `from_net`. All parameters are stored as attributes.

    Parameters
    ----------
    epochs : int array of shape (n,)
        Numbers of the epochs.
    losses : dict of str to array of shape (n,)
        Losses by name. NaN where an epoch has none.
    scores : dict of str to array of shape (n,), default=None
        Challenge scores by name; lower is better, and 1 is the baseline.
    learning_rates : array of shape (n,), default=None
        Learning rate of each epoch.
    estimator_name : str, default=None
        Of the net.

    Attributes
    ----------
    axes_ : array of Axes
        Losses and, where there are any, scores and learning rates.
    lines_ : dict of str to matplotlib Line2D
        Lines by name; that of the learning rate is "learning rate".
    {panels_}

    Examples
    --------
    >>> import numpy as np
    >>> from probav_estimators.displays import HistoryDisplay
    >>> losses = {"training loss": np.array([1.1, 1.0])}
    >>> HistoryDisplay(epochs=np.array([1, 2]), losses=losses).plot().axes_.shape
    (1,)
    """

    epochs: NDArray[np.integer]
    losses: Mapping[str, NDArray[np.floating]]
    scores: Mapping[str, NDArray[np.floating]] | None = None
    learning_rates: NDArray[np.floating] | None = None
    estimator_name: str | None = None

    @classmethod
    def from_net(cls, net: Any, *, name: str | None = None, ax: Any = None) -> Self:
        """Draw the history of a net.

        Parameters
        ----------
        net : fitted net, or fitted pipeline that ends in one
            With an attribute `history`, as nets of this package and of skorch have.
        {name}
        {ax}

        {returns}

        Raises
        ------
        ValueError
            If it has no history, such as a net of published weights before any training.
        """
        net = last_step(net)
        rows = list(getattr(net, "history", None) or [])
        if not rows:
            raise ValueError(
                f"{type(net).__name__} has no history: fit it first (weights of from_pretrained "
                "come without one)"
            )
        rates = _column(rows, "event_lr")
        display = cls(
            epochs=np.array([row["epoch"] for row in rows]),
            losses=_columns(rows, _LOSSES),
            scores=_columns(rows, _SCORES) or None,
            learning_rates=rates if np.isfinite(rates).any() else None,
            estimator_name=type(net).__name__ if name is None else name,
        )
        return display.plot(ax=ax)

    def plot(self, *, ax: Any = None, name: str | None = None) -> Self:
        """Draw the display.

        Parameters
        ----------
        {ax}
        {estimator_name}

        {returns}
        """
        parts: list[tuple[str, Mapping[str, Any]]] = [("loss", self.losses)]
        if self.scores:
            parts.append(("score N / cPSNR", self.scores))
        if self.learning_rates is not None:
            parts.append(("learning rate", {"learning rate": self.learning_rates}))

        def arrange(spec):
            # Losses and scores are read in more detail than the learning rate.
            heights = [1 if title == "learning rate" else 2 for title, _ in parts]
            return list(spec.subgridspec(len(parts), 1, height_ratios=heights))

        self.axes_ = self._panels(ax, arrange, (6.4, 1.6 + 1.6 * len(parts)))
        self.lines_: dict[str, Any] = {}
        for axes_of_part, (title, columns) in zip(self.axes_, parts, strict=True):
            self._draw(axes_of_part, title, columns)
        self.axes_[-1].set_xlabel("epoch")
        name = self.estimator_name if name is None else name
        if name:
            self.axes_[0].set_title(label_text(name, width=400, fontsize=10), fontsize=10)
        return self

    def _draw(self, ax, title, columns):
        for name, values in columns.items():
            # The colour of training and validation is the same in all panels.
            label = label_text(name)
            number = 1 if label.startswith("validation") else 0
            options = {"color": COLOURS[number], "marker": MARKERS[number], "markersize": 3}
            options["label"] = label
            (self.lines_[name],) = ax.plot(self.epochs, values, **options)
        if title == "learning rate":
            self.lines_[title].set_color("0.3")
            ax.set_yscale("log")
        elif title.startswith("score"):
            ax.axhline(1, color="0.3", lw=1, zorder=0, label="baseline")
            self._mark_best(ax, columns)
        ax.set_ylabel(title, fontsize=9)
        if ax is not self.axes_[0]:
            ax.sharex(self.axes_[0])
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.tick_params(labelsize=8, labelbottom=ax is self.axes_[-1])
        if title != "learning rate":
            ax.legend(fontsize=8)

    def _mark_best(self, ax, columns):
        values = columns.get("validation score")
        if values is None or not np.isfinite(values).any():
            return
        best = int(np.nanargmin(values))
        label = f"best: {values[best]:.4f} in epoch {self.epochs[best]}"
        ax.plot(self.epochs[best], values[best], "*", color="k", markersize=9, label=label)


def _column(rows, name):
    return np.array([float(row.get(name, np.nan)) for row in rows])


def _columns(rows, names):
    columns = {title: _column(rows, name) for name, title in names.items()}
    return {title: values for title, values in columns.items() if np.isfinite(values).any()}
