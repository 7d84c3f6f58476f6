"""Version of the package, and warnings about files of other versions."""

import warnings

__all__ = ["__version__", "warn_of_other_version"]

__version__ = "0.2.0"


def warn_of_other_version(version: str | None, what: str) -> None:
    """Warn if something was written by another version of this package.

    Parameters
    ----------
    version : str or None
        The version that wrote it; None if unknown.
    what : str
        Its name, for the warning.

    Warns
    -----
    UserWarning
        If the versions differ.
    """
    if version != __version__:
        wrote = "a version before 0.1.0" if version is None else f"version {version}"
        warnings.warn(
            f"{what} was written by {wrote} of probav_estimators and is read by {__version__}: "
            "results may differ; to be safe, write it again",
            stacklevel=3,
        )
