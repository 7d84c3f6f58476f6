"""The download of the real PROBA-V data set, and archives in its layout."""

import json
import os
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import pooch
import requests
from tqdm.auto import tqdm

from ..scenes import NORMS_NAME, find_scene_folders, list_scene_files

__all__ = ["fetch_probav", "unpack_data_set"]

_PAGE = "https://kelvins.esa.int/proba-v-super-resolution/data/"
_FOLDER = "probav_data"
_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 2**16

# Below the folder of an unpacked archive: what the archive held, by names, sizes and checksums.
_ORIGIN = "unpacked_from.json"

# What zipfile and this module raise for an archive that is damaged, hostile or incomplete.
_BAD_ARCHIVE = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)


@dataclass(frozen=True)
class _Archive:
    """Where the archive lies and what has to be in it."""

    url: str
    n_train: int
    n_test: int
    # As raw pixels, without any compression, the real data set would take about 2 GiB.
    max_unpacked_bytes: int = 4 * 2**30


_PROBAV = _Archive(
    "https://kelvins.esa.int/media/competitions/proba-v-super-resolution/probav_data.zip",
    n_train=1160,
    n_test=290,
)


def fetch_probav(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Download and unpack the PROBA-V super-resolution data set, unless it is there already.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder for the data: the data set goes into its subfolder ``probav_data``. A folder that
        is itself the root of the data set (it holds ``norm.csv``) is used as it is. None: the
        environment variable ``PROBAV_DATA`` if it is set, else
        ``pooch.os_cache("probav_estimators")``.

    Returns
    -------
    pathlib.Path
        The data set's root, which holds ``train/``, ``test/`` and ``norm.csv``: 1,160 training
        and 290 test scenes.

    Raises
    ------
    ConnectionError
        If the download fails or breaks off. What has arrived is kept in ``probav_data.zip.part``.
    ValueError
        If the archive is damaged, unsafe to unpack or not the whole data set, or if an incomplete
        data set is in the way. What this call downloaded is removed; all else is left as it is.
    OSError
        If the disk is too small or the folder cannot be written.

    See Also
    --------
    load_scenes : List the scenes of the folder that this returns.

    Notes
    -----
    A complete data set is found without network access, and so is an archive ``probav_data.zip`` in
    the folder, from a download by hand: it is unpacked and left where it is. A download that broke
    off is resumed by the next call where the server can do that, and starts over where it cannot.
    The archive has no published checksum: it is judged by its length, the CRC of every file and the
    number and content of its scenes. It is unpacked beside its final place and moved there by one
    rename, so a killed run leaves no half data set. One process at a time should fetch into a
    folder.

    References
    ----------
    .. [1] M. Märtens, D. Izzo, A. Krzic and D. Cox, "Super-resolution of PROBA-V images using
       convolutional neural networks", Astrodynamics 3, 387-402, 2019.
    .. [2] https://kelvins.esa.int/proba-v-super-resolution/data/

    Examples
    --------
    >>> from probav_estimators import fetch_probav, load_scenes
    >>> scenes = load_scenes(fetch_probav() / "train")  # doctest: +SKIP
    >>> len(scenes)  # doctest: +SKIP
    1160
    """
    return _fetch(_PROBAV, _resolve_data_home(data_home))


def unpack_data_set(
    archive: str | os.PathLike[str], folder: str | os.PathLike[str], *, quiet: bool = False
) -> Path:
    """Unpack a zip of scenes in the data set's layout, unless that was done already.

    Parameters
    ----------
    archive : path-like
        Zip of train/RED/imgset0000/LR000.png, ... and norm.csv, or of one folder that holds these.
        It is not changed.
    folder : path-like
        Where to unpack. It appears once everything is unpacked; its parents are made.
    quiet : bool, default=False
        Whether to show no progress; a terminal alone shows it.

    Returns
    -------
    pathlib.Path
        The data set's root: `folder`, or the folder in it that holds the scenes.

    Raises
    ------
    FileNotFoundError
        If there is no such archive.
    ValueError
        If the archive is damaged or unsafe to unpack, or if `folder` holds something else.
    OSError
        If the disk is too small or the folder cannot be written.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        origin = _describe_archive(archive)
        if folder.exists():
            _check_origin(archive, folder, origin)
        else:
            _unpack_whole(archive, folder, origin, quiet)
    except _BAD_ARCHIVE as error:
        raise ValueError(f"{archive} cannot be unpacked to {folder}: {error}") from error
    return _find_split_root(folder)


def _describe_archive(archive):
    with zipfile.ZipFile(archive) as bundle:
        return {entry.filename: [entry.file_size, entry.CRC] for entry in bundle.infolist()}


def _check_origin(archive, folder, origin):
    path = folder / _ORIGIN
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != origin:
        raise ValueError(
            "it is there already, and what it holds is not that archive: give another folder, or "
            "remove this one"
        )


def _unpack_whole(archive, folder, origin, quiet):
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The name is fixed, so that what a killed run left is cleared away by the next one.
    staging = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _unpack(archive, staging, _PROBAV.max_unpacked_bytes, disable=True if quiet else None)
        (staging / _ORIGIN).write_text(json.dumps(origin), encoding="utf-8")
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _find_split_root(folder):
    """Return the folder that holds norm.csv or train/: `folder` or one below it."""
    root = _find_root(folder)
    splits = [folder / "train", *sorted(folder.glob("*/train"))]
    return next((split.parent for split in splits if split.is_dir()), root)


def _resolve_data_home(data_home):
    home = data_home or os.environ.get("PROBAV_DATA") or pooch.os_cache("probav_estimators")
    return Path(home).expanduser().absolute()


def _fetch(archive, home):
    root = home if (home / NORMS_NAME).is_file() else _find_root(home / _FOLDER)
    if not root.exists():
        own_file = root.with_name(f"{_FOLDER}.zip")
        if own_file.is_file():
            _install_own(own_file, archive, root)
        else:
            _install_download(_download_archive(archive, root), archive, root)
    elif (flaw := _find_flaw(root, archive)) is not None:
        raise ValueError(
            f"{root} is not the whole PROBA-V data set: {flaw}. Move it away or delete it and call "
            "fetch_probav again, or give another data_home."
        )
    return root


def _find_root(folder):
    """Return the folder of norm.csv: `folder` itself, one below it, or `folder` if it is absent."""
    norm_files = [*folder.glob(NORMS_NAME), *sorted(folder.glob(f"*/{NORMS_NAME}"))]
    return norm_files[0].parent if norm_files else folder


def _find_flaw(root, archive):
    """Say what keeps `root` from being the whole data set, or None."""
    if not (root / NORMS_NAME).is_file():
        return f"{NORMS_NAME} is missing"
    for split, n_expected in (("train", archive.n_train), ("test", archive.n_test)):
        scenes = find_scene_folders(root / split) if (root / split).is_dir() else []
        if len(scenes) != n_expected:
            return f"{split} holds {len(scenes):,} scenes instead of {n_expected:,}"
        for scene in scenes:
            if not _is_whole_scene(scene, has_truth=split == "train"):
                return f"{scene.relative_to(root)} lacks images"
    return None


def _is_whole_scene(folder, *, has_truth):
    try:
        files = list_scene_files(folder)
    except ValueError:
        return False
    return bool(files.maps) and (not has_truth or None not in (files.hr, files.sm))


def _download_archive(archive, root):
    name = f"{_FOLDER}.zip"
    home = root.parent
    source = pooch.create(home, base_url="", registry={name: None}, urls={name: archive.url})
    downloader = partial(_resume_download, part=home / f"{name}.part")
    try:
        return Path(source.fetch(name, downloader=downloader))
    except requests.RequestException as error:
        raise ConnectionError(
            f"Downloading {archive.url} to {home} failed: {error}. Call fetch_probav again to go "
            f"on where it broke off, or {_describe_manual_way(root)}"
        ) from error


def _resume_download(url, output_file, pooch, *, part):
    """Download `url` by way of the file `part`; a pooch downloader once `part` is bound."""
    offset = part.stat().st_size if part.exists() else 0
    # The sizes that are compared below are those of the file, not of a compressed transfer.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as response:
        content_range = response.headers.get("Content-Range", "")
        is_rest = response.status_code == 206 and content_range.startswith(f"bytes {offset}-")
        is_whole = response.status_code == 416 and content_range == f"bytes */{offset}"
        if offset and response.status_code in (206, 416) and not (is_rest or is_whole):
            part.unlink()
            return _resume_download(url, output_file, pooch, part=part)
        if not is_whole:
            response.raise_for_status()
            _write_body(response, part, offset if is_rest else 0)
    part.replace(output_file)


def _write_body(response, part, offset):
    length = response.headers.get("Content-Length")
    total = None if length is None else offset + int(length)
    _check_disk_space(part.parent, 0 if length is None else int(length))
    with (
        part.open("ab" if offset else "wb") as stream,
        tqdm(total=total, initial=offset, unit="B", unit_scale=True, desc=part.stem) as progress,
    ):
        for chunk in response.iter_content(_CHUNK_BYTES):
            stream.write(chunk)
            progress.update(len(chunk))
    # urllib3 before version 2 ends a body that is too short without an error.
    if total is not None and part.stat().st_size != total:
        raise requests.ConnectionError(f"{part.stat().st_size:,} of {total:,} bytes arrived")


def _install_own(archive_file, archive, root):
    """Install a file that was there before, which is left in any case."""
    try:
        _install(archive_file, archive, root)
    except _BAD_ARCHIVE as error:
        raise ValueError(
            f"{archive_file} was there before and is not the PROBA-V data set: {error}. It was "
            f"left as it is. Move it away or delete it, and call fetch_probav again to download "
            f"{archive.url}, or {_describe_manual_way(root)}"
        ) from error


def _install_download(archive_file, archive, root):
    """Install a file that was downloaded just now, and remove it."""
    try:
        _install(archive_file, archive, root)
    except _BAD_ARCHIVE as error:
        archive_file.unlink()
        raise ValueError(
            f"{archive_file}, from {archive.url}, is not the PROBA-V data set: {error}. It was "
            f"removed. Call fetch_probav again to download it anew, or {_describe_manual_way(root)}"
        ) from error
    archive_file.unlink()


def _install(archive_file, archive, root):
    # The name is fixed, so that what a killed run left is cleared away by the next one.
    staging = root.with_name(f"{root.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _unpack(archive_file, staging, archive.max_unpacked_bytes)
        unpacked = _find_root(staging)
        if (flaw := _find_flaw(unpacked, archive)) is not None:
            raise ValueError(flaw)
        unpacked.replace(root)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack(archive_file, folder, max_bytes, *, disable=False):
    """Unpack a zip archive; zipfile compares each file with its declared size and its CRC."""
    with zipfile.ZipFile(archive_file) as bundle:
        entries = bundle.infolist()
        for entry in entries:
            _check_entry(entry)
        n_bytes = sum(entry.file_size for entry in entries)
        if n_bytes > max_bytes:
            raise ValueError(f"it would unpack to {n_bytes:,} bytes, more than {max_bytes:,}")
        _check_disk_space(folder.parent, n_bytes)
        for entry in tqdm(entries, unit="file", desc="unpacking", disable=disable):
            bundle.extract(entry, folder)


def _check_entry(entry):
    # A backslash and a drive letter lead out of the folder on Windows only: refused everywhere.
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
        raise ValueError(f"the entry {entry.filename!r} leads out of the folder")
    file_type = stat.S_IFMT(entry.external_attr >> 16)
    # Archives that were not made on Unix leave the file type 0.
    if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(f"the entry {entry.filename!r} is a link or a special file")


def _check_disk_space(folder, n_bytes):
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            f"{folder} has {free:,} bytes free and {n_bytes:,} are needed: free some space or call "
            "fetch_probav with a data_home on another disk."
        )


def _describe_manual_way(root):
    return (
        f"download it by hand from {_PAGE}, unpack it in {root} and use load_scenes({str(root)!r})."
    )
