"""STAC items of catalogs, item collections, STAC APIs and product folders."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from ._product_folders import items_of_folder, product_files

if TYPE_CHECKING:
    from pystac import Item

    #: A path or URL, an item or a collection of items, or several of these.
    Sources = Any

    #: Date or interval, as text in the form of STAC.
    When = str | date

__all__ = ["find_items", "import_stac", "is_product", "time_of"]

_JSON = (".json", ".geojson")

# Names of products of Sentinel-2, Landsat and HLS, also of those that lack files.
_PRODUCT_NAME = re.compile(
    r"(\.SAFE|(^|/)L[A-Z]0\d_L[12]\w\w_[^/.]*|(^|/)HLS\.[LS]30\.[^/]*\.v\d\.\d)(\.zip|\.tar)?/?$"
)


def import_stac() -> Any:
    """Return the module odc.stac; an ImportError that names the extra if it is missing."""
    try:
        import odc.stac
        import pystac_client  # noqa: F401 - part of the extra
    except ImportError as error:
        raise ImportError(
            "satellite products and STAC items need odc-stac: pip install probav_estimators[stac]"
        ) from error
    return odc.stac


def is_product(path: str | os.PathLike[str]) -> bool:
    """Return whether a path or a pattern is that of STAC files or products, by name or content."""
    path = next(iter(_paths_of(os.fspath(path))), "")
    named = path.endswith(_JSON) or _PRODUCT_NAME.search(path) is not None
    return named or product_files(path) is not None


def _paths_of(text: str) -> list[str]:
    """The paths that fit a pattern, or a path itself."""
    if glob.has_magic(text) and not os.path.exists(text):
        return sorted(glob.glob(text))
    return [text]


def find_items(
    sources: Sources,
    *,
    collection: str | None,
    bbox: Sequence[float] | None,
    when: When | None,
    max_cloud: float | None,
) -> list[Item]:
    """Return the items of all sources that fit, by their dates.

    Parameters
    ----------
    sources : path, URL, Item, ItemCollection, Catalog, or sequence of these
    collection : str or None
        Name of a collection of items.
    bbox : sequence of four floats or None
        West, south, east and north in degrees.
    when : str, date or None
        Date or interval as STAC APIs take it, such as "2026-06/2026-08".
    max_cloud : float or None
        Greatest cloud cover by the metadata, in percent.

    Returns
    -------
    list of Item

    Raises
    ------
    ValueError
        If a source is none of these, or no item fits.
    FileNotFoundError
        If a path does not exist.
    """
    sources = _as_list(sources)
    if not sources:
        raise ValueError("there are no products: give paths, STAC items or the URL of a STAC API")
    when = when.isoformat() if isinstance(when, date) else when
    limits = _interval(when)
    # An end that is left out is open, as ".." is.
    interval = when and "/".join(end or ".." for end in when.split("/"))
    query = {"collections": collection and [collection], "bbox": bbox, "datetime": interval}
    found = _unique([item for source in sources for item in _items_of(source, query)])
    items = [
        item
        for item in found
        if (collection is None or item.collection_id in (None, collection))
        and (limits is None or limits[0] <= time_of(item) <= limits[1])
        and (bbox is None or item.bbox is None or _overlap(item.bbox, bbox))
        and (max_cloud is None or (item.properties.get("eo:cloud_cover") or 0) <= max_cloud)
    ]
    if not items:
        asked = {"datetime": when, "bbox": bbox, "collection": collection, "max_cloud": max_cloud}
        given = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
        raise ValueError(
            f"{_name(sources)} has {len(found)} products and none of {given or 'any kind'}: give "
            "wider limits, or other products"
        )
    return sorted(items, key=lambda item: (time_of(item), item.id))


def _as_list(sources):
    import pystac

    if isinstance(sources, Iterable) and not isinstance(sources, str | pystac.ItemCollection):
        return list(sources)
    return [sources]


def _name(sources):
    names = [getattr(one, "id", None) or str(one) for one in sources]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} others"


def _items_of(source: Any, query: dict[str, Any]) -> Iterator[Item]:
    import pystac

    if isinstance(source, pystac.Item):
        yield source
    elif isinstance(source, pystac.Catalog):
        yield from source.get_items(recursive=True)
    elif isinstance(source, pystac.ItemCollection):
        yield from source
    elif not isinstance(source, str | os.PathLike):
        raise ValueError(
            f"{source!r} is no product: give the path of one, the file or URL of a STAC catalog, "
            "or items of pystac"
        )
    elif _is_url(text := os.fspath(source)):
        yield from _items_of_json(text) if text.endswith(_JSON) else _search(text, query)
    else:
        yield from _items_of_path(text)


def _items_of_path(text: str) -> Iterator[Item]:
    paths = [path for path in _paths_of(text) if os.path.exists(path)]
    if not paths:
        raise FileNotFoundError(f"{text} does not exist: give the path of a product or a catalog")
    for path in paths:
        yield from _items_of_json(path) if path.endswith(_JSON) else items_of_folder(path)


def _is_url(text):
    return "://" in text


def _items_of_json(path: str) -> Iterator[Item]:
    import pystac

    try:
        source = pystac.StacIO.default().read_json(path)
        if source.get("type") == "FeatureCollection":
            found: Any = pystac.ItemCollection.from_file(path)
        else:
            found = pystac.read_file(path)
    except (OSError, ValueError, AttributeError, KeyError, pystac.STACError) as error:
        raise ValueError(
            f"{path} cannot be read as STAC ({error}): give a catalog, a collection, an item or an "
            "item collection in JSON"
        ) from error
    return _items_of(found, {})


def _search(url: str, query: dict[str, Any]) -> Iterator[Item]:
    import pystac_client

    try:
        client = pystac_client.Client.open(url.rstrip("/").removesuffix("/search"))
        yield from client.search(**query).items()
    except (OSError, pystac_client.exceptions.APIError) as error:
        raise ValueError(
            f"{url} gives no items ({error}): give the address of a STAC API, and the name of one "
            "of its collections"
        ) from error


def _unique(items):
    return list({(item.collection_id, item.id): item for item in items}.values())


def time_of(item: Item) -> datetime:
    """Return the time of an item, in UTC; a ValueError if it has none."""
    time = item.datetime or item.common_metadata.start_datetime
    if time is None:
        raise ValueError(f"{item.id} has no date: add the property datetime to the item")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _overlap(box, other):
    west, south, *_ = box
    east, north = box[len(box) // 2 : len(box) // 2 + 2]
    return west < other[2] and other[0] < east and south < other[3] and other[1] < north


def _interval(when: str | None) -> tuple[datetime, datetime] | None:
    """First and last moment of a date or an interval, as STAC APIs take it."""
    import pandas

    if when is None:
        return None
    if not isinstance(when, str):
        raise ValueError(f"datetime is {when!r}: give text or a date, such as '2026-06/2026-08'")
    first, _, last = when.partition("/") if "/" in when else (when, "", when)
    try:
        ends = [
            datetime.min if first in ("", "..") else pandas.Period(first).start_time,
            datetime.max if last in ("", "..") else pandas.Period(last).end_time,
        ]
    except ValueError:
        raise ValueError(
            f"datetime is {when!r}: give a date or two, such as 2026-06-21, 2026-06/2026-08 or "
            "2026-06-01/.."
        ) from None
    start, end = (end.replace(tzinfo=UTC) for end in ends)
    return start, end
