"""Where the backbone's weights come from, and what is said when they do not fit."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import GoogLeNet_Weights
from torchvision.models.googlenet import GoogLeNet as TorchvisionGoogLeNet

from backbone import GoogLeNet, Variant
from backbone.weights import (
    CLASSIFIER_FORMAT,
    IMAGENET_MEAN,
    IMAGENET_STD,
    SHIPPED_NAME,
    load_backbone_weights,
    load_trunk,
)
from tests.backbone.networks import assert_same_state, copy_state, fill_parameters

CLASSIFIER = ("fc.", "aux1.", "aux2.")


def make_torchvision(*, transform_input: bool = False) -> TorchvisionGoogLeNet:
    """Torchvision's whole network with drawn numbers."""
    network = TorchvisionGoogLeNet(10, aux_logits=True, transform_input=transform_input, init_weights=False)
    fill_parameters(network)
    return network


@pytest.fixture(scope="module")
def full_state() -> dict[str, Tensor]:
    return dict(make_torchvision().state_dict())


def without_classifier(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state_dict.items() if not key.startswith(CLASSIFIER)}


def test_load_trunk_takes_the_trunk_of_a_full_network(full_state: dict[str, Tensor]) -> None:
    network = GoogLeNet()
    load_trunk(network, full_state, "torchvision")
    assert_same_state(network, without_classifier(full_state))


def test_load_trunk_fills_a_classifier_that_is_there(full_state: dict[str, Tensor]) -> None:
    network = GoogLeNet(10)
    load_trunk(network, full_state, "torchvision")
    assert_same_state(network, {k: v for k, v in full_state.items() if not k.startswith("aux")})


def test_load_trunk_names_every_fault_and_changes_nothing(full_state: dict[str, Tensor]) -> None:
    state_dict = {**full_state, "inception6a.branch1.conv.weight": torch.zeros(1), "head.bias": torch.zeros(1)}
    del state_dict["conv2.bn.weight"], state_dict["inception5b.branch1.conv.weight"]
    state_dict["conv1.conv.weight"] = torch.zeros(64, 1, 7, 7)
    network = GoogLeNet()
    before = copy_state(network)
    with pytest.raises(ValueError, match="do not fit this GoogLeNet") as caught:
        load_trunk(network, state_dict, "here.safetensors")
    origin, _, faults = str(caught.value).partition(": these weights do not fit this GoogLeNet: ")
    assert origin == "here.safetensors"
    assert faults.split("; ") == [
        "missing: conv2.bn.weight",
        "missing: inception5b.branch1.conv.weight",
        "shape of conv1.conv.weight: expected (64, 3, 7, 7), got (64, 1, 7, 7)",
        "unexpected: head.bias",
        "unexpected: inception6a.branch1.conv.weight",
    ]
    assert_same_state(network, before)


def test_load_trunk_demands_the_classifier_that_the_network_has(full_state: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"missing: fc\.bias; missing: fc\.weight$"):
        load_trunk(GoogLeNet(10), without_classifier(full_state), "trunk")
    with pytest.raises(ValueError, match=r"shape of fc\.weight: expected \(7, 1024\), got \(10, 1024\)$"):
        load_trunk(GoogLeNet(7), full_state, "other classes")


def test_load_trunk_refuses_the_other_kernel(full_state: dict[str, Tensor]) -> None:
    with pytest.raises(
        ValueError, match=r"inception5b\.branch3\.1\.conv\.weight: expected .*5, 5\), got .*3, 3\)"
    ) as caught:
        load_trunk(GoogLeNet(variant=Variant(five_kernel=5)), full_state, "torchvision")
    assert str(caught.value).count("shape of") == 9  # one in every Inception module


def test_none_keeps_the_random_start() -> None:
    network = GoogLeNet()
    before = copy_state(network)
    load_backbone_weights(network, "none")
    assert_same_state(network, before)


def test_a_file_is_read(full_state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(full_state, path)
    network = GoogLeNet()
    load_backbone_weights(network, str(path))
    assert_same_state(network, without_classifier(full_state))


def test_of_a_detector_the_backbone_is_taken(full_state: dict[str, Tensor], tmp_path: Path) -> None:
    trunk = {f"backbone.{name}": tensor for name, tensor in full_state.items() if not name.startswith(("fc.", "aux"))}
    save_file({**trunk, "pyramid.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    network = GoogLeNet()
    load_backbone_weights(network, str(tmp_path / "model.safetensors"))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, full_state[name]), name


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(2)}, path)
    with pytest.raises(
        ValueError, match=r"other\.safetensors: .*missing: conv1\.conv\.weight.*unexpected: layer\.weight"
    ):
        load_backbone_weights(GoogLeNet(), str(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.safetensors"
    with pytest.raises(
        ValueError, match=r"nowhere\.safetensors': no such file; give a safetensors file, shipped, torchvision or none"
    ):
        load_backbone_weights(GoogLeNet(), str(path))
    with pytest.raises(ValueError, match="no such file"):
        load_backbone_weights(GoogLeNet(), str(tmp_path))  # a folder


JUNK = {
    "empty": b"",
    "text": b"these are no weights, only words",
    "huge header": b"\xff" * 64,
    "not json": (8).to_bytes(8, "little") + b"nonsense",
    "pickle": b"PK\x03\x04" + bytes(200),
    "data cut off": (59).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}    ',
}


@pytest.mark.parametrize("content", JUNK.values(), ids=JUNK.keys())
def test_a_junk_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "junk.safetensors"
    path.write_bytes(content)
    network = GoogLeNet()
    before = copy_state(network)
    with pytest.raises(
        ValueError, match=r"junk\.safetensors: not a safetensors file \(.*; give backbone weights in that"
    ):
        load_backbone_weights(network, str(path))
    assert_same_state(network, before)


def pretend_download(monkeypatch: pytest.MonkeyPatch, state_dict: dict[str, Tensor]) -> None:
    """Lets torchvision's weights be ``state_dict``, without a network."""

    def get_state_dict(
        _self: GoogLeNet_Weights, *, progress: bool, check_hash: bool, weights_only: bool
    ) -> dict[str, Tensor]:
        assert check_hash  # or a file that was tampered with
        assert weights_only  # could run code
        return state_dict

    monkeypatch.setattr(GoogLeNet_Weights, "get_state_dict", get_state_dict)


def test_torchvision_weights_see_the_colours_that_they_know(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = make_torchvision(transform_input=True).eval()
    pretend_download(monkeypatch, dict(reference.state_dict()))
    network = GoogLeNet().eval()
    load_backbone_weights(network, "torchvision")
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))  # RGB in [0, 1]
    imagenet_mean, imagenet_std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    our_mean, our_std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD])[..., None, None]
    with torch.no_grad():
        expected = reference.conv1(reference._transform_input((pixels - imagenet_mean) / imagenet_std))
        actual = network.conv1((pixels - our_mean) / our_std)
    inner = (..., slice(2, -2), slice(2, -2))  # where the kernel meets no padding
    torch.testing.assert_close(actual[inner], expected[inner], rtol=0, atol=1e-4)


def test_a_download_that_is_not_what_it_should_be_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_state_dict(_self: GoogLeNet_Weights, **_options: bool) -> dict[str, Tensor]:
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr(GoogLeNet_Weights, "get_state_dict", get_state_dict)
    with pytest.raises(
        ValueError, match=r"torchvision: its file is not what it should be \(invalid hash value\); take"
    ):
        load_backbone_weights(GoogLeNet(), "torchvision")


def test_the_shipped_weights_are_complete_small_and_told() -> None:
    network = GoogLeNet()
    before = copy_state(network)
    load_backbone_weights(network, "shipped")
    same = [key for key, value in network.state_dict().items() if torch.equal(value, before[key])]
    assert same == []
    with resources.as_file(resources.files("backbone").joinpath(SHIPPED_NAME)) as path:
        assert path.stat().st_size <= 14 * 10**6
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()["multibox-rcnn"])
    assert header["format"] == CLASSIFIER_FORMAT
    assert header["training"]["validation"]["top1"] >= 0.52
    assert "Tiny ImageNet" in header["training"]["data"]
    assert header["preprocessing"]["mean"] == list(IMAGENET_MEAN)
    assert "ImageNet" in header["note"]
    assert header["recipe"]["train"]["optimizer"] == "muon"


def test_shipped_and_downloaded_weights_fit_the_default_variant_only() -> None:
    for source in ("shipped", "torchvision"):
        with pytest.raises(ValueError, match=r"these weights fit Variant\(block='reduced'.*this network is .*'naive'"):
            load_backbone_weights(GoogLeNet(variant=Variant(block="naive")), source)
