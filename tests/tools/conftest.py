"""What several modules look at; a module with data of its own gives it the same name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import toy_images, write_voc
from tests.tools.running import run_main
from tests.tools.tiny_run import TINY


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC data set with the parts trainval (four images) and test (three)."""
    root = tmp_path_factory.mktemp("data") / "toy"
    return write_voc(root, {"trainval": toy_images(4), "test": toy_images(3, prefix="test", seed=1)})


@pytest.fixture(scope="module")
def model(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a model that learnt from it for one pass."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run_main("train", toy, "--out", out, "--epochs", 1, *TINY) == 0
    return out / "model.safetensors"


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def exported(request: pytest.FixtureRequest, work: Path) -> Path:
    """The file of each engine, made of the model in a module's ``work`` and compared on the photos there."""
    out = work / request.param
    options = ["--to", request.param, "--out", out, "--images", work / "photos"]
    assert run_main("export", work / "model.safetensors", *options) == 0
    return out / {"onnx": "model.onnx", "openvino": "model.xml"}[request.param]
