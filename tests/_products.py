"""Small satellite products in the layouts of their archives, and STAC items of them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pystac
import rasterio
from rasterio.warp import transform_bounds
from scipy.ndimage import gaussian_filter

CRS, CORNER = "EPSG:32633", (600_000, 5_000_040)
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"


def reflectance(seed=0, n_dates=4, shape=(48, 60), noise=0.002):
    """Frames of one smooth land surface, (t, h, w)."""
    rng = np.random.default_rng(seed)
    land = gaussian_filter(rng.standard_normal(shape), 1.5)
    land = 0.12 + 0.03 * land / land.std()
    return land + rng.normal(0, noise, (n_dates, *shape))


def write_raster(path, values, *, corner=CORNER, size=10, crs=CRS, nodata=0, driver="GTiff", **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    if driver == "JP2OpenJPEG":
        how |= {"QUALITY": "100", "REVERSIBLE": "YES"}
    with rasterio.open(
        path,
        "w",
        driver=driver,
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype.name,
        crs=crs,
        transform=rasterio.transform.from_origin(*corner, size, size),
        nodata=nodata,
        **how,
    ) as file:
        file.write(values, 1)
    return path


def day(number):
    return datetime(2026, 6, 1, 10, 10, 31, tzinfo=UTC) + timedelta(days=5 * number)


def item(name, time, assets, **properties):
    """STAC item of files: assets holds a path, or a path and fields of the asset, by key."""
    about = {"platform": "sentinel-2a"} | properties
    made = pystac.Item(name, None, None, time, about, stac_extensions=[PROJECTION])
    corners = []
    for key, asset in assets.items():
        path, fields = asset if isinstance(asset, tuple) else (asset, {})
        with rasterio.open(path) as file:
            grid = {
                "proj:code": file.crs.to_string(),
                "proj:shape": list(file.shape),
                "proj:transform": list(file.transform)[:6],
            }
            corners.append(transform_bounds(file.crs, "EPSG:4326", *file.bounds))
            bands = [{"data_type": file.dtypes[0], "nodata": file.nodata}]
        fields = grid | {"raster:bands": [bands[0] | fields.pop("band", {})]} | fields
        made.add_asset(key, pystac.Asset(str(path), roles=["data"], extra_fields=fields))
    west, south, east, north = made.bbox = list(corners[0])
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    made.geometry = {"type": "Polygon", "coordinates": [ring]}
    return made
