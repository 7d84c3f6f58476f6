"""Download of the PROBA-V data set, and unpacking of archives in its layout."""

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pooch
from tqdm.auto import tqdm

from ..scenes import NORMS_NAME, find_scene_folders, list_scene_files
from ._archives import BAD_ARCHIVE, check_entry

_PAGE = "https://kelvins.esa.int/proba-v-super-resolution/data/"
_FOLDER = "probav_data"

# File in the folder of an unpacked archive: names, sizes and checksums of the archive's entries.
_ORIGIN = "unpacked_from.json"


@dataclass(frozen=True)
class _Archive:
    """Address and content of an archive."""

    url: str
    n_train: int
    n_test: int
    # The uncompressed pixels of the data set have about 2 GiB.
    max_unpacked_bytes: int = 4 * 2**30


_PROBAV = _Archive(
    "https://kelvins.esa.int/media/competitions/proba-v-super-resolution/probav_data.zip",
    n_train=1160,
    n_test=290,
)


def fetch_probav(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Download and unpack the PROBA-V super-resolution data set, unless present.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder for the data, in its subfolder ``probav_data``, or the data set's root itself, with
        ``norm.csv``. None: the environment variable ``PROBAV_DATA`` if it is set, else
        ``pooch.os_cache("probav_estimators")``.

    Returns
    -------
    pathlib.Path
        The data set's root, with ``train/``, ``test/`` and ``norm.csv``: 1,160 training and 290
        test scenes.

    Raises
    ------
    ConnectionError
        If the download fails.
    ValueError
        If the archive is damaged, unsafe to unpack or incomplete, or the folder has an incomplete
        data set. Only files downloaded by this call are removed.
    OSError
        If the disk is too small or the folder cannot be written.

    See Also
    --------
    load_scenes : List the scenes of a folder.

    Notes
    -----
    A complete data set needs no network access. An archive ``probav_data.zip`` that is present in
    the folder is unpacked and kept. There is no published checksum: the archive is checked by the
    CRC of every file, and number and content of its scenes. The data set appears at once when it is
    complete. One process at a time should fetch into a folder.

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
    """Unpack a zip in the data set's layout to `folder`, unless done already; return its root."""
    archive, folder = Path(archive), Path(folder)
    try:
        with zipfile.ZipFile(archive) as bundle:
            entries = bundle.infolist()
        origin = {entry.filename: [entry.file_size, entry.CRC] for entry in entries}
        marks = folder / _ORIGIN
        if not folder.exists():
            _unpack_whole(archive, folder, origin, quiet)
        elif not marks.is_file() or json.loads(marks.read_text(encoding="utf-8")) != origin:
            raise ValueError(
                "the folder exists and is not that archive's: give another one, or remove it"
            )
    except BAD_ARCHIVE as error:
        raise ValueError(f"{archive} cannot be unpacked to {folder}: {error}") from error
    return _find_root(folder)


def _unpack_whole(archive, folder, origin, quiet):
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _staging_of(folder) as staging:
        _unpack(archive, staging, _PROBAV.max_unpacked_bytes, disable=True if quiet else None)
        (staging / _ORIGIN).write_text(json.dumps(origin), encoding="utf-8")
        staging.replace(folder)


@contextmanager
def _staging_of(folder: Path) -> Iterator[Path]:
    """Temporary folder beside another; its fixed name lets the next call clear a killed one's."""
    staging = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _resolve_data_home(data_home):
    home = data_home or os.environ.get("PROBAV_DATA") or pooch.os_cache("probav_estimators")
    return Path(home).expanduser().absolute()


def _fetch(archive, home):
    root = home if (home / NORMS_NAME).is_file() else _find_root(home / _FOLDER)
    if not root.exists():
        _install(archive, root)
    elif (flaw := _find_flaw(root, archive)) is not None:
        raise ValueError(
            f"{root} is not the whole PROBA-V data set: {flaw}. Move it away or delete it and call "
            "fetch_probav again, or give another data_home."
        )
    return root


def _install(archive, root):
    """Unpack the archive, which is downloaded, and removed afterwards, unless it is present."""
    path = root.with_name(f"{_FOLDER}.zip")
    own = path.is_file()
    if not own:
        _download(archive.url, path, root)
    try:
        with _staging_of(root) as staging:
            _unpack(path, staging, archive.max_unpacked_bytes)
            unpacked = _find_root(staging)
            if (flaw := _find_flaw(unpacked, archive)) is not None:
                raise ValueError(flaw)
            unpacked.replace(root)
    except BAD_ARCHIVE as error:
        if not own:
            path.unlink()
        state = "kept. Move it away or delete it" if own else "removed"
        raise ValueError(
            f"{path} is not the PROBA-V data set: {error}. It was {state}. Call fetch_probav again "
            f"to download {archive.url}, or {_describe_manual_way(root)}"
        ) from error
    if not own:
        path.unlink()


def _download(url, path, root):
    try:
        pooch.retrieve(url, known_hash=None, fname=path.name, path=path.parent, progressbar=True)
    except OSError as error:  # those of requests are
        raise ConnectionError(
            f"downloading {url} to {path.parent} failed: {error}. Call fetch_probav again, or "
            f"{_describe_manual_way(root)}"
        ) from error


def _find_root(folder):
    """Return the folder of train/ or norm.csv: `folder`, or one below it that has either."""
    for name in ("train", NORMS_NAME):
        if found := [*folder.glob(name), *sorted(folder.glob(f"*/{name}"))]:
            return found[0].parent
    return folder


def _find_flaw(root, archive):
    """Describe what is missing in `root`; None if it is complete."""
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


def _unpack(archive_file, folder, max_bytes, *, disable=False):
    """Unpack a zip archive; zipfile checks sizes and CRCs."""
    with zipfile.ZipFile(archive_file) as bundle:
        entries = bundle.infolist()
        for entry in entries:
            check_entry(entry)
        n_bytes = sum(entry.file_size for entry in entries)
        if n_bytes > max_bytes:
            raise ValueError(f"it would unpack to {n_bytes:,} bytes, more than {max_bytes:,}")
        _check_disk_space(folder.parent, n_bytes)
        for entry in tqdm(entries, unit="file", desc="unpacking", disable=disable):
            bundle.extract(entry, folder)


def _check_disk_space(folder, n_bytes):
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            f"{folder} has {free:,} bytes free and {n_bytes:,} are needed: free some space, or "
            "give a folder on another disk."
        )


def _describe_manual_way(root):
    return (
        f"download it by hand from {_PAGE}, unpack it in {root} and use load_scenes({str(root)!r})."
    )
