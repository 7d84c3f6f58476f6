"""Archives and images that expand are refused by name, before they are unpacked."""

import io
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from test_fuzz import END, chunk, header

from probav_estimators import Scene
from probav_estimators.cli import probav
from probav_estimators.datasets import unpack_data_set

SIZE = 2**24
METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2}


def png_of(pixels):
    stream = io.BytesIO()
    Image.fromarray(np.rint(pixels * 65535).astype(np.uint16)).save(stream, format="PNG")
    return stream.getvalue()


def write_zip(path, images, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in images.items():
            archive.writestr(name, content)


def understate(path, size):
    """State another size of the first entry, in its directory and its own header."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        stated = archive.infolist()[0].file_size.to_bytes(4, "little")
    while (place := content.find(stated)) >= 0:
        content[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)


def refusal(root, images):
    """One line of error, written with little memory."""
    tracemalloc.start()
    result = CliRunner().invoke(probav, ["score", str(root), "--images", str(images), "--quiet"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.exit_code != 0 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "imgset0000.png" in line and str(images) in line
    assert peak < SIZE / 2
    return line


@pytest.fixture
def images(root, scenes):
    return {f"{scene.name}.png": png_of(scene.hr) for scene in scenes[:2]}


@pytest.mark.parametrize("method", METHODS)
def test_an_entry_of_zeros_is_refused(root, images, tmp_path, method):
    images["imgset0000.png"] = bytes(SIZE)
    write_zip(tmp_path / "images.zip", images, METHODS[method])
    refusal(root, tmp_path / "images.zip")


@pytest.mark.parametrize("method", METHODS)
def test_an_entry_that_is_larger_than_stated_is_refused(root, images, tmp_path, method):
    # Whole up to the stated size, and a wrong checksum.
    images["imgset0000.png"] += bytes(SIZE)
    write_zip(tmp_path / "images.zip", images, METHODS[method])
    understate(tmp_path / "images.zip", 6000)
    refusal(root, tmp_path / "images.zip")


def test_a_file_of_any_size_is_not_read(root, images, tmp_path):
    for name, content in images.items():
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "imgset0000.png").open("r+b") as stream:
        stream.truncate(2**33)
    assert "8,589,934,592 bytes" in refusal(root, tmp_path)


@pytest.mark.parametrize("shape", [(72, 73), (2**31 - 1, 2**31 - 1)])
def test_an_image_that_states_another_size_is_refused(root, images, tmp_path, shape):
    rows = chunk(b"IDAT", zlib.compress(bytes(2**20)))
    images["imgset0000.png"] = header(*shape) + rows + END
    write_zip(tmp_path / "images.zip", images)
    refusal(root, tmp_path / "images.zip")


@pytest.mark.parametrize("kind", ["rows", "text", "checksum", "encrypted"])
def test_a_damaged_image_is_refused(root, images, tmp_path, kind):
    whole = images["imgset0000.png"]
    path = tmp_path / "images.zip"
    text = chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(SIZE)))
    images["imgset0000.png"] = {
        "rows": whole[:33] + chunk(b"IDAT", zlib.compress(bytes(500))) + END,
        "text": whole[:33] + text + whole[33:-30],
        "checksum": whole[:-20] + b"\1" + whole[-19:],
    }.get(kind, whole)
    write_zip(path, images)
    if kind == "encrypted":
        content = bytearray(path.read_bytes())
        content[6] |= 1
        content[content.find(b"PK\1\2") + 8] |= 1
        path.write_bytes(content)
    refusal(root, path)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((2**31 - 1, 2**31 - 1), "says that its shape is"),
        ((2**13, 2**13), "cannot hold an image"),
    ],
)
def test_a_frame_that_states_another_size_is_refused(folder, shape, told):
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    (folder / "LR000.png").write_bytes(header(*shape) + rows + END)
    with pytest.raises(ValueError, match=rf"LR000\.png .*{told}"):
        _ = Scene.from_dir(folder).lr


def test_a_frame_of_any_size_is_not_read(folder):
    with (folder / "LR000.png").open("r+b") as stream:
        stream.truncate(2**33)
    with pytest.raises(ValueError, match=r"LR000\.png has 8,589,934,592 bytes"):
        _ = Scene.from_dir(folder).lr


def test_a_data_set_of_other_methods_is_not_unpacked(tmp_path):
    write_zip(tmp_path / "data.zip", {"train/RED/a/LR000.png": bytes(9)}, zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match=r"data\.zip cannot be unpacked .*LR000\.png.*deflate"):
        unpack_data_set(tmp_path / "data.zip", tmp_path / "data")
    assert not (tmp_path / "data").exists()
