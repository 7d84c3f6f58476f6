"""Broken or hostile files of weights raise ValueError or load as saved."""

import json
import struct

import pytest
import torch

from probav_estimators import FusionNet
from probav_estimators.state_file import write_state
from probav_estimators.training import Weights, load_weights, save_weights

EXPECTED = Weights(
    {
        "stages.0.weight": torch.linspace(-1, 1, 108).reshape(3, 4, 3, 3),
        "stages.0.bias": torch.linspace(0, 1, 3),
        "calibration": torch.tensor(1.5),
        "count": torch.tensor(7),
    },
    "SomeNet",
    {"scale": 3, "width": 4, "depth": 1},
)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Intact file of the current format."""
    path = tmp_path_factory.mktemp("sound") / "sound.safetensors"
    save_weights(EXPECTED, path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mutant.safetensors"


def outcome_of(path, content):
    """Weights, or None if refused with the expected error."""
    path.write_bytes(content)
    try:
        return load_weights(path)
    except ValueError as error:
        message = str(error)
    assert str(path) in message
    return None


def header_of(content):
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, values, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + values


def test_the_file_is_sound(path, content):
    assert outcome_of(path, content) is not None


@pytest.mark.parametrize(
    "length", [0, 1, 7, 8, 10**5, 10**8, 10**13, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
)
def test_lengths_of_the_header_that_are_not_true(path, content, length):
    header, values = header_of(content)
    assert outcome_of(path, with_header(header, values, length)) is None


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"weights",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe{}",
        b"[" * 10**5,
        b'{"a":' * 10**4,
        b" " * 10**5 + b"{}",
        b'{"__metadata__": 3}',
        b'{"__metadata__": {"format_version": 1}}',
    ],
)
def test_headers_that_are_none(path, header):
    assert outcome_of(path, with_header(header, bytes(64))) is None
    assert outcome_of(path, with_header(header, b"")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "F64"},
        {"dtype": "F16"},
        {"dtype": "F4"},
        {"dtype": "F8_E8M0"},
        {"dtype": "F99"},
        {"dtype": 32},
        {"shape": [2_500_000_000_000]},  # 10 TB
        {"shape": [2**63, 2**63]},
        {"shape": [0, 10**18, 10**18], "data_offsets": [0, 0]},
        {"shape": [1] * 1000},
        {"shape": [-3]},
        {"shape": [3.5]},
        {"shape": 3},
        {"data_offsets": [0, 10**13]},
        {"data_offsets": [10**13, 10**13 + 12]},
        {"data_offsets": [12, 0]},
        {"data_offsets": [-12, 0]},
        {"data_offsets": [2**64 - 12, 2**64]},
        {"data_offsets": []},
    ],
)
def test_tensors_that_are_described_wrongly(path, content, change):
    header, values = header_of(content)
    header["stages.0.bias"] |= change
    assert outcome_of(path, with_header(header, values)) is None


@pytest.mark.parametrize("key", ["format", "kind", "config", "checksum"])
def test_lines_of_the_metadata_that_are_missing_or_empty(path, content, key):
    for change in (lambda lines: lines.pop(key), lambda lines: lines.update({key: ""})):
        header, values = header_of(content)
        change(header["__metadata__"])
        assert outcome_of(path, with_header(header, values)) is None


def test_a_tensor_that_is_missing_or_has_another_name(path, content):
    header, values = header_of(content)
    header["stages.1.bias"] = header.pop("stages.0.bias")
    assert outcome_of(path, with_header(header, values)) is None
    del header["stages.1.bias"]
    assert outcome_of(path, with_header(header, values)) is None


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7F800000, 0xFF800000, 0x7F800001])
def test_values_that_are_not_finite(path, content, bits):
    header, values = header_of(content)
    begin = header["stages.0.bias"]["data_offsets"][0]
    values = values[:begin] + struct.pack("<I", bits) + values[begin + 4 :]
    assert outcome_of(path, with_header(header, values)) is None


def test_no_file_takes_more_memory_than_it_is_large(path, content):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    header, values = header_of(content)
    for shape, end in [([10**13 // 4], 10**13), ([2**40], 2**42), ([2**28], 2**30)]:
        header["stages.0.bias"] |= {"shape": shape, "data_offsets": [0, end]}
        assert outcome_of(path, with_header(header, values)) is None
    for length in (10**13, 10**9, 10**8):
        assert outcome_of(path, with_header(b"{}", b"", length)) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 50_000  # KiB


@pytest.fixture
def net_path(path):
    """File of a small net."""
    net = FusionNet(scale=2, width=2, depth=1, random_state=0)
    net.initialize().save_pretrained(path)
    return path


def rewrite(path, change):
    """Change the weights in a file and update its checksum."""
    weights = load_weights(path)
    config, state = dict(weights.config), dict(weights.state)
    change(config, state)
    write_state(path, "weights", config | {"architecture": "FusionNet"}, state)


class TestFusionNet:
    """Files with valid checksums, which only the net can refuse."""

    def refuses(self, path, change):
        rewrite(path, change)
        with pytest.raises(ValueError, match=r"mutant\.safetensors"):
            FusionNet.from_pretrained(path)

    def test_the_file_is_sound(self, net_path):
        assert FusionNet.from_pretrained(net_path).scale_ == 2

    def test_so_is_one_with_a_displacement(self, net_path):
        displacement = {"displacement_down": -0.5, "displacement_right": 0}
        rewrite(net_path, lambda config, state: config.update(displacement))
        assert FusionNet.from_pretrained(net_path).displacement_ == (-0.5, 0)

    @pytest.mark.parametrize(
        "change",
        [
            {"scale": 3},
            {"width": 3},
            {"depth": 2},
            {"scale": 10**12},
            {"width": 10**9},
            {"width": 2000},
            {"depth": 10**9},
            {"width": 0},
            {"width": -2},
            {"depth": "1"},
            {"width": 2.0},
            {"depth": True},
            {"scale": None},
            {"residual": True},
            {"displacement_down": 0.5},
            {"displacement_down": 0.5, "displacement_right": 9.0},
            {"displacement_down": "0.5", "displacement_right": 0.0},
            {"displacement_down": 10**400, "displacement_right": 0.0},
            {"displacement_down": True, "displacement_right": 0.0},
        ],
    )
    def test_configs_that_the_weights_do_not_fit(self, net_path, change):
        self.refuses(net_path, lambda config, state: config.update(change))

    @pytest.mark.parametrize("key", ["scale", "width", "depth"])
    def test_configs_that_lack_something(self, net_path, key):
        self.refuses(net_path, lambda config, state: config.pop(key))

    def test_tensors_of_another_name_or_shape(self, net_path):
        content = net_path.read_bytes()

        def rename(config, state):
            state["uncertainty.offset"] = state.pop("uncertainty.bias")

        def turn(config, state):
            state["uncertainty.weight"] = state["uncertainty.weight"].transpose(0, 1)

        self.refuses(net_path, rename)
        net_path.write_bytes(content)
        self.refuses(net_path, turn)
