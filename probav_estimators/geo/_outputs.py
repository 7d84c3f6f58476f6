"""Files that images are written to: their formats by suffix, GeoTIFFs of blocks, previews."""

from __future__ import annotations

import os
import shutil
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..files import check_target, remove_partial_files, replace_files
from ..imaging import grey_limits
from ._block_store import BlockStoreError
from ._cube_grid import with_grid
from ._encoding import PART_DTYPES, layers_of

if TYPE_CHECKING:
    from ._block_store import BlockStore
    from ._imagery import Site, SitePlan

__all__ = ["Outputs", "check_outputs", "check_room", "predictor_of", "write_outputs"]

# Pixels of a preview along each axis, and its percentiles of black and white.
_PREVIEW = 1024
_DARK_AND_BRIGHT = 2, 98

# Sizes of the tiles of a GeoTIFF, and of the chunks of netCDF files and Zarr stores.
_LARGEST_TILE, _SMALLEST_TILE, _CHUNK = 512, 128, 512

# Bytes of the cache of GDAL.
_CACHE = 128 << 20

# Size of a file against that of its values, at most.
_OVERHEAD = 1.1


@dataclass(frozen=True)
class _Format:
    """Format of an image.

    Attributes
    ----------
    name : str
    driver : str, default=None
        Of GDAL; None: it is written by xarray.
    dtypes : tuple of str, default=()
        Types of the values that it holds without loss; none: all.
    counts : tuple of int, default=()
        Numbers of bands that are no colours and no transparency in it; none: any.
    options : tuple of (str, str) pairs
        Of the driver.
    library : str, default=None
        What writes it, besides xarray.
    """

    name: str
    driver: str | None = None
    dtypes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    library: str | None = None

    @property
    def is_geotiff(self) -> bool:
        return self.driver in ("GTiff", "COG")

    def check(self, path: Path, dtype: np.dtype[Any], count: int) -> None:
        """Raise a ValueError if the format does not hold values of a type or a number of bands."""
        if self.dtypes and dtype.name not in self.dtypes:
            what = f"values of type {dtype.name}: it holds {', '.join(self.dtypes)}"
        elif self.counts and count not in self.counts:
            what = f"{count} bands: it holds {' or '.join(map(str, self.counts))}"
        else:
            return
        raise ValueError(f"{path} is to be a {self.name} of {what}; give a name that ends in .tif")


_GEOTIFF = _Format("GeoTIFF", "GTiff")
_COG = _Format(
    "GeoTIFF",
    "COG",
    options=(
        ("COMPRESS", "DEFLATE"),
        ("OVERVIEW_RESAMPLING", "AVERAGE"),
        ("BIGTIFF", "IF_SAFER"),
    ),
)
_FORMATS = {
    ".tif": _GEOTIFF,
    ".tiff": _GEOTIFF,
    ".jp2": _Format(
        "JPEG 2000",
        "JP2OpenJPEG",
        dtypes=("uint8", "int16", "uint16"),
        # A fourth band would be transparency.
        counts=(1, 3),
        options=(("QUALITY", "100"), ("REVERSIBLE", "YES")),
    ),
    ".png": _Format("PNG", "PNG", dtypes=("uint8", "uint16"), counts=(1, 3)),
    ".nc": _Format("netCDF file", library="netCDF4"),
    ".zarr": _Format("Zarr store", library="zarr"),
}


@dataclass(frozen=True)
class Outputs:
    """Files to write.

    Attributes
    ----------
    image : Path
        The suffixes of images name their formats: GeoTIFF, JPEG 2000, PNG, netCDF or Zarr.
    std, n_clear, preview : Path or None
        Standard deviations, numbers of clear frames, and a PNG to look at.
    cog : bool
        Whether GeoTIFFs are cloud-optimised.
    made_by : str
        Name of the call in the history of the files.
    measured : Path or None
        What in the image was measured: for each band the three images of
        :class:`~probav_estimators.architectures.ImageParts`, as bands of one file.
    """

    image: Path
    std: Path | None = None
    n_clear: Path | None = None
    preview: Path | None = None
    cog: bool = False
    made_by: str = "super_resolve_files"
    measured: Path | None = None

    @property
    def images(self) -> dict[str, Path]:
        """Paths of the images by content."""
        paths = {
            "image": self.image,
            "std": self.std,
            "n_clear": self.n_clear,
            "parts": self.measured,
        }
        return {part: path for part, path in paths.items() if path is not None}

    @property
    def sidecars(self) -> dict[str, Path]:
        """Paths of the files of the georeference, of formats that do not hold it, by content."""
        return {
            part: path.with_name(f"{path.name}.aux.xml")
            for part, path in self.images.items()
            if _format_of(path).driver is not None and not _format_of(path).is_geotiff
        }

    @property
    def all(self) -> list[Path]:
        """Paths of all files."""
        pictures = [] if self.preview is None else [self.preview]
        return [*self.images.values(), *self.sidecars.values(), *pictures]

    def check(self) -> None:
        """Raise a ValueError for names without a known format."""
        for path in self.images.values():
            form = _format_of(path)
            if self.cog and not form.is_geotiff:
                raise ValueError(
                    f"{path} is to be a {form.name}, and only GeoTIFFs are cloud-optimised: leave "
                    "cog out, or give names that end in .tif"
                )
        if self.preview is not None and self.preview.suffix.lower() != ".png":
            raise ValueError(f"{self.preview} is the name of a preview: give one that ends in .png")

    @property
    def parts(self) -> Path:
        """The folder of blocks."""
        return self.image.with_name(f"{self.image.name}.parts")


def _format_of(path):
    """Format of an output by its suffix; an error if none is written, or its library is missing."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        what = "a VRT, which holds no pixels of its own" if suffix == ".vrt" else "no format by it"
        raise ValueError(
            f"{path} is the name of the output, and {what}: give one that ends in "
            f"{', '.join(_FORMATS)}"
        )
    found = _FORMATS[suffix]
    if found.library is not None and find_spec(found.library) is None:
        raise ImportError(
            f"{path} is to be a {found.name}, which needs {found.library}: "
            "pip install probav_estimators[geo]"
        )
    return found


def check_outputs(outputs: Outputs, site: Site, inputs: Iterable[str]) -> None:
    """Raise an error for outputs that do not hold a site, or have one name or that of an input."""
    for part, path in outputs.images.items():
        _format_of(path).check(path, _dtype_of(part, site), len(_layers_of(part, site)))
    # A link is written where it points to.
    read = set(map(os.path.realpath, inputs))
    for path in outputs.all:
        if os.path.realpath(path) in read:
            raise ValueError(f"{path} is one of the files to read: give the output another name")
        check_target(path)
    if len(set(map(os.path.realpath, outputs.all))) < len(outputs.all):
        raise ValueError("outputs have one name: give each file its own")


def check_room(outputs: Outputs, site: Site, scale: int, store: BlockStore) -> None:
    """Raise an OSError if the blocks and the files do not fit on the disk."""
    h, w = site.grid.finer(scale).shape
    wanted = [
        _dtype_of(part, site).itemsize * len(_layers_of(part, site)) for part in outputs.images
    ]
    # All blocks, all files, and a copy of the largest before it is converted.
    converted = outputs.cog or not all(_format_of(x).is_geotiff for x in outputs.images.values())
    copies = 2 * sum(wanted) + (max(wanted) if converted else 0)
    needed = _OVERHEAD * copies * h * w - store.size()
    free = shutil.disk_usage(outputs.image.absolute().parent).free
    if free < needed:
        raise OSError(
            f"{outputs.image} and its blocks take up to {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free on that disk: make room, write to another, or take a "
            "smaller window"
        )


def write_outputs(
    outputs: Outputs, site: Site, plan: SitePlan, store: BlockStore, attrs: Mapping[str, Any]
) -> None:
    """Write all files from the blocks in a store, with tags; none appears before all are complete.

    An OSError is raised if the disk is full or a file cannot be written.
    """
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    for path in outputs.all:
        remove_partial_files(path)
    try:
        with replace_files(outputs.all) as partials:
            files = dict(zip(outputs.all, partials, strict=True))
            for part in outputs.images:
                _write_image(outputs, files, part, site, plan, store, attrs)
            store.record_outputs(files)
    except BlockStoreError:
        raise
    except (OSError, RasterioError, CPLE_BaseError) as error:
        why = str(error.__cause__ or error).strip().rstrip(".")
        if isinstance(error, OSError) and error.errno:
            why = os.strerror(error.errno)
        raise OSError(
            f"{outputs.image} cannot be written ({why}): make room, and repeat the call, which "
            f"goes on with the blocks in {outputs.parts}"
        ) from error


def _write_image(outputs, files, part, site, plan, store, attrs):
    """Write one image, by way of a GeoTIFF if it has another format, and its preview."""
    import rasterio

    path = files[outputs.images[part]]
    form = _COG if outputs.cog else _format_of(outputs.images[part])
    plain = path if form is _GEOTIFF else path.with_name(f"{path.name}.plain")
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE):
            sums = _write_geotiff(plain, site, plan, store, part, attrs)
            if plain != path:
                _convert(plain, path, form, site, plan, part, attrs)
            if part in outputs.sidecars:
                shutil.move(f"{path}.aux.xml", files[outputs.sidecars[part]])
            _check_sums(plain if form.driver is None else path, sums, form.driver or "GTiff")
            if part == "image" and outputs.preview is not None:
                _write_preview(files[outputs.preview], path if form.is_geotiff else plain)
    finally:
        if plain != path:
            plain.unlink(missing_ok=True)


def _layers_of(part, site):
    return layers_of(part, site.encodings.values())


def _dtype_of(part, site):
    """Type of the values of an output."""
    return PART_DTYPES.get(part, next(iter(site.encodings.values())).dtype)


def _write_geotiff(path, site, plan, store, part, attrs):
    """Write blocks to one GeoTIFF; returns checksums of its strips, by their rows and bands."""
    import rasterio

    grid, bands = site.grid.finer(plan.scale), list(site.encodings)
    layers, dtype = _layers_of(part, site), _dtype_of(part, site)
    first = site.encodings[bands[0]]
    tile = _tile_size(plan)
    profile = {
        "height": grid.shape[0],
        "width": grid.shape[1],
        "count": len(layers),
        "dtype": dtype.name,
        "nodata": {"image": first.nodata, "n_clear": None}.get(part, np.nan),
        "crs": grid.crs,
        "transform": rasterio.Affine(*grid.transform),
        "tiled": True,
        "blockxsize": tile,
        "blockysize": tile,
        "interleave": "band",
        "compress": "deflate",
        "predictor": predictor_of(dtype),
        "zlevel": 4,
        "bigtiff": "if_safer",
    }
    sums = {}
    with _open_quietly(path, "w", **profile) as file:
        # A file of one array for each band names it after the band.
        file.descriptions = [
            bands[one.band] + ("" if one.number is None else one.suffix) for one in layers
        ]
        file.update_tags(**_tags(attrs))
        if part != "n_clear":
            file.scales = [layer.scale for layer in layers]
            file.offsets = [layer.offset for layer in layers]
        for number, layer in enumerate(layers, 1):
            for row, values in _strips(plan, store, layer, part, tile):
                window = rasterio.windows.Window(0, row, grid.shape[1], len(values))
                file.write(values, number, window=window)
                sums[row, len(values), number] = zlib.crc32(values)
    return sums


def predictor_of(dtype: np.dtype[Any]) -> int:
    """Number of the predictor of a compressed GeoTIFF: 3 of floats, 2 of integers, 1 of none."""
    if dtype.kind == "f":
        return 3
    # libtiff up to 4.3 has none for 64 bits.
    return 2 if dtype.itemsize < 8 else 1


def _strips(plan, store, layer, part, tile):
    """(first row, values) of strips of a layer that are as high as whole tiles."""
    first, rest = 0, None
    for _, row in groupby(plan.blocks, key=lambda block: block.rows.start):
        arrays = [store.load(block.number, layer.band, part) for block in row]
        if layer.number is not None:
            arrays = [array[layer.number] for array in arrays]
        strip = np.concatenate(arrays, axis=1)
        strip = strip if rest is None else np.concatenate([rest, strip])
        whole = len(strip) // tile * tile
        if whole:
            yield first, np.ascontiguousarray(strip[:whole])
        first, rest = first + whole, strip[whole:]
    if len(rest):
        yield first, np.ascontiguousarray(rest)


def _check_sums(path, sums, driver):
    """Compare a file with the values written: GDAL may lose errors of a full disk on closing."""
    import rasterio

    with _open_quietly(path, driver="GTiff" if driver == "COG" else driver) as file:
        for (row, height, band), expected in sums.items():
            window = rasterio.windows.Window(0, row, file.width, height)
            if zlib.crc32(np.ascontiguousarray(file.read(band, window=window))) != expected:
                raise OSError(f"rows {row} to {row + height} are not there")


def _open_quietly(path, mode="r", *, driver="GTiff", **profile):
    import rasterio

    with warnings.catch_warnings():
        # Frames without georeference give an image without one.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path, mode, driver=driver, **profile)


def _tile_size(plan):
    """Size of tiles that divides blocks, so that each tile is written once."""
    side = plan.scale * (plan.blocks[0].rows.stop - plan.blocks[0].rows.start)
    tile = _LARGEST_TILE
    while side % tile and tile > _SMALLEST_TILE:
        tile //= 2
    return tile


def _tags(attrs):
    texts = {
        key: ", ".join(f"{x:g}" for x in value) if isinstance(value, np.ndarray) else str(value)
        for key, value in attrs.items()
    }
    software = f"probav_estimators {attrs['model_version']}"
    return texts | {"TIFFTAG_SOFTWARE": software, "TIFFTAG_IMAGEDESCRIPTION": attrs["history"]}


def _convert(plain, path, form, site, plan, part, attrs):
    """Write the content of a GeoTIFF to a file or, of a Zarr store, a folder, without loss."""
    if form.driver is not None:
        import rasterio.shutil

        options = dict(form.options)
        if form is _COG:
            options["PREDICTOR"] = "YES" if predictor_of(_dtype_of(part, site)) > 1 else "NO"
        rasterio.shutil.copy(plain, path, driver=form.driver, **options)
        return
    import rioxarray

    chunks = {"x": _CHUNK, "y": _CHUNK}
    opened: Any = rioxarray.open_rasterio(plain, chunks=chunks, mask_and_scale=False)
    with opened as stored:
        grid = site.grid.finer(plan.scale)
        _write_dataset(_as_dataset(stored, grid, site.encodings, part, attrs), path, form)


def _write_dataset(images, path, form):
    if form.library == "zarr":
        writing = images.to_zarr(path, mode="w", zarr_format=2, consolidated=True, compute=False)
    else:
        for image in images.data_vars.values():
            chunks = tuple(min(_CHUNK, length) for length in image.shape)
            image.encoding |= {"zlib": True, "complevel": 4, "chunksizes": chunks}
        writing = images.to_netcdf(path, engine="netcdf4", compute=False)
    # One chunk in memory at a time.
    writing.compute(scheduler="synchronous")


def _as_dataset(stored, grid, encodings, part, attrs):
    """Lazy stored values with CF's attributes, one variable for each of the bands."""
    import xarray

    images = {}
    bands, kinds = list(encodings), list(encodings.values())
    for number, layer in enumerate(layers_of(part, encodings.values())):
        name = _name_of(bands[layer.band]) + layer.suffix
        image = xarray.DataArray(stored[number].data, dims=("y", "x"), attrs={"long_name": name})
        image.attrs |= _attrs_of(part, layer, kinds[layer.band])
        images[name] = with_grid(image, grid)
    return xarray.Dataset(images, attrs=dict(attrs))


def _name_of(band):
    """Name of a variable: that of a numbered band begins with a letter, and none has a slash."""
    return f"band_{band}" if band.isdigit() else band.replace("/", "_")


def _attrs_of(part, layer, encoding):
    if part == "n_clear":
        return {}
    attrs = {} if layer.scale == 1 else {"scale_factor": layer.scale}
    attrs |= {} if layer.offset == 0 else {"add_offset": layer.offset}
    fill = encoding.dtype.type(encoding.nodata) if part == "image" else np.float32(np.nan)
    return attrs | {"_FillValue": fill}


def _write_preview(path, image):
    """Write a PNG of a GeoTIFF, of at most 1024 x 1024 pixels.

    Of three bands or more, red, green and blue are shown where they are named as Sentinel-2's or in
    words, else the first three; of fewer, the first.
    """
    import rasterio

    with _open_quietly(image) as file:
        bands = _colours(list(file.descriptions))
        step = max(1, -(-max(file.shape) // _PREVIEW))
        shape = (len(bands), *(-(-length // step) for length in file.shape))
        values = file.read(
            bands, out_shape=shape, masked=True, resampling=rasterio.enums.Resampling.average
        )
    shown = np.zeros(shape, np.uint8)
    for number, band in enumerate(values):
        known = np.ma.filled(band.astype(np.float64), np.nan)
        low, high = grey_limits([known], _DARK_AND_BRIGHT)
        shown[number] = np.nan_to_num(255 * ((known - low) / (high - low)).clip(0, 1))
    picture = shown[0] if len(bands) == 1 else np.moveaxis(shown, 0, -1)
    Image.fromarray(picture).save(path, format="PNG")


def _colours(names):
    known = [{"b04", "b4", "red"}, {"b03", "b3", "green"}, {"b02", "b2", "blue"}]
    lower = [str(name).lower() for name in names]
    found = [next((i for i, name in enumerate(lower, 1) if name in of), None) for of in known]
    if all(found):
        return found
    return [1, 2, 3] if len(names) >= 3 else [1]
