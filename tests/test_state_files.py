"""State files: damage is found before all else, and the header bounds the memory."""

import json
import math

import numpy as np
import pytest
import torch
from _helpers import QUICK, small_scenes
from _state_files import write_described
from hypothesis import given, settings
from hypothesis import strategies as st

from probav_estimators import HighResNet, SceneEnsemble
from probav_estimators.persistence import load_model, save_model
from probav_estimators.state_file import is_state, read_state, write_state
from probav_estimators.training import Weights, load_weights, save_weights

TENSORS = {
    "layer.weight": torch.linspace(-1, 1, 108).reshape(3, 4, 3, 3),
    "layer.bias": torch.linspace(0, 1, 3, dtype=torch.bfloat16),
    "count": torch.tensor(7),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of each kind that users have."""
    folder = tmp_path_factory.mktemp("files")
    scenes = small_scenes(2)
    save_weights(Weights(TENSORS, "SomeNet", {"scale": 3, "width": 4}), folder / "weights")
    net = HighResNet(**QUICK, n_frames=2, n_features=2, n_blocks=1)
    save_model(SceneEnsemble([("été", net), ("other", net)]).fit(scenes), folder / "model")
    net.set_params(resume=folder).fit(scenes)
    (folder / "checkpoint.safetensors").rename(folder / "checkpoint")
    return {path.name: path for path in folder.iterdir()}


def assert_same(found, expected):
    assert (found.config, found.package_version) == (expected.config, expected.package_version)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, value in expected.tensors.items():
        assert found.tensors[name].dtype == value.dtype
        assert torch.equal(found.tensors[name], value)


@st.composite
def damaged(draw, content):
    """Bits that flip, in the header as often as elsewhere, or bytes that are lost or others."""
    n_header = 8 + int.from_bytes(content[:8], "little")
    last = draw(st.sampled_from([8, n_header, len(content)]))
    begin = draw(st.integers(0, last - 1))
    if draw(st.booleans()):
        mutant = bytearray(content)
        for place in [begin, *draw(st.lists(st.integers(0, last - 1), max_size=3))]:
            mutant[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(mutant)
    end = draw(st.integers(begin, len(content)))
    part = content[begin:end]
    noise = np.random.default_rng(begin).bytes(len(part))
    return content[:begin] + draw(
        st.sampled_from([b"", content[end:], *(x + content[end:] for x in (2 * part, noise))])
    )


@pytest.mark.parametrize("kind", ["weights", "model", "checkpoint"])
class TestDamage:
    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_is_refused_by_name_or_harmless(self, files, tmp_path_factory, kind, data):
        path = tmp_path_factory.getbasetemp() / f"damaged {kind}"
        path.write_bytes(data.draw(damaged(files[kind].read_bytes())))
        try:
            found = read_state(path, kind)
        except ValueError as error:
            message = str(error)
        else:
            assert_same(found, read_state(files[kind], kind))
            return
        assert str(path) in message
        assert any(word in message for word in ("fetch", "remove", "give", "upgrade"))

    def test_of_the_kind_is_no_other_kind(self, files, tmp_path, kind):
        content = files[kind].read_bytes()
        begin = b'"kind":"'
        (tmp_path / "it").write_bytes(content.replace(begin + kind[0].encode(), begin + b"_"))
        with pytest.raises(ValueError, match=r"it is damaged, its checksum does not fit"):
            read_state(tmp_path / "it", kind)
        assert is_state(files[kind], kind)
        assert not is_state(tmp_path / "it", kind)

    def test_of_a_file_that_was_read_changes_nothing(self, files, tmp_path, kind):
        (tmp_path / "it").write_bytes(files[kind].read_bytes())
        found = read_state(tmp_path / "it", kind)
        size = (tmp_path / "it").stat().st_size
        with (tmp_path / "it").open("r+b") as file:
            file.write(bytes(size))
        assert_same(found, read_state(files[kind], kind))


class TestDescription:
    """The format as CONTRIBUTING promises it to users."""

    def test_of_weights(self, tmp_path):
        config = {"architecture": "SomeNet", "scale": 3}
        path = write_described(tmp_path / "w", "weights", json.dumps(config), TENSORS)
        found = load_weights(path)
        assert (found.architecture, found.config) == ("SomeNet", {"scale": 3})
        assert torch.equal(found.state["layer.bias"], TENSORS["layer.bias"])

    def test_of_models(self, tmp_path):
        params = {"scale": 3, "kernel": "keys"}
        model = {"estimator": "BicubicBaseline", "params": params, "fitted": {"scale_": 3}}
        path = write_described(tmp_path / "m", "model", json.dumps(model), {}, package_version="0")
        with pytest.warns(UserWarning, match="written by version 0"):
            found = load_model(path)
        assert found.predict(small_scenes(1)).shape == (1, 48, 48)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (torch.tensor([1.0, math.nan]), "bad of .* holds NaN or infinity"),
            (torch.zeros(2, dtype=torch.float8_e5m2), r"bad of .* is of torch\.float8_e5m2"),
        ],
    )
    def test_of_values_that_no_net_has(self, tmp_path, value, message):
        path = write_described(tmp_path / "w", "weights", "{}", {"bad": value})
        with pytest.raises(ValueError, match=message):
            load_weights(path)


def peak():
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB


class TestMemory:
    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            ("weights", "[" + ",".join(["[]"] * 2_000_000) + "]"),
            ("model", '{"a":' * 1_600_000),
            ("checkpoint", '"' + "a" * 4_000_000 + "\N{GRINNING FACE}" + '"'),
        ],
        ids=["lists", "nested", "letters"],
    )
    def test_of_a_text_that_none_has_is_not_taken(self, tmp_path, kind, text):
        path = write_described(tmp_path / "it", kind, text, {})
        before = peak()
        with pytest.raises(ValueError, match=rf"{path} has more than [\d,]+ values"):
            read_state(path, kind)
        assert peak() < before + 4 * path.stat().st_size / 2**20 + 10

    def test_of_a_text_that_could_not_be_read_is_not_written(self, tmp_path):
        with pytest.raises(ValueError, match=r"the model has more than 300,000 .*net\.history_ ="):
            write_state(tmp_path / "it", "model", [0] * 300_002, {})
        assert not list(tmp_path.iterdir())

    def test_of_tensors_without_number_is_not_taken(self, tmp_path):
        kind = "model"
        one = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
        header = "{" + ",".join(one % number for number in range(120_000)) + "}"
        path = tmp_path / "it"
        path.write_bytes(len(header).to_bytes(8, "little") + header.encode())
        before = peak()
        with pytest.raises(ValueError, match=rf"{path} has more than [\d,]+ values and tensors"):
            read_state(path, kind)
        assert peak() < before + 20
        assert not is_state(path, kind)
