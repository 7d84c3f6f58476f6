"""Multi-image super-resolution of satellite images, as scikit-learn estimators."""

import lazy_loader

from .version import __version__

# Names are imported when they are first used: scenes, scores and the baseline don't wait for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "architectures": ["FSRCNN", "FusionNet", "SRCNN", "SRCNNEx", "SRResNet", "SRVGG16"],
        "baseline": ["BicubicBaseline"],
        "datasets": ["fetch_probav", "make_scenes", "write_submission"],
        "imaging": ["cpsnr", "probav_score"],
        "losses": [
            "AdversarialLoss",
            "CPSNRLoss",
            "MSELoss",
            "MaskedMSELoss",
            "ReprojectionLoss",
            "SceneLoss",
        ],
        "meta": ["PerBand"],
        "plotting": ["plot_comparison"],
        "preprocessing": [
            "BicubicUpscaler",
            "ClearanceSelector",
            "FrameRegistrar",
            "InputComposer",
            "SceneTransformer",
        ],
        "published": ["published_configurations"],
        "scenes": ["Frames", "Scene", "load_scenes", "save_scenes"],
        "scoring": ["cpsnr_scorer", "probav_scorer"],
        "training": ["SceneNet", "SceneRegressor"],
    },
)
__all__ += ["__version__"]
