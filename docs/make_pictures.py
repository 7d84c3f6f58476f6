"""Draw the pictures of the concepts: python docs/make_pictures.py [NAME ...] [--land FOLDER]

All of them show simulated scenes with a fixed seed, and are written to docs/images/concepts/, in
about a minute. NAME selects some of them. The first picture of the site has frames of real land:
FOLDER holds `LAND`, a window of Sentinel-2 data; without FOLDER, this picture is left out.
"""

import argparse
from functools import cache
from io import BytesIO
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle
from PIL import Image
from scipy.ndimage import shift as shifted

from probav_estimators import (
    BicubicBaseline,
    CalibrationDisplay,
    ClearanceSelector,
    FrameRegistrar,
    FusionNet,
    InputComposer,
    Scene,
    SceneDisplay,
    Sensor,
    SpectrumDisplay,
    cpsnr,
    make_scenes,
)
from probav_estimators.scenes import align_scene

FOLDER = Path(__file__).parent / "images" / "concepts"

# Of the picture of real land. Haspengouw, Belgium, in red: contains modified Copernicus Sentinel
# data 2020.
LAND = "HERSTAPPE_Sentinel2_RED_01.png"

# Of titles, in points, in figures of this width in inches: readable on 390 pixels too.
SIZE, WIDTH = 17, 8.3

# Colours for colour-blind readers (Okabe and Ito).
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"

# Rows and columns, in LR pixels, of an area with much structure.
PART = (slice(62, 110), slice(52, 100))


@cache
def scene():
    """The scene of all pictures."""
    (made,) = make_scenes(1, size=128, n_frames=15, bands=("RED",), random_state=10)
    return made


@cache
def net(scale=3, **params):
    return FusionNet.from_pretrained(scale=scale, verbose=0, **params)


@cache
def fused():
    """(image, standard deviations) of the scene."""
    (image,), (deviation,) = net().predict([scene()], return_std=True)
    return image, deviation


def fine(part, scale=3):
    """Convert slices in LR pixels to HR pixels."""
    return tuple(slice(scale * rows.start, scale * rows.stop) for rows in part)


def show(ax, image, title, *, like=None, size=10):
    """Draw an image without axes; `like` gives the grey scale, `size` is that of the title."""
    low, high = np.quantile(image if like is None else like, [0.005, 0.995])
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    ax.set_title(title, fontsize=size)
    ax.set_axis_off()


def by_clearance(scene):
    """Numbers of the frames, the clearest first."""
    return np.argsort(-scene.qm.mean(axis=(1, 2)), kind="stable")


def before_after(folder):
    """A frame, the baseline, FusionNet's image and the truth of real land, for the first page."""
    (made,) = make_scenes(
        1, size=64, n_frames=20, images=[folder / LAND], sensor="sentinel-2", random_state=1
    )
    images = {
        "bicubic": BicubicBaseline().fit([made]).predict([made])[0],
        "FusionNet": net().predict([made])[0],
    }
    part = (slice(12, 56), slice(12, 56))
    truth = made.hr[fine(part)]
    panels = {f"one of {len(made.lr)} frames": made.lr[by_clearance(made)[0]][part]}
    for name, image in images.items():
        dB = cpsnr(image, made.hr, made.sm)
        panels[f"{name}: {dB:.1f} dB, {made.norm / dB:.3f}"] = image[fine(part)]
    panels["truth"] = truth
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 9.1), layout="constrained")
    for ax, (title, image) in zip(axes.flat, panels.items(), strict=True):
        show(ax, image, title, like=truth, size=SIZE + 2)
    return figure


def data_flow():
    """Data flow, from files to a score."""
    figure = plt.figure(figsize=(12, 3.4))
    lr, qm, (image, deviation) = scene().lr, scene().qm, fused()
    low, high = np.quantile(image, [0.005, 0.995])

    def picture(values, left, bottom, width, cmap="gray", limits=(low, high)):
        ax = figure.add_axes((left, bottom, width, 12 / 3.4 * width))
        ax.imshow(values, cmap=cmap, vmin=limits[0], vmax=limits[1])
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set_color("white")

    def label(x, title, text):
        figure.text(x, 0.96, title, ha="center", va="top", fontsize=12, weight="bold")
        figure.text(x, 0.04, text, ha="center", va="bottom", fontsize=9.5, linespacing=1.4)

    def arrow(start, end):
        figure.add_artist(
            FancyArrowPatch(
                (start, 0.55), (end, 0.55), arrowstyle="-|>", mutation_scale=16, color="0.4", lw=1.5
            )
        )

    for place, number in enumerate(by_clearance(scene())[9:12]):
        clouded = np.where(qm[number], lr[number], np.nan)
        picture(clouded, 0.005 + 0.025 * place, 0.42 - 0.06 * place, 0.1)
    label(0.085, "scene", "frames and quality maps,\nshifted, partly clouded\n(white: hidden)")
    arrow(0.165, 0.205)
    selected = ClearanceSelector(k=9).transform([scene()])
    composed = InputComposer(mode="concat").transform(selected)[0].inputs.read()[0]
    for row in range(3):
        for column in range(3):
            channel = composed[3 * row + column]
            picture(channel, 0.22 + 0.041 * column, 0.64 - 0.145 * row, 0.039)
    label(0.28, "transformers", "select, register,\ncompose: lazily,\nfor the patch asked for")
    arrow(0.355, 0.395)
    box = Rectangle((0.41, 0.36), 0.13, 0.4, fc=BLUE, ec="none", alpha=0.9)
    figure.add_artist(box)
    figure.text(
        0.475, 0.56, "FusionNet,\nSRCNN,\n...", color="white", ha="center", va="center", fontsize=12
    )
    label(0.475, "estimator", "fit and predict,\nclone and pickle,\nas in scikit-learn")
    arrow(0.555, 0.595)
    picture(image, 0.605, 0.34, 0.125)
    label(0.6675, "image", "three times as fine,\nin [0, 1] or in\nyour units")
    limits = (0, np.quantile(deviation, 0.99))
    picture(deviation, 0.745, 0.34, 0.125, "magma", limits)
    label(0.8075, "deviation", "how far each pixel\nmay be off")
    arrow(0.88, 0.915)
    score = scene().norm / cpsnr(image, scene().hr, scene().sm)
    figure.text(0.957, 0.55, f"{score:.3f}", ha="center", va="center", fontsize=17, color=GREEN)
    label(0.957, "score", "N / cPSNR,\n1: the baseline,\nlower is better")
    return figure


def scene_and_truth():
    """Frames, masks, clearance and shifts of a scene."""
    registered = FrameRegistrar(apply=False).transform([scene()])[0]
    return SceneDisplay.from_scene(registered, max_frames=12).figure_


def registration():
    """Pixel centres of the frames, and the effect of a sub-pixel shift."""
    (registered,) = FrameRegistrar(apply=False).transform([scene()])
    shifts = registered.shifts
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    down, right = np.mgrid[-1:5, -1:5].reshape(2, -1)
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.95, len(shifts)))
    for (shift_down, shift_right), colour in zip(shifts, colours, strict=True):
        axes[0].plot(right - shift_right, down - shift_down, "o", ms=3.5, color=colour)
    axes[0].set(xlim=(-0.5, 3.5), ylim=(3.5, -0.5), aspect="equal")
    axes[0].set_xticks(np.arange(-0.5, 4), labels=[])
    axes[0].set_yticks(np.arange(-0.5, 4), labels=[])
    axes[0].grid(color="0.6")
    axes[0].tick_params(length=0)
    axes[0].set_title(
        "pixel centres of 15 frames\non 4 x 4 LR pixels (a colour a frame)", fontsize=10
    )
    first, *others = by_clearance(scene())[:5]
    apart = np.abs(shifts - shifts[first]).max(axis=1)
    other = max(others, key=lambda number: apart[number])
    frames = scene().lr.astype(float)
    moved = shifted(frames[other], shifts[first] - shifts[other], order=3, mode="nearest")
    differences = [frames[first] - frames[other], frames[first] - moved]
    differences = [values[8:-8, 8:-8] - np.median(values) for values in differences]
    limit = np.quantile(np.abs(differences[0]), 0.99)
    titles = ["difference of two frames", "the same, the second one moved"]
    for ax, values, title in zip(axes[1:], differences, titles, strict=True):
        ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(f"{title}\nroot mean square {65535 * values.std():.0f} counts", fontsize=10)
        ax.set_axis_off()
    return figure


def composition():
    """Channels of the three modes of InputComposer."""
    # The clearest ones have no clouds.
    order = by_clearance(scene())[10:13]
    frames, masks = scene().lr[order], scene().qm[order]
    low, high = np.quantile(frames[masks], [0.005, 0.995])
    rows = {
        'mode="lr"': list(frames),
        'mode="combine"': list(frames * masks),
        'mode="concat"': [*frames, *(high * masks)],
    }
    figure, axes = plt.subplots(3, 6, figsize=(9, 4.9), layout="constrained")
    for row, (name, channels) in zip(axes, rows.items(), strict=True):
        for ax in row:
            ax.set_axis_off()
        for ax, channel in zip(row, channels, strict=False):
            ax.imshow(channel, cmap="gray", vmin=low, vmax=high)
        row[0].set_title(f"{name}: {len(channels)} channels", loc="left", fontsize=10)
    return figure


def spectrum():
    """Power and coherence of detail beyond the frames' Nyquist frequency."""
    return SpectrumDisplay.from_estimator({"FusionNet": net()}, scene()).figure_


def score():
    """Bias and shift that the score ignores."""
    hr, clear = scene().hr.astype(float), scene().sm
    image = shifted(fused()[0].astype(float), (2, -1), order=1, mode="nearest") + 0.01
    border = 3
    height, width = hr.shape
    inner = image[border:-border, border:-border]
    errors, table = {}, np.empty((7, 7))
    for down in range(7):
        for right in range(7):
            window = np.s_[down : height - 6 + down, right : width - 6 + right]
            error = hr[window] - inner
            error = np.where(clear[window], error, np.nan)
            error -= np.nanmean(error)
            errors[down, right] = error
            table[down, right] = -10 * np.log10(np.nanmean(error**2))
    best = np.unravel_index(table.argmax(), table.shape)
    raw = (hr - image)[border:-border, border:-border]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
    limit = np.nanquantile(np.abs(raw), 0.99)
    plain = -10 * np.log10(np.mean(raw**2))
    pairs = {
        f"truth less image\nPSNR {plain:.1f} dB": raw,
        f"at the best shift, without bias\ncPSNR {table.max():.1f} dB": errors[best],
    }
    for ax, (title, error) in zip(axes[::2], pairs.items(), strict=True):
        ax.imshow(error, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
    drawn = axes[1].imshow(table, cmap="viridis", extent=(-3.5, 3.5, 3.5, -3.5))
    axes[1].set_xlabel("shift to the right, HR pixels")
    axes[1].set_ylabel("shift down, HR pixels")
    axes[1].set_title("PSNR without bias, by shift: the greatest counts", fontsize=10)
    figure.colorbar(drawn, ax=axes[1], shrink=0.8, label="dB")
    return figure


def deviations():
    """Standard deviations, errors, and the calibration curve."""
    image, deviation = (values[fine(PART)] for values in fused())
    error = np.abs(image - scene().hr[fine(PART)])
    figure, axes = plt.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
    show(axes[0], image, "FusionNet")
    limit = 65535 * np.quantile(error, 0.99)
    for ax, values, title in (
        (axes[1], deviation, "standard deviation"),
        (axes[2], error, "size of the error"),
    ):
        drawn = ax.imshow(65535 * values, cmap="magma", vmin=0, vmax=limit)
        ax.set_title(title, fontsize=10)
        ax.set_axis_off()
    figure.colorbar(drawn, ax=axes[2], shrink=0.8, label="counts (65535 times the value)")
    CalibrationDisplay.from_estimator(net(), make_scenes(4, size=96, random_state=5), ax=axes[3])
    return figure


def textured(n_frames=24, *, psf_sigma=0.6, noise=3, seed=10):
    """A scene of scale 2 with much texture, by a sensor of known PSF, in HR pixels."""
    steady = dict.fromkeys(("change", "changing_fields", "water_change", "shadow_change"), 0)
    sensor = Sensor.preset("plain", psf_sigma=psf_sigma, noise=noise, shot_noise=0, **steady)
    options = {"size": 64, "scale": 2, "bands": ("RED",), "texture": 1.0}
    (made,) = make_scenes(1, n_frames=n_frames, sensor=sensor, random_state=seed, **options)
    return made


def consistency():
    """Images and errors without and with the data-consistency layer."""
    made = textured(psf_sigma=0.8)
    part = np.s_[16:112, 16:112]
    figure, rows = plt.subplots(2, 3, figsize=(WIDTH, 6.1), layout="constrained")
    show(rows[0, 0], made.hr[part], "truth", size=SIZE)
    limit = None
    for column, switch, name in zip(rows.T[1:], (False, True), ("without", "with"), strict=True):
        (image,) = net(2, data_consistency=switch).predict([made])
        dB = cpsnr(image, made.hr, made.sm)
        show(column[0], image[part], f"{name}: {dB:.1f} dB", like=made.hr[part], size=SIZE)
        error = 65535 * (made.hr - image)[part]
        limit = limit or np.quantile(np.abs(error), 0.99)
        drawn = column[1].imshow(error - np.median(error), cmap="RdBu_r", vmin=-limit, vmax=limit)
        column[1].set_title("truth less it", fontsize=SIZE)
        column[1].set_axis_off()
    rows[1, 0].set_axis_off()
    strip = rows[1, 0].inset_axes((0, 0.5, 0.95, 0.09))
    bar = figure.colorbar(drawn, cax=strip, orientation="horizontal")
    bar.ax.tick_params(labelsize=SIZE - 3)
    bar.set_label("16-bit counts", fontsize=SIZE - 2)
    return figure


def psf():
    """Relative PSF variance of scenes of different sensors, and the estimates of theirs from it."""
    true = np.linspace(0.15, 0.55, 9)
    relative, estimated = [], []
    for seed, sigma in enumerate(true):
        made = textured(psf_sigma=2 * sigma, seed=seed)
        alignment = net(2).match_psf(made, align_scene(made))
        relative.append(alignment.psf.from_image)
        estimated.append(net(2).sensor_variance(alignment) ** 0.5)
    with plt.rc_context({"font.size": SIZE - 3}):
        figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 4.2), layout="constrained")
        axes[0].plot(true**2, relative, "o", color=BLUE)
        axes[0].axhline(0, color="0.7", lw=1)
        axes[0].set_xlabel("variance of the sensor")
        axes[0].set_ylabel("v, LR pixels squared")
        axes[1].plot(true, true, color="0.6", lw=1.5, label="exact")
        axes[1].plot(true, estimated, "o", color=ORANGE, label="from v")
        axes[1].set_xlabel("$\\sigma$ of the sensor")
        axes[1].set_ylabel("estimate, LR pixels")
        axes[1].legend()
    return figure


def parts():
    """Measured share, measured and supposed detail of few and of many frames."""
    made = textured()
    numbers = (1, 6, 24)
    figure, rows = plt.subplots(3, 4, figsize=(WIDTH, 8.6), layout="constrained")
    for row, number in zip(rows, numbers, strict=True):
        chosen = by_clearance(made)[:number]
        scene = Scene(made.lr[chosen], made.qm[chosen])
        (image,), found = net(2).predict([scene], return_parts=True)
        share, *details = (part[0] for part in found)
        frames = "1 frame" if number == 1 else f"{number} frames"
        show(row[0], image, frames, like=made.hr, size=SIZE - 2)
        drawn = row[1].imshow(share, cmap="viridis", vmin=0, vmax=1)
        row[1].set_title(f"{100 * share.mean():.0f} %", fontsize=SIZE - 2)
        limit = 65535 * 0.004
        for ax, detail in zip(row[2:], details, strict=True):
            shown = ax.imshow(65535 * detail, cmap="RdBu_r", vmin=-limit, vmax=limit)
            # The edges of frames are not compared with the image.
            ax.set_title(f"rms {65535 * detail[8:-8, 8:-8].std():.0f}", fontsize=SIZE - 2)
        for ax in row[1:]:
            ax.set_axis_off()
    names = ["image", "measured\nshare", "measured\ndetail", "supposed\ndetail"]
    for ax, name in zip(rows[0], names, strict=True):
        ax.set_title(f"{name}\n{ax.get_title()}", fontsize=SIZE - 2)
    for mappable, axes, label in (
        (drawn, rows[:, 1], "share"),
        (shown, rows[:, 2:], "16-bit counts"),
    ):
        bar = figure.colorbar(mappable, ax=axes, location="bottom", shrink=0.8)
        bar.ax.tick_params(labelsize=SIZE - 4)
        bar.set_label(label, fontsize=SIZE - 3)
    return figure


def sensors():
    """One landscape, acquired by five sensors."""
    names = ["plain", "proba-v", "sentinel-2", "landsat-8", "any"]
    figure, axes = plt.subplots(2, 5, figsize=(13, 5.6), layout="constrained")
    for column, name in zip(axes.T, names, strict=True):
        (seen,) = make_scenes(
            1, size=128, n_frames=15, bands=("RED",), sensor=name, random_state=21
        )
        show(column[0], seen.lr[by_clearance(seen)[0]][PART], f'sensor="{name}"')
        show(column[1], seen.hr[fine(PART)], "its HR image")
    return figure


PICTURES = {
    "before_after": before_after,
    "data_flow": data_flow,
    "scene": scene_and_truth,
    "registration": registration,
    "composition": composition,
    "spectrum": spectrum,
    "score": score,
    "deviations": deviations,
    "consistency": consistency,
    "psf": psf,
    "parts": parts,
    "sensors": sensors,
}

# Drawn with --land alone.
OF_LAND = {"before_after"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--land", type=Path, metavar="FOLDER", help=f"of {LAND}")
    options = parser.parse_args()
    names = options.names or [name for name in PICTURES if options.land or name not in OF_LAND]
    if unknown := sorted(set(names) - PICTURES.keys()):
        parser.error(f"unknown: {', '.join(unknown)}")
    if not options.land and OF_LAND.intersection(names):
        parser.error(f"{', '.join(OF_LAND)} needs --land, the folder of {LAND}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names:
        figure = PICTURES[name](*([options.land] if name in OF_LAND else []))
        drawn = BytesIO()
        figure.savefig(drawn, dpi=90, facecolor="white", bbox_inches="tight", pad_inches=0.05)
        plt.close(figure)
        path = FOLDER / f"{name}.png"
        # A palette makes the files a third as large.
        coverage = Image.Quantize.MAXCOVERAGE
        Image.open(drawn).convert("RGB").quantize(256, coverage).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
