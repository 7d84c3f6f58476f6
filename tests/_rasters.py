"""GeoTIFFs of a site in UTM zone 34."""

import warnings

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")

# Upper left corner.
LEFT, TOP = 600_000.0, 5_100_000.0


def write(path, values, *, size=10.0, place=(LEFT, TOP), crs="EPSG:32634", tags=None, **options):
    """Write an array (h, w) or (bands, h, w) as a tiled GeoTIFF, and return its path as text.

    The pixels are written last, so that they end the file. Other options are those of
    rasterio.open, and the scales, offsets and descriptions of the bands.
    """
    values = np.asarray(values)
    values = values if values.ndim == 3 else values[None]
    of_bands = {key: options.pop(key, None) for key in ("scales", "offsets", "descriptions")}
    count, height, width = values.shape
    profile = {"driver": "GTiff", "crs": crs, "dtype": values.dtype.name, "count": count}
    profile |= {"tiled": True, "blockxsize": 16, "blockysize": 16}
    if place is not None:
        profile["transform"] = rasterio.Affine(size, 0, place[0], 0, -size, place[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        file = rasterio.open(path, "w", height=height, width=width, **(profile | options))
    with file:
        for key, value in of_bands.items():
            if value is not None:
                setattr(file, key, value)
        file.update_tags(**(tags or {}))
        file.write(values)
    return str(path)
