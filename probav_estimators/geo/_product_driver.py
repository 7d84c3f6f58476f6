"""Driver of odc-loader whose errors name the file and the remedy."""

from __future__ import annotations

from typing import Any

from odc.loader import RioDriver, RioReader
from rasterio.errors import RasterioError

__all__ = ["ProductDriver"]


class ProductDriver(RioDriver):
    """Driver of rasterio that raises an OSError with a remedy for a file that cannot be read."""

    def open(self, src: Any, ctx: Any) -> RioReader:
        """Return the reader of a file."""
        return _ProductReader(src, ctx)


class _ProductReader(RioReader):
    def read(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read(*args, **options)
        except RasterioError as error:
            raise OSError(
                f"{self._src.uri} cannot be read ({error.__cause__ or error}): fetch the product "
                "again, or leave it out"
            ) from error
