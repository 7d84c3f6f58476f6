"""Files of the package that a call enters, counted with `sys.setprofile`.

A reader who follows the call opens about as many. Each call is run once before it is counted, so
that lazy imports are left out.
"""

import sys
import threading
from functools import cache
from pathlib import Path

from sklearn.pipeline import make_pipeline

import probav_estimators
from probav_estimators import (
    SRCNN,
    BicubicUpscaler,
    ClearanceSelector,
    FusionNet,
    InputComposer,
    make_scenes,
)
from probav_estimators.geo import Outputs, super_resolve_files

from ._measure import Figure
from .imagery import folder_of_dates

_PACKAGE = Path(probav_estimators.__file__).parent
_GOAL = 24


def benchmark(size=64):
    with folder_of_dates(4, size) as folder:
        calls = {
            "`Pipeline.fit` of SRCNN": _fit_srcnn,
            "`Pipeline.fit` of FusionNet": _fit_fusion_net,
            "`super_resolve_files`": lambda: _super_resolve(folder),
        }
        for name, call in calls.items():
            call()
            files = files_entered(call)
            yield Figure(
                f"files of the package that {name} enters",
                "-",
                f"at most {_GOAL}",
                f"{len(files)}: {', '.join(files)}",
                len(files) <= _GOAL,
            )


def files_entered(call):
    """Files of the package whose functions run during a call, sorted, relative to the package."""
    entered = set()

    def profile(frame, event, argument):
        if event == "call":
            entered.add(frame.f_code.co_filename)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    inside = (path for path in map(Path, entered) if path.is_relative_to(_PACKAGE))
    return sorted(path.relative_to(_PACKAGE).as_posix() for path in inside)


def _fit_srcnn():
    net = SRCNN(max_epochs=1, device="cpu", verbose=0)
    compose = InputComposer(mode="concat"), BicubicUpscaler(scale=3)
    make_pipeline(ClearanceSelector(k=4), *compose, net).fit(_scenes())


def _fit_fusion_net():
    net = FusionNet(width=16, depth=1, scale=3, max_epochs=1, device="cpu", verbose=0)
    make_pipeline(ClearanceSelector(k=4), net).fit(_scenes())


@cache
def _scenes():
    # Simulated once, before a call is counted.
    return make_scenes(4, size=16, n_frames=(4, 5), random_state=0)


def _super_resolve(folder):
    super_resolve_files(
        [str(folder / "*_B04.tif")],
        Outputs(folder / "sr.tif"),
        mask=str(folder / "*_SCL.tif"),
        estimator=FusionNet.from_pretrained(scale=3, verbose=0),
        overwrite=True,
    )
