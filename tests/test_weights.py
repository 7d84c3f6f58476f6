"""Weight files: lookup, metadata, and refused input."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import probav_estimators
from probav_estimators import FusionNet
from probav_estimators.state_file import write_state
from probav_estimators.training import (
    Weights,
    check_fits,
    load_weights,
    save_weights,
)

CONFIG = {"scale": 3, "width": 4}


def some_weights(**changes):
    state = {"layer.weight": torch.arange(12.0).reshape(3, 4), "layer.bias": torch.ones(3)}
    return Weights(state, "SomeNet", CONFIG)._replace(**changes)


def write(path, **changes):
    """Write a file as by another program; None removes a metadata entry."""
    config = json.dumps({"architecture": "SomeNet", **CONFIG})
    metadata = {"format": "2", "kind": "weights", "config": config, "checksum": "0"}
    metadata |= {"package_version": "0.0.1", **changes}
    kept = {key: value for key, value in metadata.items() if value is not None}
    save_file(some_weights().state, path, kept)
    return path


def write_old(path, **changes):
    """Write a file in the format of an earlier version."""
    metadata = {"architecture": "SomeNet", "layout": json.dumps(CONFIG), **changes}
    save_file(some_weights().state, path, metadata)
    return path


def assert_same(found, expected):
    assert (found.architecture, found.config) == (expected.architecture, expected.config)
    assert found.state.keys() == expected.state.keys()
    for name, value in expected.state.items():
        assert found.state[name].dtype == value.dtype
        assert torch.equal(found.state[name], value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.safetensors"


class TestFinding:
    @pytest.fixture
    def here(self, tmp_path, monkeypatch):
        """Empty working directory."""
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_a_shipped_name_is_the_shipped_file(self, here):
        found = load_weights("simulated-x3")
        assert found.architecture == "FusionNet"
        assert found.path.name == "simulated-x3.safetensors"
        assert found.path.parent == Path(probav_estimators.__file__).parent / "weights"

    def test_a_shipped_name_wins_over_a_file_of_that_name_and_says_so(self, here):
        save_weights(some_weights(), "simulated-x3")
        with pytest.warns(UserWarning, match=r"'simulated-x3' is the name.*pathlib\.Path"):
            assert load_weights("simulated-x3").architecture == "FusionNet"

    @pytest.mark.parametrize(
        "name", [Path("simulated-x3"), "./simulated-x3", os.path.abspath, "simulated-x3.other"]
    )
    def test_everything_else_is_a_path(self, here, name):
        name = name("simulated-x3") if callable(name) else name
        save_weights(some_weights(), name)
        assert load_weights(name).architecture == "SomeNet"

    @pytest.mark.parametrize(
        "name",
        [
            "nothing",
            "",
            "weights/simulated-x3",
            Path("simulated-x3"),
            "n" * 5000,
            "nul\0",
            3,
        ],
    )
    def test_what_is_not_there_is_named_with_both_possibilities(self, here, name):
        with pytest.raises(FileNotFoundError) as error:
            load_weights(name)
        assert repr(str(name)) in str(error.value)
        assert "shipped weights, as a string (simulated-x2" in str(error.value)
        assert "nor a file" in str(error.value)


class TestSaving:
    @pytest.mark.parametrize(
        "state",
        [
            some_weights().state,
            {"scalar": torch.tensor(0.5), "count": torch.tensor(3), "mask": torch.tensor([True])},
            {"half": torch.ones(2, 2, dtype=torch.bfloat16), "none": torch.zeros(0, 3)},
            {"flipped": torch.arange(24.0).reshape(1, 2, 3, 4).permute(0, 3, 1, 2)},
        ],
    )
    def test_what_is_saved_is_what_is_loaded(self, path, state):
        expected = some_weights(state=state)
        save_weights(expected, path)
        assert_same(load_weights(path), expected)

    def test_a_file_says_its_format_and_the_package_that_wrote_it(self, path):
        save_weights(some_weights(package_version="0.0.1"), path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        assert (metadata["format"], metadata["kind"]) == ("2", "weights")
        assert metadata["package_version"] == probav_estimators.__version__
        found = load_weights(path)
        assert (found.package_version, found.path) == (probav_estimators.__version__, path)

    @pytest.mark.parametrize("value", [[3], torch.ones(2)])
    def test_a_config_that_could_not_be_read_is_not_written(self, path, value):
        with pytest.raises(ValueError, match="config must hold numbers"):
            save_weights(some_weights(config={"scale": value}), path)
        assert not path.exists()


class TestFormat:
    @pytest.mark.parametrize(
        "version", [{}, {"format_version": "1", "package_version": "0.1.0", "checksum": "0"}]
    )
    def test_a_file_of_an_earlier_version_is_refused_by_name(self, path, version):
        write_old(path, **version)
        found = version.get("package_version", "without a version")
        with pytest.raises(
            ValueError, match=rf"some\.safetensors was written by an earlier .*\({found}\).*train"
        ):
            load_weights(path)

    def test_a_newer_format_says_what_to_upgrade(self, path):
        write(path, format="3", package_version="7.1")
        with pytest.raises(ValueError, match="upgrade") as error:
            load_weights(path)
        message = str(error.value)
        assert str(path) in message
        assert "format 3, written by probav_estimators 7.1" in message
        assert f"probav_estimators {probav_estimators.__version__} reads format 2" in message
        assert "upgrade probav_estimators" in message

    @pytest.mark.parametrize("version", ["", "1.0", "9" * 5000])
    def test_a_format_that_is_no_number(self, path, version):
        with pytest.raises(ValueError, match=r"some\.safetensors has the format "):
            load_weights(write(path, format=version))


class TestWhatIsRefused:
    @pytest.mark.parametrize("key", ["kind", "config", "package_version", "checksum"])
    def test_a_file_whose_metadata_are_incomplete(self, path, key):
        with pytest.raises(ValueError, match=rf"some\.safetensors is damaged, {key} is missing"):
            load_weights(write(path, **{key: None}))

    def test_a_file_of_another_program(self, path):
        save_file(some_weights().state, path)
        with pytest.raises(ValueError, match=r"some\.safetensors was not written by probav_est"):
            load_weights(path)

    def test_a_file_of_another_kind(self, path):
        write_state(path, "model", {}, {})
        with pytest.raises(ValueError, match=r"of kind 'model' and no weights.*save_pretrained"):
            load_weights(path)

    @pytest.mark.parametrize(
        "config",
        [[], "scale", {"architecture": "A", "scale": [3]}, {"scale": 3}],
    )
    def test_a_config_that_is_no_object_of_plain_values(self, path, config):
        write_state(path, "weights", config, some_weights().state)
        with pytest.raises(ValueError, match=r"some\.safetensors has a config .*plain values"):
            load_weights(path)

    @pytest.mark.parametrize("dump", [pickle.dump, torch.save])
    def test_a_pickle_is_refused_and_runs_nothing(self, tmp_path, path, dump):
        marker = tmp_path / "marker"

        class Hostile:
            def __reduce__(self):
                return os.mkdir, (str(marker),)

        with path.open("wb") as file:
            dump(Hostile(), file)
        for name in (path, str(path)):
            with pytest.raises(
                ValueError, match=r"some\.safetensors cannot be read as safetensors"
            ):
                load_weights(name)
        assert not marker.exists()
        # The file is harmful: unpickling it creates the marker.
        with path.open("rb") as file:
            pickle.load(file) if dump is pickle.dump else torch.load(file, weights_only=False)
        assert marker.exists()


class TestModules:
    def build(self):
        return nn.ModuleDict({"layer": nn.Linear(4, 3)})

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"layer.bias": None}, r"layer\.bias is missing there and float of shape \(3,\) here"),
            (
                {"layer.bias": torch.ones(2)},
                r"layer\.bias is float of shape \(2,\) there and float",
            ),
            (
                {"layer.bias": torch.ones(3, dtype=torch.int32)},
                r"layer\.bias is integer of shape \(3,\) there and float of shape \(3,\) here",
            ),
            ({"other": torch.ones(2)}, r"other is float of shape \(2,\) there and missing here"),
        ],
    )
    def test_weights_that_do_not_fit(self, change, message):
        state = {**some_weights().state, **change}
        state = {name: value for name, value in state.items() if value is not None}
        weights = some_weights(state=state, path=Path("some.safetensors"))
        with pytest.raises(ValueError, match=r"some\.safetensors do not fit the net: " + message):
            check_fits(self.build, weights)

    def test_a_config_that_the_file_does_not_keep_asks_for_no_memory(self):
        def build():
            return nn.ModuleDict({"layer": nn.Linear(10**6, 10**7)})  # 40 TB

        with pytest.raises(ValueError, match="do not fit the net"):
            check_fits(build, some_weights()._replace(path=Path("some.safetensors")))

    def test_a_config_that_asks_for_any_number_of_layers_makes_few(self):
        made = []

        def build():
            for _ in range(10**6):
                made.append(nn.Linear(1, 1))

        with pytest.raises(ValueError, match="more layers than the file has weights for"):
            check_fits(build, some_weights()._replace(path=Path("some.safetensors")))
        assert len(made) < 10_000


# Broken or hostile files


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "F64"},
        {"dtype": "F99"},
        {"shape": [2_500_000_000_000]},  # 10 TB
        {"shape": [0, 10**18, 10**18], "data_offsets": [0, 0]},
        {"shape": [-3]},
        {"data_offsets": [0, 10**13]},
        {"data_offsets": [12, 0]},
        {"data_offsets": [2**64 - 12, 2**64]},
    ],
)
def test_tensors_that_are_described_wrongly(path, change):
    save_weights(some_weights(), path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["layer.bias"] |= change
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
    with pytest.raises(ValueError, match=r"some\.safetensors"):
        load_weights(path)


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
        with pytest.raises(ValueError, match=r"some\.safetensors"):
            FusionNet.from_pretrained(path)

    @pytest.mark.parametrize(
        "change",
        [
            {"scale": 3},
            {"width": 3},
            {"depth": 2},
            {"width": 10**9},
            {"depth": 10**9},
            {"width": -2},
            {"depth": "1"},
            {"depth": True},
            {"scale": None},
            {"residual": True},
            {"displacement_down": 0.5},
            {"displacement_down": 10**400, "displacement_right": 0.0},
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
