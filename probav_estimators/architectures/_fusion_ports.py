"""Tensors that FusionNet's layers take."""

from ..ports import STACK, Port

FUSION_INPUTS = (
    Port(
        "frames",
        STACK,
        "frames in the scene's standard deviations around its level, brought to one gain and "
        "offset and moved onto each other by whole pixels",
    ),
    Port("weights", STACK, "1 where a frame is clear, else 0"),
    Port("fractions", ("batch", "frames", 2), "rest of their shifts (down, right), LR pixels"),
    Port(
        "distortion",
        ("batch", "frames", 2, "height", "width"),
        "how much more than that their content is shifted at each pixel, LR pixels",
    ),
    Port("level", ("batch", 1), "mean of the scene, pixel values"),
    Port("std", ("batch", 1), "standard deviation of the scene, pixel values"),
    Port(
        "psf",
        ("batch", "frames", 2),
        "standard deviations of the frames' point spread functions (down, right), LR pixels",
    ),
    Port(
        "blur",
        ("batch", 2),
        "most probable mean of the squares of psf, and its standard error; 0: it is known",
    ),
    Port(
        "orientation",
        ("batch", 2),
        "quarter turns and flip of the frames, which the image is turned back by; 0: as they lie; "
        "the same for a batch",
    ),
)
