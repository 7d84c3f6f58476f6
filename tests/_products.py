"""Small satellite products in the layouts of their archives, and STAC items of them."""

import shutil
from datetime import UTC, datetime, timedelta

import h5py
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


_LEVELS = {
    "L2A": ("BOA_QUANTIFICATION_VALUE", "BOA_ADD_OFFSET", "2A"),
    "L1C": ("QUANTIFICATION_VALUE", "RADIO_ADD_OFFSET", "1C"),
}


def make_safe(
    folder,
    time,
    bands,
    *,
    level="L2A",
    baseline="05.11",
    offset=-1000,
    tile="T33TXL",
    satellite="S2A",
    **grid,
):
    """Product of Sentinel-2 in the layout of SAFE; bands holds (pixel size, values) by name."""
    sensed = f"{time:%Y%m%dT%H%M%S}"
    version = f"N{baseline.replace('.', '')}_R022_{tile}_{sensed[:8]}T140000"
    root = folder / f"{satellite}_MSI{level}_{sensed}_{version}.SAFE"
    granule = root / "GRANULE" / f"{level}_{tile}_A041012_{sensed}"
    for name, (size, values) in bands.items():
        images, suffix = granule / "IMG_DATA", ""
        if level == "L2A":
            images, suffix = images / f"R{size}m", f"_{size}m"
        path = images / f"{tile}_{sensed}_{name}{suffix}.jp2"
        write_raster(path, values, size=size, nodata=None, driver="JP2OpenJPEG", **grid)
    quantification, adding, number = _LEVELS[level]
    offsets = "".join(
        f'<{adding} band_id="{i}">{offset}</{adding}>' for i in range(13 if offset else 0)
    )
    (root / f"MTD_MSI{level}.xml").write_text(
        f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{number}_User_Product
  xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{number}.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_START_TIME>{time:%Y-%m-%dT%H:%M:%S}.024Z</PRODUCT_START_TIME>
<PRODUCT_URI>{root.name}</PRODUCT_URI>
<PROCESSING_LEVEL>Level-{number}</PROCESSING_LEVEL><PRODUCT_TYPE>S2MSI{number}</PRODUCT_TYPE>
<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<Datatake datatakeIdentifier="GS"><SPACECRAFT_NAME>Sentinel-2{satellite[-1]}</SPACECRAFT_NAME>
</Datatake></Product_Info>
<Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
<QUANTIFICATION_VALUES_LIST><{quantification} unit="none">10000</{quantification}>
</QUANTIFICATION_VALUES_LIST>
<{adding}_VALUES_LIST>{offsets}</{adding}_VALUES_LIST>
</Product_Image_Characteristics></n1:General_Info>
<n1:Quality_Indicators_Info>
<Cloud_Coverage_Assessment>12.5</Cloud_Coverage_Assessment>
</n1:Quality_Indicators_Info></n1:Level-{number}_User_Product>"""
    )
    (granule / "MTD_TL.xml").write_text("<n1:Level_Tile_ID/>")
    (root / "manifest.safe").write_text("<xfdu:XFDU/>")
    return root


def zipped(folder):
    """Zip archive of a product folder, as archives deliver it; the folder is removed."""
    path = shutil.make_archive(str(folder), "zip", folder.parent, folder.name)
    shutil.rmtree(folder)
    return path


def make_landsat(folder, time, bands, *, number=8, level="L2SP", **grid):
    """Product of Landsat's Collection 2; bands holds values by the end of the file's name."""
    product = f"LC0{number}_{level}_191028_{time:%Y%m%d}_{time:%Y%m%d}_02_T1"
    root = folder / product
    for name, values in bands.items():
        nodata = 1 if name == "QA_PIXEL" else 0
        write_raster(root / f"{product}_{name}.TIF", values, size=30, nodata=nodata, **grid)
    (root / f"{product}_MTL.txt").write_text(
        f"""GROUP = LANDSAT_METADATA_FILE
  GROUP = PRODUCT_CONTENTS
    LANDSAT_PRODUCT_ID = "{product}"
    PROCESSING_LEVEL = "{level}"
    FILE_NAME_BAND_4 = "{product}_SR_B4.TIF"
  END_GROUP = PRODUCT_CONTENTS
  GROUP = IMAGE_ATTRIBUTES
    SPACECRAFT_ID = "LANDSAT_{number}"
    SENSOR_ID = "OLI_TIRS"
    DATE_ACQUIRED = {time:%Y-%m-%d}
    SCENE_CENTER_TIME = "{time:%H:%M:%S}.1234567Z"
    CLOUD_COVER = 12.50
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS
    REFLECTANCE_MULT_BAND_4 = 2.75e-05
    REFLECTANCE_MULT_BAND_5 = 2.75e-05
    REFLECTANCE_ADD_BAND_4 = -0.2
    REFLECTANCE_ADD_BAND_5 = -0.2
  END_GROUP = LEVEL2_SURFACE_REFLECTANCE_PARAMETERS
  GROUP = LEVEL1_RADIOMETRIC_RESCALING
    REFLECTANCE_MULT_BAND_4 = 2.0000E-05
    REFLECTANCE_MULT_BAND_5 = 2.0000E-05
    REFLECTANCE_ADD_BAND_4 = -0.100000
    REFLECTANCE_ADD_BAND_5 = -0.100000
  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING
END_GROUP = LANDSAT_METADATA_FILE
END
"""
    )
    return root


def tarred(folder):
    """Tar archive of the files of a product folder, as USGS delivers it; the folder is removed."""
    path = shutil.make_archive(str(folder), "tar", folder)
    shutil.rmtree(folder)
    return path


def make_hls(folder, time, bands, *, kind="L30", **grid):
    """Product of HLS; bands holds values by name."""
    product = f"HLS.{kind}.T33TXL.{time:%Y%jT%H%M%S}.v2.0"
    root = folder / product
    for name, values in bands.items():
        nodata = 255 if name == "Fmask" else -9999
        path = root / f"{product}.{name}.tif"
        write_raster(path, values, size=30, nodata=nodata, **grid)
        with rasterio.open(path, "r+") as file:
            file.update_tags(cloud_coverage="12", SENSING_TIME=f"{time:%Y-%m-%dT%H:%M:%S}Z")
    return root


def make_probav(folder, time, bands, clouds, *, kind="S5", reflectance="TOC", corner=(15.0, 45.0)):
    """HDF5 file of PROBA-V; bands holds values by name, corner is the centre of the first pixel."""
    size = 1 / 1008
    mapping = ["Geographic Lat/Lon", "0.5", "0.5", *map(repr, corner), repr(size), repr(size)]
    path = folder / f"PROBAV_{kind}_{reflectance}_X19Y03_{time:%Y%m%d}_100M_V101.HDF5"
    # Clear land with good radiometry and coverage of all bands, or cloud.
    status = np.where(clouds, 0b1111_1111_1011, 0b1111_1111_1000).astype("uint16")
    layers = {f"RADIOMETRY/{name}/{reflectance}": values for name, values in bands.items()}
    with h5py.File(path, "w") as file:
        for name, values in (layers | {"QUALITY/SM": status}).items():
            dataset = file.create_dataset(f"LEVEL3/{name}", data=values, compression="gzip")
            dataset.attrs["MAPPING"] = np.array([*mapping, "WGS84", "Degrees"], "S32")
            dataset.attrs["SCALE"] = 1.0 if name == "QUALITY/SM" else 2000.0
            dataset.attrs["OFFSET"] = 0.0
    return path
