"""The file norm.csv: one "name N" per line, the baseline's cPSNR of every scene."""

import math
import os
import re
from pathlib import Path

from ..files import replace_file
from ._layout import DEPTH, NORMS_NAME, can_name_folder

_NUMBER = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

# Hundreds of thousands of scenes.
_MAX_BYTES = 2**24


def read_norms(path: str | os.PathLike[str]) -> dict[str, float]:
    """Read a norm.csv.

    Returns
    -------
    dict of str to float
        N in dB by scene name.

    Raises
    ------
    ValueError
        If a line is not a name and a positive number, a name comes twice, or the file is no text.
    """
    norms = {}
    if (size := Path(path).stat().st_size) > _MAX_BYTES:
        raise ValueError(
            f'{path} has {size:,} bytes, more than any list of "name N": restore it, or remove it'
        )
    try:
        # With or without the mark that some editors put in front.
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file ({error}): restore it, or remove it") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *values = line.replace(",", " ").split()
        norm = _as_norm(values)
        if norm is None or not can_name_folder(name):
            raise ValueError(
                f'{path}, line {number} is {line!r}: it must be "name N", with N a positive '
                "number of dB; without its line, a scene's N is computed"
            )
        if name in norms:
            raise ValueError(f"{path}, line {number}: {name} is there twice, remove one line")
        norms[name] = norm
    return norms


def find_norms(folder: str | os.PathLike[str]) -> dict[str, float]:
    """Read the nearest norm.csv in `folder` or above it, as far as a data set is deep.

    Returns
    -------
    dict of str to float
        Empty if there is none.
    """
    folder = Path(folder)
    for place in [folder, *folder.parents][: DEPTH + 1]:
        if (place / NORMS_NAME).is_file():
            return read_norms(place / NORMS_NAME)
    return {}


def add_norm(path: Path, name: str, norm: float) -> None:
    """Add a line to a norm.csv, which is replaced as a whole; others must not write it."""
    merged = (read_norms(path) if path.exists() else {}) | {name: norm}
    with replace_file(path) as partial:
        lines = (f"{name} {norm!r}\n" for name, norm in sorted(merged.items()))
        partial.write_text("".join(lines), "utf-8")


def _as_norm(values):
    # float() would take underscores and digits of any script.
    if len(values) != 1 or not _NUMBER.fullmatch(values[0]):
        return None
    norm = float(values[0])
    return norm if math.isfinite(norm) and norm > 0 else None
