"""int8 files: which layers are in whole numbers, and when one is not kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detection.errors import InputError
from detection.export.document import ExportDocument
from detection.export.engine import load_exported
from detection.export.quantize import quantize_openvino
from detection.extras import needed
from detection.preprocess import Image
from tests.builders import random_patches, save_image, toy_images, write_voc
from tests.detection.lively import detector_of, make_lively_network, save_lively_model
from tests.detection.tiny import CLASSES
from tests.tools.running import run_main as run
from tools.export import Pictures, _quantize

pytest.importorskip("onnx")
pytest.importorskip("openvino")

SIZES = [(96, 72), (60, 96), (96, 96)]


@pytest.mark.slow
def test_the_large_layers_are_in_whole_numbers_and_the_small_ones_as_they_were(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    images = [random_patches(size_hw, seed) for seed, size_hw in enumerate(SIZES)]
    for number, image in enumerate(images):
        save_image(tmp_path / f"photos/{number}.png", image)
    options = ["--to", "openvino", "--out", tmp_path, "--images", tmp_path / "photos"]
    assert run("export", save_lively_model(tmp_path), *options) == 0
    detector = load_exported(tmp_path / "model.xml")
    quantize_openvino(tmp_path / "model.xml", tmp_path / "int8.xml", detector.document, images)

    layers: dict[str, set[bool]] = {}  # kind -> whether each of them takes whole numbers
    for op in needed("openvino", "openvino").Core().read_model(tmp_path / "int8.xml").get_ops():
        kind = re.match(r"/(trunk|heads|pyramid/Add)", op.get_friendly_name())
        if kind and op.get_type_name() in ("MatMul", "Add"):
            sources = {_behind_shapes(source.get_node()).get_type_name() for source in op.input_values()}
            layers.setdefault(kind[1] + op.get_type_name(), set()).add("FakeQuantize" in sources)
    assert layers["trunkMatMul"] == layers["pyramid/AddAdd"] == {True}
    assert layers["headsMatMul"] == {False}
    assert len(load_exported(tmp_path / "int8.xml").detect_images(images)) == len(images)


def _behind_shapes(op: Any) -> Any:
    """What gives an operation its numbers: those between only arrange them."""
    while op.get_type_name() in ("Reshape", "Transpose", "Convert"):
        op = op.input_value(0).get_node()
    return op


@pytest.mark.parametrize(("after", "is_kept"), [(0.594, False), (0.596, True)])
def test_int8_that_costs_more_than_half_a_point_is_not_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    after: float,
    is_kept: bool,
) -> None:
    def quantize(source: Path, path: Path, document: ExportDocument, images: Iterable[Image]) -> None:
        assert len(list(images)) == 2
        for suffix in (".xml", ".bin"):
            path.with_suffix(suffix).write_text("in whole numbers")

    precisions = iter([0.6, after])
    monkeypatch.setattr("tools.export.quantize_openvino", quantize)
    monkeypatch.setattr("tools.export._average_precision", lambda path, data, precision: next(precisions))
    parts = {"train": toy_images(2, class_names=CLASSES), "test": toy_images(1, prefix="test", class_names=CLASSES)}
    data = write_voc(tmp_path / "toy", parts)
    document = ExportDocument.of(detector_of(make_lively_network()), save_lively_model(tmp_path), tmp_path)
    target = tmp_path / "out/int8/model.xml"
    with nullcontext() if is_kept else pytest.raises(InputError, match=r"int8 costs more than 0\.005 AP"):
        _quantize(tmp_path / "out/model.xml", target, document, data)
    assert f"AP on test: 0.6000 in float32, {after:.4f} in int8" in capsys.readouterr().out
    assert {path.name for path in target.parent.iterdir()} == ({"model.xml", "model.bin"} if is_kept else set())


def test_int8_passes_over_images_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = save_image(tmp_path / "good.png", random_patches((40, 50)))
    (tmp_path / "bad.png").write_bytes(b"")
    pictures = Pictures([good, tmp_path / "bad.png", good])
    for _ in range(2):
        assert [image.shape for image in pictures] == [(40, 50, 3)] * 2
    assert capsys.readouterr().out.count("passed over") == 1


def test_a_document_leads_to_its_model_from_where_it_lies(tmp_path: Path) -> None:
    """Also in a folder within that of the export, and behind a link to it."""
    model = save_lively_model(tmp_path)
    within = tmp_path / "out/int8"
    within.mkdir(parents=True)
    document = ExportDocument.of(detector_of(make_lively_network()), model, within)
    assert document.source == f"../../{model.name}"
    (tmp_path / "a").mkdir()
    (tmp_path / "a/link").symlink_to(within)
    for file in (within / "model.xml", tmp_path / "a/link/model.xml"):
        assert document.found_from(file).source == str(model)
    assert replace(document, source=str(model)).found_from(within / "model.xml").source == str(model)  # as before
