"""Damaged files are refused by name or read correctly: no other error, no hang, little memory.

Safetensors files have their own tests.
"""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from probav_estimators import Scene, load_scenes, save_scenes

NOISE = np.random.default_rng(0).integers(0, 65536, (9, 11), dtype=np.uint16)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_bytes(values, **options):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format="PNG", **options)
    return stream.getvalue()


def chunk(kind, content=b"", checksum=None):
    if checksum is None:
        checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def header(width, height, bits=16, colour=0, interlace=0, *, compression=0, filtering=0):
    content = struct.pack(
        ">IIBBBBB", width, height, bits, colour, compression, filtering, interlace
    )
    return SIGNATURE + chunk(b"IHDR", content)


def pixel_chunk(values):
    """16-bit rows without a filter."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.atleast_2d(values))
    return chunk(b"IDAT", zlib.compress(rows))


WHOLE = png_bytes(NOISE)
END = chunk(b"IEND")


@pytest.fixture
def frame(tmp_path):
    """File of a scene's only frame."""
    (tmp_path / "QM000.png").write_bytes(png_bytes(np.full(NOISE.shape, 255, np.uint8)))
    return tmp_path / "LR000.png"


def refusal_or_result(call, name):
    """(error, None) for a ValueError of `call` that has `name`, else (None, result)."""
    with warnings.catch_warnings():
        # A warning is not enough for a damaged file.
        warnings.simplefilter("error")
        try:
            return None, call()
        except ValueError as error:
            refusal = error
    assert name in str(refusal)
    return refusal, None


def read_frame(path):
    """Pixels of the frame, or None if it is refused by name."""
    scene = Scene.from_dir(path.parent)
    no_shape, shape = refusal_or_result(lambda: scene.shape, path.name)
    refusal, pixels = refusal_or_result(lambda: scene.lr, path.name)
    if refusal is not None:
        return None
    assert no_shape is None and pixels.shape == (1, *shape)
    return pixels[0]


def mutate(content, rng):
    """Cut, flip, overwrite, insert, repeat or swap some bytes."""
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start, stop = np.sort(rng.integers(0, len(damaged) + 1, 2))
        kind = rng.integers(7)
        if kind == 0:
            del damaged[start:]
        elif kind == 1:
            del damaged[start:stop]
        elif kind == 2 and start < len(damaged):
            damaged[start] ^= 1 << rng.integers(8)
        elif kind == 3:
            damaged[start : start + 4] = rng.bytes(4)
        elif kind == 4:
            damaged[start:start] = rng.bytes(int(rng.integers(1, 40)))
        elif kind == 5:
            damaged[start:start] = damaged[start:stop]
        else:
            damaged[start:stop] = bytes(stop - start)
    return bytes(damaged)


def test_mutated_pngs_are_refused_or_read_right(frame):
    """Changed pixels break a checksum, so files that are read have the original pixels."""
    rng = np.random.default_rng(1)
    n_refused = 0
    for _ in range(300):
        # Mutations after the end of the PNG have no effect.
        frame.write_bytes(mutate(WHOLE + bytes(200), rng))
        pixels = read_frame(frame)
        n_refused += pixels is None
        if pixels is not None:
            np.testing.assert_array_equal(pixels, (NOISE / 65535).astype(np.float32))
    assert 0 < n_refused < 300


def test_mutated_chunks_with_right_checksums_are_refused_or_read(frame):
    """Checksums are valid, so the decoder gets damaged data and may raise anything."""
    rng = np.random.default_rng(2)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in NOISE)
    n_refused = 0
    for number in range(90):
        if number % 3 == 0:
            pixels = chunk(b"IDAT", mutate(zlib.compress(rows), rng))
        elif number % 3 == 1:
            pixels = chunk(b"IDAT", zlib.compress(mutate(rows, rng)))
        else:
            kind = rng.choice([b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"pHYs", b"tRNS",
                               b"acTL", b"fcTL", b"eXIf", b"cHRM", b"PLTE", b"IHDR"])  # fmt: skip
            pixels = chunk(bytes(kind), rng.bytes(int(rng.integers(0, 40)))) + pixel_chunk(NOISE)
        frame.write_bytes(header(11, 9) + pixels + END)
        read = read_frame(frame)
        n_refused += read is None
        if read is not None:
            assert read.shape == NOISE.shape
    assert 0 < n_refused < 90


@pytest.mark.parametrize("colour", [2, 3, 4, 6])
def test_other_colours_are_told_by_name(frame, colour):
    name = {2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}[colour]
    for bits in (8, 16):
        frame.write_bytes(header(11, 9, bits, colour) + pixel_chunk(NOISE) + END)
        with pytest.raises(ValueError, match=rf"LR000\.png holds a {name} image of {bits} bits"):
            _ = Scene.from_dir(frame.parent).lr


@pytest.fixture
def twelve(tmp_path):
    """Root of a data set of twelve scenes without HR images."""
    lr = np.full((1, 4, 4), 9, np.uint16)
    names = [f"imgset{number:04d}" for number in range(12)]
    save_scenes([Scene(lr, lr > 0, name=name) for name in names], tmp_path)
    return tmp_path


def test_mutated_norm_csvs_are_refused_or_read_as_they_are_written(twelve):
    rng = np.random.default_rng(3)
    content = b"".join(b"imgset%04d %.3f\n" % (n, 40 + n / 7) for n in range(12))
    path, n_refused = twelve / "norm.csv", 0
    for _ in range(50):
        path.write_bytes(mutate(content, rng))
        refusal, scenes = refusal_or_result(lambda: load_scenes(twelve), "norm.csv")
        if refusal is not None:
            n_refused += 1
            continue
        lines = [line.split() for line in path.read_bytes().decode().splitlines() if line.strip()]
        norms = {name: float(norm) for name, norm in lines}
        assert [scene.norm for scene in scenes] == [norms.get(scene.name) for scene in scenes]
        assert all(0 < norm < np.inf for norm in norms.values())
    assert 0 < n_refused < 50
