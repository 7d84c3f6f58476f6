"""Raster files that GDAL opens: paths and names, drivers by suffix, open files, errors."""

from __future__ import annotations

import errno
import glob
import os
import re
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "RASTER_SUFFIXES",
    "band_of_name",
    "check_one_band",
    "close_with",
    "find_files",
    "group_paths",
    "is_remote",
    "names_of_bands",
    "open_raster",
    "scene_name",
    "suffix_of",
]

_JPEG2000 = ("JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID")

# GDAL drivers by suffix. All but VRT, whose content names other files and addresses, read the
# pixels of the file alone. netCDF and HDF5 are left out: HDF5 has external storage.
_DRIVERS = {
    ".tif": ("GTiff",),
    ".tiff": ("GTiff",),
    ".jp2": _JPEG2000,
    ".j2k": _JPEG2000,
    ".img": ("HFA", "ENVI"),
    ".vrt": ("VRT",),
    ".png": ("PNG",),
    ".jpg": ("JPEG",),
    ".jpeg": ("JPEG",),
    ".msk": ("GTiff",),
}
_OTHER_DRIVERS = ("GTiff", "HFA", "ENVI", "EHdr", "AAIGrid", "RST", "SAGA", *_JPEG2000)

# Open files of a process: a fraction of the 256 of macOS and the 1024 of Linux.
_MAX_OPEN = 128

# Bytes of decoded blocks of the process: decoding a block of JPEG 2000 takes 0.1 s, and many
# windows share it.
_CACHE_BYTES = 128 << 20

#: Suffixes of the rasters of a folder.
RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".img", ".vrt")

# Files beside a raster that a pattern finds as well.
_SIDECARS = (".aux.xml", ".ovr", ".msk", ".tfw", ".wld", ".prj")

# Largest block, in bytes: it is decoded as a whole for any window.
_MAX_BLOCK_BYTES = 256 << 20

# B04 or B8A in a file's name.
_BAND = re.compile(r"(?<![A-Za-z0-9])B\d{1,2}A?(?![A-Za-z0-9])")

_TOO_MANY = (errno.EMFILE, errno.ENFILE)


def _import_rasterio():
    try:
        import rasterio
    except ImportError as error:
        raise ImportError(
            "GeoTIFFs and other rasters need rasterio: pip install probav_estimators[geo]"
        ) from error
    return rasterio


def find_files(paths: Any, name: str, suffixes: tuple[str, ...] = RASTER_SUFFIXES) -> list[str]:
    """Return the absolute paths of files and, sorted, of folders and patterns; at least one."""
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    files = [file for item in given for file in _expand(os.fspath(item), suffixes)]
    if not files:
        shown = ", ".join(repr(os.fspath(item)) for item in given) or "an empty list"
        raise FileNotFoundError(
            f"{name} is {shown}, and there is no raster file: check the folder, and put patterns "
            "such as 'dates/*_B04.tif' in quotes"
        )
    return files


def _expand(item, suffixes):
    if is_remote(item):
        return [item]
    if re.match(r"[A-Za-z0-9_]{2,}:", item) and not os.path.exists(item):
        raise ValueError(
            f"{item} is the name of a subdataset: open its file by xarray.open_dataset and give "
            "the cube to super_resolve, or write it as a GeoTIFF by gdal_translate"
        )
    if os.path.isdir(item):
        # As patterns do, without hidden files, such as those that macOS adds: ._B04.tif.
        names = [name for name in sorted(os.listdir(item)) if not name.startswith(".")]
        found = [os.path.join(item, name) for name in names if name.lower().endswith(suffixes)]
    elif os.path.exists(item) or not glob.has_magic(item):
        found = [item]
    else:
        found = sorted(glob.glob(item, recursive=True))
        found = [file for file in found if not file.lower().endswith(_SIDECARS)]
    if virtual := [file for file in found if suffix_of(file) == ".vrt" != suffix_of(item)]:
        raise ValueError(
            f"{virtual[0]} is found by {item!r}, and a VRT may name any other file or address: if "
            "you know its content, give its name or a pattern that ends in .vrt, else a pattern "
            "that leaves it out, such as '*.tif'"
        )
    return [os.path.abspath(file) for file in found if not os.path.isdir(file)]


def is_remote(path: str) -> bool:
    """Whether a path is an address, or one of GDAL's virtual file systems."""
    return "://" in path or path.startswith("/vsi")


def suffix_of(path: str) -> str:
    """Suffix of a path in lower case; the query of an address does not count."""
    name = path.partition("?")[0] if is_remote(path) else path
    return os.path.splitext(name)[1].lower()


def group_paths(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Any]:
    """Group files by band: each pattern is a band, plain paths are all of one."""
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    texts = [os.fspath(path) for path in given]
    if len(texts) == 1:
        return texts
    if any(glob.has_magic(text) and not os.path.exists(text) for text in texts):
        return texts
    return [texts]


def check_one_band(files: Sequence[str]) -> None:
    """Raise a ValueError if a pattern or a folder has the bands of a date as several files."""
    seen: dict[str, str] = {}
    for path in files:
        folder, name = os.path.split(path)
        rest, n_bands = _BAND.subn("", name)
        earlier = seen.setdefault(os.path.join(folder, rest), path)
        if n_bands and earlier != path:
            raise ValueError(
                f"{earlier} and {path} are two bands of one date: give the files of one band, "
                "such as 'dates/*_B04.tif'"
            )


def band_of_name(path: str) -> str | None:
    """Return the band, such as B04, that is the last in the name of a file."""
    found = _BAND.findall(os.path.basename(path))
    return found[-1] if found else None


def names_of_bands(paths: Sequence[str]) -> list[str]:
    """Return names of bands: the words by which the paths of their first files differ."""
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise ValueError(f"{path} is of two patterns: give one pattern for each band")
    words = [re.split(r"[^A-Za-z0-9]+", os.path.splitext(path)[0]) for path in paths]
    start = _n_common(words)
    words = [one[start:] for one in words]
    end = _n_common([one[::-1] for one in words])
    names = ["_".join(one[: len(one) - end]) for one in words]
    if all(names) and len(set(names)) == len(names):
        return names
    return [str(number) for number in range(1, len(paths) + 1)]


def _n_common(texts):
    """Number of words or letters that all begin with."""
    same = [len(set(parts)) == 1 for parts in zip(*texts, strict=False)]
    return [*same, False].index(False)


def scene_name(paths: Sequence[str]) -> str | None:
    """Common start of the files' names, without a part of a date, or the name of their folder."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    if len(stems) == 1:
        return stems[0]
    common = stems[0][: _n_common(stems)]
    if len(set(stems)) > 1:
        common = re.sub(r"[^_\-. ]*$", "", common)
    common = re.sub(r"(?:(?:^|[_\-. ]+)\d*)+$", "", common)
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    return common or os.path.basename(folder) or None


@contextmanager
def open_raster(path: str) -> Iterator[Any]:
    """Open a raster file by the drivers of its suffix; it stays open for the next reader.

    Parameters
    ----------
    path : str

    Yields
    ------
    rasterio.io.DatasetReader
        No other thread uses it meanwhile.

    Raises
    ------
    ValueError
        If it is no raster of its suffix, or is stored in very large blocks.
    OSError
        If it cannot be opened, or its pixels are damaged.
    """
    rasterio = _import_rasterio()
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES), _files.borrow(path) as file:
        try:
            yield file
        except rasterio.errors.RasterioError as error:
            if _is_too_many(error):
                raise _too_many_files(path) from error
            raise OSError(
                f"{path} cannot be read, it may be cut short or damaged: fetch it again "
                f"({_reason(error)})"
            ) from error


def close_with(owner: object, paths: Iterable[str]) -> None:
    """Close files once an object that reads them is no longer in use."""
    finalize(owner, _files.close_soon, frozenset(paths)).atexit = False


class _OpenFiles:
    """Open files of a process, each used by one thread at a time."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.changed = threading.Condition(threading.Lock())
        # ((path, state), file) of those that no thread uses, the last used at the end.
        self.idle: list[tuple[Any, Any]] = []
        self.n_open = 0
        self.to_close: deque[frozenset[str]] = deque()

    @contextmanager
    def borrow(self, path):
        """Open a file, or take it from those that are open and not used."""
        if self.process != os.getpid():
            # After a fork both processes would share the position in the file.
            self.__init__()
        key = path, _state_of(path)
        with self.changed:
            file = self._take(key) or self._open(path)
        try:
            yield file
        finally:
            with self.changed:
                self.idle.append((key, file))
                self._close_unused()
                self.changed.notify()

    def close_soon(self, paths):
        """Close files that are not used, now or, if the pool is in use, with its next change."""
        self.to_close.append(paths)
        # The garbage collector may call this in a thread that holds the lock.
        if self.changed.acquire(blocking=False):
            try:
                self._close_unused()
                self.changed.notify_all()
            finally:
                self.changed.release()

    def _close_unused(self):
        while self.to_close:
            paths = self.to_close.popleft()
            for entry in [entry for entry in self.idle if entry[0][0] in paths]:
                self._close(entry)

    def _close(self, entry):
        self.idle.remove(entry)
        self.n_open -= 1
        entry[1].close()

    def _take(self, key):
        number = next((i for i, (other, _) in enumerate(self.idle) if other == key), None)
        return None if number is None else self.idle.pop(number)[1]

    def _open(self, path):
        while self.n_open >= _MAX_OPEN:
            if self.idle:
                self._close(self.idle[0])
            else:
                self.changed.wait()
        try:
            file = _open(path)
        except OSError as error:
            if error.errno not in _TOO_MANY or not self.idle:
                raise
            while self.idle:
                self._close(self.idle[0])
            file = _open(path)
        self.n_open += 1
        return file


_files = _OpenFiles()


def _state_of(path):
    if is_remote(path):
        return None
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _open(path):
    rasterio = _import_rasterio()
    reader = rasterio.env.ensure_env_with_credentials(rasterio.io.DatasetReader)
    drivers = _DRIVERS.get(suffix_of(path), _OTHER_DRIVERS)
    try:
        # `warnings.catch_warnings` is not thread-safe: one file is opened at a time.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            file = reader(path, driver=list(drivers), sharing=False)
    except rasterio.errors.RasterioError as error:
        raise _open_error(path, drivers, error) from error
    try:
        _check_blocks(file, path)
    except ValueError:
        file.close()
        raise
    return file


def _check_blocks(file, path):
    """Refuse blocks that take much memory, before any pixel is read."""
    together = file.count if getattr(file.interleaving, "value", None) == "PIXEL" else 1
    for (height, width), kind in zip(file.block_shapes, file.dtypes, strict=True):
        itemsize = 16 if kind.startswith("complex") else np.dtype(kind).itemsize
        n_bytes = height * width * itemsize * together
        if n_bytes > _MAX_BLOCK_BYTES:
            raise ValueError(
                f"{path} is stored in blocks of {height}x{width} pixels, of which any window takes "
                f"whole ones, {n_bytes / 2**20:.0f} MiB each: write it in tiles, such as by "
                "gdal_translate -co TILED=YES"
            )


def _open_error(path, drivers, error):
    """Error of a file that cannot be opened, with its path and a remedy."""
    if _is_too_many(error):
        return _too_many_files(path)
    if not is_remote(path):
        try:
            os.close(os.open(path, os.O_RDONLY))
        except FileNotFoundError:
            return FileNotFoundError(f"{path} does not exist: check the name")
        except OSError as reason:
            if reason.errno in _TOO_MANY:
                return _too_many_files(path)
            return OSError(
                reason.errno, f"{path} cannot be opened ({reason.strerror}): check its permissions"
            )
    return ValueError(
        f"{path} is no raster, or is cut short: a file of this name is read by "
        f"{' or '.join(drivers)}; give rasters under the names of their formats, netCDF and HDF5 "
        f"as cubes of xarray, or fetch it again ({_reason(error)})"
    )


def _too_many_files(path):
    return OSError(
        errno.EMFILE,
        f"{path} cannot be opened, because this process has too many open files: close some, or "
        "raise the limit, such as by ulimit -n 4096",
    )


def _is_too_many(error):
    return any(os.strerror(number) in _reason(error) for number in _TOO_MANY)


def _reason(error):
    return str(error.__cause__ or error).strip().rstrip(".")
