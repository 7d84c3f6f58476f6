"""Multi-image super-resolution of satellite images, as scikit-learn estimators."""

import lazy_loader

# Names are imported when they are first used: scenes, scores and the baseline don't wait for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adversarial": ["AdversarialLoss"],
        "architectures": ["FSRCNN", "FusionNet", "SRCNN", "SRCNNEx", "SRResNet", "SRVGG16"],
        "baseline": ["BicubicBaseline"],
        "datasets": [
            "fetch_probav",
            "load_scenes",
            "make_scenes",
            "save_scenes",
            "write_submission",
        ],
        "estimator": ["SceneRegressor"],
        "losses": ["CPSNRLoss", "MSELoss", "MaskedMSELoss"],
        "meta": ["PerBand"],
        "metrics": ["cpsnr", "probav_score"],
        "preprocessing": [
            "BicubicUpscaler",
            "ClearanceSelector",
            "FrameRegistrar",
            "InputComposer",
        ],
        "plotting": ["plot_comparison"],
        "published": ["published_configurations"],
        "reprojection": ["ReprojectionLoss"],
        "scene": ["Scene"],
        "scene_net": ["SceneNet"],
        "scoring": ["cpsnr_scorer", "probav_scorer"],
    },
)

__version__ = "0.1.0.dev0"
