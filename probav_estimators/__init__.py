"""Multi-image super-resolution of satellite images, as scikit-learn estimators."""

import lazy_loader

# Names are imported when they are first used: scenes, scores and the baseline don't wait for torch.
# They stand in __init__.pyi, for editors too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
