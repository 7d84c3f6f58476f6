"""FusionNet beside other networks over real land, and the coverage of its standard deviations.

Needs PROBAV_SAMPLES, the folder of sample data, with its images of real land in `land`. Scenes are
those of :mod:`benchmarks.land`. At scale 3, SRCNN is trained as by :mod:`benchmarks.robustness`;
``--published FOLDER`` adds the networks of :mod:`benchmarks.realism` with their authors' weights.
"""

from probav_estimators import FusionNet

from ._measure import Figure
from ._scores import coverage, mean_score
from .land import scenes_of_scales
from .realism import find_published, net_of
from .robustness import fit_srcnn


def benchmark(n_scenes=24, folder=None, published=None, n_epochs=40):
    """Scores and coverage at each scale.

    Parameters
    ----------
    n_scenes : int, default=24
        Of each scale.
    folder : path, default=None
        Of images of land. None: `land` of PROBAV_SAMPLES.
    published : path-like, default=None
        Folder with published weights of MISR-GRU and TR-MISR. None: SRCNN alone is compared.
    n_epochs : int, default=40
        Of SRCNN's training.

    Yields
    ------
    Figure
    """
    for scale, scenes in scenes_of_scales(n_scenes, folder):
        scores = _scores_of_others(scenes, published, n_epochs) if scale == 3 else {}
        net = FusionNet.from_pretrained(scale=scale, verbose=0)
        images, deviations = net.predict(scenes, return_std=True)
        score, (one, two) = mean_score(images, scenes), coverage(images, deviations, scenes)
        others = [f"{name} {other:.4f}" for name, other in scores.items()]
        yield Figure(
            f"scale {scale}, {len(scenes)} scenes over real land: N / cPSNR; errors within one "
            "and two standard deviations",
            ", ".join(["baseline 1.0", *others]),
            "less; 60 to 76 %, 90 to 98 %",
            f"{score:.4f}; {100 * one:.1f} %, {100 * two:.1f} %",
            score < min([1.0, *scores.values()]) and 0.60 <= one <= 0.76 and 0.90 <= two <= 0.98,
        )


def _scores_of_others(scenes, published, n_epochs):
    """Mean N / cPSNR of each other network, at scale 3."""
    scores = {"SRCNN": mean_score(fit_srcnn(128, n_epochs).predict(scenes), scenes)}
    for name, nets in (find_published(published) if published else {}).items():
        images = [net_of(nets, scene).predict([scene])[0] for scene in scenes]
        scores[name] = mean_score(images, scenes)
    return scores
