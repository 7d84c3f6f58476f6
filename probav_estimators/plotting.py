"""Figures of scenes and of predictions. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .imaging import error_map, grey_limits, select_clearest
from .scoring import scene_cpsnr, scene_score

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from .scenes import Scene

__all__ = ["plot_comparison"]


def plot_comparison(
    scene: Scene,
    images: Mapping[str, NDArray[Any]],
    scores: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Draw a scene, what estimators made of it, and where they err.

    Parameters
    ----------
    scene : Scene
        With its HR image.
    images : dict of str to array of shape (H, W)
        Super-resolved images by the estimator's name.
    scores : dict of str to sequence of float, default=None
        Challenge scores of each estimator on many scenes, for a chart of them.

    Returns
    -------
    matplotlib.figure.Figure
        First row: the images, under their scores, and the HR image. Second row: their error maps,
        on one scale. First column: the clearest LR frame and its quality map. Last: the chart.
    """
    from matplotlib import pyplot as plt

    columns = len(images) + 2
    figure, axes = plt.subplots(2, columns, figsize=(3.4 * columns, 7.4), layout="constrained")
    (clearest,) = select_clearest(scene.qm.sum(axis=(1, 2)), 1)
    hr = scene.hr
    low, high = grey_limits([hr[scene.sm]])  # type: ignore[index]
    grey = {"vmin": low, "vmax": high, "cmap": "gray"}

    _show(axes[0, 0], scene.lr[clearest], f"clearest of {len(scene)} LR frames", **grey)
    mask = {"cmap": "gray", "vmin": 0, "vmax": 1}
    _show(axes[1, 0], scene.qm[clearest], "its quality map (white: clear)", **mask)
    _show(axes[0, -1], hr, "HR image", **grey)
    _draw_scores(axes[1, -1], scores)

    errors = {
        name: error_map(image, hr, scene.sm, data_range=scene.data_range)  # type: ignore[arg-type]
        for name, image in images.items()
    }
    limit = np.nanpercentile(np.abs(np.concatenate([e.ravel() for e in errors.values()])), 99.5)
    places = axes[:, 1:-1].T
    for (image_axes, error_axes), (name, image) in zip(places, images.items(), strict=True):
        cpsnr, score = scene_cpsnr(image, scene), scene_score(image, scene)
        _show(image_axes, image, f"{name}\n{cpsnr:.2f} dB, N / cPSNR {score:.4f}", **grey)
        drawn = _show(
            error_axes, errors[name], f"error of {name}", cmap="RdBu_r", vmin=-limit, vmax=limit
        )
    bar: dict[str, Any] = {
        "orientation": "horizontal",
        "shrink": 0.5,
        "aspect": 40,
        "ticks": [-limit, 0, limit],
    }
    figure.colorbar(drawn, ax=axes[1, 1:-1], label="HR - SR, without bias and shift", **bar)
    title = ", ".join(filter(None, [scene.label, scene.band]))
    figure.suptitle(f"{title}: {scene.scale} times as sharp", fontsize=14)
    return figure


def _show(axes, image, title, **options):
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes.imshow(image, interpolation="nearest", **options)


def _draw_scores(axes, scores):
    if scores is None:
        axes.set_axis_off()
        return
    for position, (name, values) in enumerate(scores.items()):
        axes.plot([position] * len(values), values, "o", alpha=0.4, label=name)
        axes.plot([position - 0.2, position + 0.2], [np.mean(values)] * 2, "k-")
    axes.set_xticks(range(len(scores)), scores)
    axes.margins(x=0.3)
    axes.axhline(1, color="0.7", lw=0.8, zorder=0)
    axes.set_title("N / cPSNR of every test scene\n(line: mean; lower is better)", fontsize=10)
