"""STAC items of products on disk: Sentinel-2, Landsat, HLS and PROBA-V."""

from __future__ import annotations

import os
import re
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pystac import Item

__all__ = ["items_of_folder", "product_files"]

_TAR = (".tar", ".tar.gz", ".tgz")
_HDF5 = (".hdf5", ".h5")

_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"

# Common names of bands; those of Sentinel-2 in the order of its metadata.
_SENTINEL2 = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge071",
    "B06": "rededge075",
    "B07": "rededge078",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B10": "cirrus",
    "B11": "swir16",
    "B12": "swir22",
}


_TM = {"1": "blue", "2": "green", "3": "red", "4": "nir08", "5": "swir16", "7": "swir22"}
_OLI = {"1": "coastal", "2": "blue", "3": "green", "4": "red", "5": "nir08"}
_OLI |= {"6": "swir16", "7": "swir22"}
_HLS_L30 = {f"B0{number}": name for number, name in _OLI.items()}
_PROBAV = {"BLUE": "blue", "RED": "red", "NIR": "nir", "SWIR": "swir16"}


# Metadata that a path may name in place of the folder that holds it.
_METADATA = re.compile(r"MTD_MSIL(1C|2A)\.xml|L\w+_MTL\.txt")


class ProductFiles:
    """Files of a product in a folder, a zip or a tar archive.

    Parameters
    ----------
    path : str
        Of these, or of the metadata in a folder.

    Attributes
    ----------
    path : str
        Absolute.
    names : list of str
        Of all files, with the folders in `path`.
    """

    def __init__(self, path: str):
        self.path, self._prefix, metadata = os.path.abspath(path), "", None
        if os.path.isfile(path) and _METADATA.fullmatch(os.path.basename(path)):
            path, metadata = os.path.split(self.path)
            self.path = path
        if os.path.isdir(path):
            names = [
                os.path.relpath(os.path.join(folder, name), path).replace(os.sep, "/")
                for folder, _, names in os.walk(path)
                for name in names
            ]
        elif path.endswith(".zip"):
            self._prefix = "/vsizip/"
            with zipfile.ZipFile(path) as zipped:
                names = zipped.namelist()
        elif path.endswith(_TAR):
            self._prefix = "/vsitar/"
            with tarfile.open(path) as tarred:
                names = tarred.getnames()
        else:
            self.path, name = os.path.split(self.path)
            names = [name] if name.lower().endswith(_HDF5) else []
        if metadata is not None:
            # The folder may hold those of other products too.
            names = [name for name in names if name == metadata or not _METADATA.fullmatch(name)]
        # By names without the "./" that some archives have.
        self._members = {name.removeprefix("./"): name for name in sorted(names)}
        self.names = list(self._members)

    def find(self, pattern: str) -> dict[str, re.Match[str]]:
        """Return the files whose names end as a pattern says, with its matches."""
        found = {name: re.search(f"(?:^|/){pattern}$", name) for name in self.names}
        return {name: match for name, match in found.items() if match}

    def href(self, name: str) -> str:
        """Return the path by which GDAL opens a file."""
        return f"{self._prefix}{self.path}/{name}"

    def read(self, name: str) -> str:
        """Return the text of a file."""
        if self._prefix == "/vsizip/":
            with zipfile.ZipFile(self.path) as zipped:
                return zipped.read(self._members[name]).decode()
        if self._prefix == "/vsitar/":
            with tarfile.open(self.path) as tarred:
                file: Any = tarred.extractfile(self._members[name])
                return str(file.read().decode())
        with open(os.path.join(self.path, name), encoding="utf-8") as text:
            return text.read()


def product_files(path: str) -> ProductFiles | None:
    """Return the files of a product on disk, or None if a path is none.

    Raises
    ------
    ValueError
        If an archive is damaged.
    """
    if not os.path.exists(path):
        return None
    try:
        files = ProductFiles(path)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path} cannot be read ({error}): fetch the product again") from error
    return files if any(files.find(pattern) for pattern in _READERS) else None


def items_of_folder(path: str) -> Iterator[Item]:
    """Yield the items of the products in a folder or an archive.

    Raises
    ------
    ValueError
        If it holds no product, or its metadata or files cannot be read.
    """
    files = product_files(path)
    from rasterio.errors import RasterioError

    if files is None:
        raise ValueError(
            f"{path} is no product: give a folder or archive of Sentinel-2 (MTD_MSIL2A.xml), "
            "Landsat (MTL.txt) or HLS (Fmask.tif) with all its files, an HDF5 file of PROBA-V, or "
            "a STAC file"
        )
    for pattern, read in _READERS.items():
        for name, match in files.find(pattern).items():
            try:
                yield read(files, name, match)
            except (KeyError, IndexError, TypeError, ValueError, SyntaxError) as error:
                raise ValueError(
                    f"{files.href(name)} is not that of a complete product "
                    f"({type(error).__name__}: {error}): fetch the product again"
                ) from error
            except (OSError, RasterioError) as error:
                raise ValueError(
                    f"{path} has a file that cannot be read ({error}): fetch the product again"
                ) from error


def _item(name: str, time: datetime | str, assets: Mapping[str, Any], **properties: Any) -> Item:
    """Item of files: `assets` holds the href and the metadata of the band by key."""
    import pystac
    import rasterio
    from pystac.utils import str_to_datetime
    from rasterio.warp import transform_bounds

    if not assets:
        raise ValueError("no bands in the places that its metadata say")
    time = str_to_datetime(time) if isinstance(time, str) else time
    item = pystac.Item(name, None, None, time, properties, stac_extensions=[_PROJECTION])
    for key, (href, band) in assets.items():
        with rasterio.open(href) as file:
            band = {"data_type": file.dtypes[0], "nodata": file.nodata} | band
            grid = {
                "proj:wkt2": file.crs.to_wkt(),
                "proj:shape": list(file.shape),
                "proj:transform": list(file.transform)[:6],
            }
            west, south, east, north = transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        fields = grid | {"bands": [band]}
        item.add_asset(key, pystac.Asset(href, roles=["data"], extra_fields=fields))
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item.bbox = [west, south, east, north]
    item.geometry = {"type": "Polygon", "coordinates": [ring]}
    return item


def _reflectance(name: str, common_name: str | None, scale: float, offset: float = 0) -> Any:
    """Metadata of a band."""
    band = {"name": name, "raster:scale": scale, "raster:offset": offset}
    return band | ({"eo:common_name": common_name} if common_name else {})


def _sentinel2(files: ProductFiles, name: str, match: re.Match[str]) -> Item:
    """Item of a product in the layout of SAFE, of level 1C or 2A."""
    from xml.etree import ElementTree

    root = ElementTree.fromstring(files.read(name))
    found = {part.tag: (part.text or "").strip() for part in root.iter()}
    divisor = float(found.get("BOA_QUANTIFICATION_VALUE") or found["QUANTIFICATION_VALUE"])
    names = list(_SENTINEL2)
    offsets = {
        names[int(part.attrib["band_id"])]: float(part.text or 0)
        for tag in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET")
        for part in root.iter(tag)
    }
    folder = re.escape(name[: match.start()])
    images = files.find(rf"{folder}/?GRANULE/.*_(B\d[\dA]|SCL)(?:_(\d\d)m)?\.jp2")
    assets = {}
    # The finest file of a band is the last.
    for image, about in sorted(images.items(), key=lambda one: one[1][2] or "", reverse=True):
        band: dict[str, Any] = {}
        if (key := about[1]) in _SENTINEL2:
            offset = offsets.get(key, 0) / divisor
            band = _reflectance(key, _SENTINEL2[key], 1 / divisor, offset)
        assets[key] = (files.href(image), band | {"nodata": 0})
    properties = {
        "platform": found["SPACECRAFT_NAME"].lower(),
        "s2:product_type": found["PRODUCT_TYPE"],
        "s2:processing_baseline": found["PROCESSING_BASELINE"],
        "eo:cloud_cover": float(found["Cloud_Coverage_Assessment"]),
    }
    product = found["PRODUCT_URI"].removesuffix(".SAFE")
    return _item(product, found["PRODUCT_START_TIME"], assets, **properties)


def _landsat(files: ProductFiles, name: str, match: re.Match[str]) -> Item:
    """Item of a product of Landsat's Collection 2, of level 1 or 2."""
    groups = _groups_of_mtl(files.read(name))
    contents, about = groups["PRODUCT_CONTENTS"], groups["IMAGE_ATTRIBUTES"]
    level = contents["PROCESSING_LEVEL"]
    common_names = _OLI if about["SPACECRAFT_ID"] in ("LANDSAT_8", "LANDSAT_9") else _TM
    if level.startswith("L2"):
        pattern = r"(SR_B(\d)|QA_PIXEL)"
        factors = groups["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"]
    else:
        pattern, factors = r"(B(\d)|QA_PIXEL)", groups["LEVEL1_RADIOMETRIC_RESCALING"]
    images = files.find(rf"{re.escape(match[1])}_{pattern}\.(?:TIF|tif)")
    assets = {}
    for image, one in images.items():
        if one[2] is None:
            assets[one[1]] = (files.href(image), {"nodata": 1})
        elif (scale := factors.get(f"REFLECTANCE_MULT_BAND_{one[2]}")) is not None:
            offset = float(factors[f"REFLECTANCE_ADD_BAND_{one[2]}"])
            band = _reflectance(f"B{one[2]}", common_names.get(one[2]), float(scale), offset)
            assets[one[1]] = (files.href(image), band | {"nodata": 0})
    properties = {
        "platform": about["SPACECRAFT_ID"].lower().replace("_", "-"),
        "landsat:correction": level,
        "eo:cloud_cover": float(about["CLOUD_COVER"]),
    }
    # Seconds have seven decimals.
    time = f"{about['DATE_ACQUIRED']}T{about['SCENE_CENTER_TIME'].rstrip('Z')[:15]}Z"
    return _item(contents["LANDSAT_PRODUCT_ID"], time, assets, **properties)


def _groups_of_mtl(text: str) -> dict[str, dict[str, str]]:
    """Values of Landsat's MTL.txt by group and name."""
    groups: dict[str, dict[str, str]] = {}
    group: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = groups.setdefault(value, {})
        elif key != "END_GROUP":
            group[key] = value.strip('"')
    return groups


def _hls(files: ProductFiles, name: str, match: re.Match[str]) -> Item:
    """Item of a product of HLS, L30 or S30."""
    import rasterio

    common_names = _HLS_L30 if match[2] == "L" else _SENTINEL2
    assets = {}
    for image, one in files.find(rf"{re.escape(match[1])}\.(B\d[\dA]|Fmask)\.tif").items():
        if one[1] in common_names:
            band = _reflectance(one[1], common_names[one[1]], 1e-4)
            assets[one[1]] = (files.href(image), band | {"nodata": -9999})
        elif one[1] == "Fmask":
            assets[one[1]] = (files.href(image), {"nodata": 255})
    with rasterio.open(files.href(name)) as file:
        cover = file.tags().get("cloud_coverage")
    properties: dict[str, Any] = {"platform": "landsat" if match[2] == "L" else "sentinel-2"}
    if cover is not None:
        properties["eo:cloud_cover"] = float(cover)
    time = datetime.strptime(match[3], "%Y%jT%H%M%S").replace(tzinfo=UTC)
    return _item(match[1], time, assets, **properties)


def _probav(files: ProductFiles, name: str, match: re.Match[str]) -> Item:
    """Item of a synthesis of PROBA-V, S1 to S10, of TOA or TOC reflectance."""
    import h5py

    def asset(dataset, band):
        reference_x, reference_y, x, y, width, height = map(float, dataset.attrs["MAPPING"][1:7])
        left, top = x - reference_x * width, y + reference_y * height
        right, bottom = left + dataset.shape[1] * width, top - dataset.shape[0] * height
        source = f'HDF5:"{files.href(name)}":/{dataset.name}'
        place = f"a_srs=EPSG:4326&a_ullr={left!r},{top!r},{right!r},{bottom!r}"
        return f"vrt://{source}?{place}", band

    assets = {}
    with h5py.File(files.href(name)) as file:
        level = next(file[group] for group in file if group.startswith("LEVEL"))
        for band, common_name in _PROBAV.items():
            dataset = level[f"RADIOMETRY/{band}/{match[3]}"]
            scale, offset = (float(dataset.attrs[key]) for key in ("SCALE", "OFFSET"))
            about = _reflectance(band, common_name, 1 / scale, -offset / scale)
            nodata = float(dataset.attrs.get("NO_DATA", -1))
            assets[band] = asset(dataset, about | {"nodata": nodata})
        assets["SM"] = asset(level["QUALITY/SM"], {})
    # A synthesis is of a day or several: the middle of the first one.
    time = datetime.strptime(f"{match[4]}12", "%Y%m%d%H").replace(tzinfo=UTC)
    level = {"processing:level": f"{match[2]} {match[3]}"}
    return _item(match[1], time, assets, platform="proba-v", **level)


# What makes the item of a product, by the pattern of a file that each has once.
_READERS = {
    r"MTD_MSIL(?:1C|2A)\.xml": _sentinel2,
    r"(L\w+)_MTL\.txt": _landsat,
    r"(HLS\.([LS])30\.T\w{5}\.(\d{7}T\d{6})\.v[\d.]+)\.Fmask\.tif": _hls,
    r"(PROBAV_(S\d+)_(TO[AC])_\w+_(\d{8})_\w+)\.(?:HDF5|hdf5|h5)": _probav,
}
