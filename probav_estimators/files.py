"""Files that are replaced as a whole or not at all."""

from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def replace_file(path):
    """Yield a path beside `path` to write to; it takes the place of `path` if nothing fails."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
