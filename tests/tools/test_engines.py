"""How exported files are run: precision, threads, and what engines do to the process that they run in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from detection.data.image import read_image
from detection.device import choose_precision, has_fast_bfloat16
from detection.errors import InputError
from detection.export.engine import load_exported
from detection.export.exact import _MARKS
from detection.extras import needed
from detection.side_by_side import side_by_side
from tests.builders import random_patches, save_image
from tests.detection.lively import save_lively_model
from tests.tools.running import run_main as run

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

SIZES = [(96, 72), (60, 96), (96, 96)]
MOVING = {"Input", "Const", "Output", "Reorder", "ROIAlign", "Concatenation", "Reshape", "Gather", "Transpose"}
"""Kinds of operations that hand on numbers as they are, or pool features."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds much, and a picture."""
    folder = tmp_path_factory.mktemp("engines")
    save_lively_model(folder)
    save_image(folder / "photos/0.png", random_patches((96, 72)))
    return folder


@pytest.mark.skipif(not has_fast_bfloat16(torch.device("cpu")), reason="bfloat16 would be computed as float32")
@pytest.mark.parametrize("exported", ["openvino"], indirect=True)
def test_layers_are_in_bfloat16_and_boxes_in_float32(exported: Path) -> None:
    """What has the name of a module is a layer; all else makes boxes, scores and pixels, or moves features."""
    core = needed("openvino", "openvino").Core()
    compiled = core.compile_model(core.read_model(exported), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    results: dict[str, set[str]] = {"layer": set(), "boxes": set()}
    for op in compiled.get_runtime_model().get_ops():
        about = {key: op.get_rt_info()[key].astype(str) for key in ("layerType", "originalLayersNames")}
        names = about["originalLayersNames"].split(",")
        if names != [""] and about["layerType"] not in MOVING:
            kind = "layer" if any(name.count("/") > 1 for name in names) else "boxes"
            results[kind] |= set(op.get_rt_info()["outputPrecisions"].astype(str).split(","))
    assert "bf16" in results["layer"]
    assert "f32" in results["boxes"]
    assert "bf16" not in results["boxes"]


@pytest.mark.parametrize("exported", ["openvino"], indirect=True)
def test_a_file_says_what_stays_in_float32_and_one_that_does_not_is_run_in_it(exported: Path, tmp_path: Path) -> None:
    openvino = needed("openvino", "openvino")
    model = openvino.Core().read_model(exported)
    marked = {op.get_friendly_name(): bool(_MARKS & set(op.get_rt_info().keys())) for op in model.get_ordered_ops()}
    kinds = {op.get_friendly_name(): op.get_type_name() for op in model.get_ordered_ops()}
    of_boxes = [name for name, kind in kinds.items() if kind in ("Exp", "Softmax", "GatherElements")]
    assert of_boxes
    assert all(marked[name] for name in of_boxes)
    assert not any(marked[name] for name, kind in kinds.items() if kind in ("Convolution", "ROIAlign"))
    assert not [
        op
        for op in model.get_ordered_ops()
        if op.get_type_name() == "Subtract" and op.get_output_element_type(0) == openvino.Type.f32
    ]

    before = tmp_path / "model.xml"  # as an earlier version wrote it
    lines = exported.read_text(encoding="utf-8").splitlines()
    before.write_text("\n".join(line for line in lines if "DisablePrecisionConversion" not in line), encoding="utf-8")
    shutil.copy(exported.with_suffix(".bin"), before.with_suffix(".bin"))
    assert load_exported(before).precision == torch.float32
    assert load_exported(exported).precision == choose_precision(torch.device("cpu"))
    assert load_exported(before, precision="bfloat16").precision == torch.bfloat16


def test_the_precision_is_the_users_choice(exported: Path, work: Path, tmp_path: Path) -> None:
    image = random_patches((96, 72))
    (exact,) = load_exported(exported, precision="float32").detect_images([image])
    (auto,) = load_exported(exported).detect_images([image])
    is_rounded = exported.suffix == ".xml" and has_fast_bfloat16(torch.device("cpu"))
    assert torch.equal(exact.scores, auto.scores) != is_rounded
    with pytest.raises(InputError, match="precision 'half' is not known"):
        load_exported(exported, precision="half")
    if exported.suffix == ".onnx":
        with pytest.raises(InputError, match="ONNX Runtime computes in float32"):
            load_exported(exported, precision="bfloat16")
    out = tmp_path / "found"
    assert run("detect", exported, work / "photos", "--out", out, "--compute", "float32") == 0
    scores = [each["score"] for each in json.loads((out / "detections.json").read_text()) if each["image_id"] == 1]
    (expected,) = load_exported(exported, precision="float32").detect_images([read_image(work / "photos/0.png")])
    assert scores == pytest.approx(expected.scores.tolist(), abs=1e-6)
    assert run("detect", exported, work / "photos", "--out", out, "--resume") == (2 if is_rounded else 0)


def test_several_threads_at_once(exported: Path) -> None:
    detector = load_exported(exported, lanes=3)
    images = [random_patches(size_hw, seed) for seed, size_hw in enumerate([*SIZES, *SIZES])]
    expected = load_exported(exported).detect_images(images)
    together = side_by_side(lambda image: detector.detect_images([image])[0], images, lanes=3)
    for found, alone in zip(together, expected, strict=True):
        assert len(found) == len(alone) > 0
        torch.testing.assert_close(found.boxes, alone.boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(found.scores, alone.scores, atol=1e-4, rtol=0)


LET_GO_IN_A_THREAD = """
import signal, sys, threading
from pathlib import Path
from detection.export.engine import load_exported
detectors = [load_exported(Path(sys.argv[1]))]
thread = threading.Thread(target=detectors.clear)
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda *_: print("stopping"))
signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.parametrize("exported", ["openvino"], indirect=True)
def test_a_process_survives_an_interrupt_after_a_thread_let_go_of_a_detector(exported: Path) -> None:
    """Fails only where there is AMX: elsewhere OpenVINO leaves the stack of signal handlers alone."""
    command = [sys.executable, "-c", LET_GO_IN_A_THREAD, exported]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "stopping\n"), ended.stderr


FIRST_QUESTIONS_AT_ONCE = """
import sys, threading
from pathlib import Path
import openvino
from detection.export.engine import load_exported
sys.setswitchinterval(1e-6)
load_exported(Path(sys.argv[1]), lanes=2)
meeting = threading.Barrier(2)
def ask():  # what each question begins with
    meeting.wait()
    openvino.Type.u8.to_dtype()
threads = [threading.Thread(target=ask) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("answered")
"""


@pytest.mark.parametrize("exported", ["openvino"], indirect=True)
def test_the_first_questions_of_a_process_may_come_at_once(exported: Path) -> None:
    command = [sys.executable, "-c", FIRST_QUESTIONS_AT_ONCE, exported]
    assert subprocess.run(command, capture_output=True, text=True, check=False, timeout=40).stdout == "answered\n"


def test_engines_do_not_tell_their_maker_of_their_use() -> None:
    """In a process of its own: NNCF is silent under pytest in any case."""
    program = """
import sys
from detection.extras import needed
needed("openvino", "openvino")
assert "openvino.tools.ovc" in sys.modules, "nothing that could tell was imported"
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
