"""Copies of images: the same bytes and the same picture, within splits and across them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from detection.data import duplicates
from detection.data.audit import audit_dataset
from detection.data.duplicates import GRID, MIN_CORRELATION, find_partners, fingerprint, surplus_copies
from tests.builders import ToyImage, ToyObject, random_pixels, save_image, write_coco, write_voc
from tests.data.contracts import only_finding

CAT = ToyObject("cat", (0, 0, 10, 20))


def picture(seed: int, size_hw: tuple[int, int] = (120, 160)) -> npt.NDArray[np.uint8]:
    """Soft coloured patches, like a photograph out of focus."""
    patches = random_pixels((6, 8), seed)
    return np.asarray(cv2.resize(patches, size_hw[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def as_jpeg(image: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)


def correlation(image: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    first, second = fingerprint(image), fingerprint(other)
    assert first is not None
    assert second is not None
    return float(first @ second)


@pytest.mark.parametrize("quality", [20, 90])
@pytest.mark.parametrize("size_wh", [(160, 120), (80, 60), (53, 40), (320, 240)])
def test_the_same_picture_encoded_and_scaled(quality: int, size_wh: tuple[int, int]) -> None:
    image = picture(0)

    other = as_jpeg(np.asarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA), np.uint8), quality)

    assert correlation(image, other) > MIN_CORRELATION


def test_different_pictures_and_mirrored_ones() -> None:
    images = [picture(seed) for seed in range(8)]

    different = [correlation(images[i], images[j]) for i in range(8) for j in range(i)]

    assert max(different) < 0.9
    assert correlation(images[0], images[0][:, ::-1].copy()) < 0.9


def test_fingerprint_is_the_correlation_of_cell_means() -> None:
    image, other = random_pixels((64, 64), 0), random_pixels((64, 64), 1)

    means: list[list[float]] = []
    for pixels in (image, other):
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float64)
        means.append([grey[y : y + 4, x : x + 4].mean() for y in range(0, 64, 4) for x in range(0, 64, 4)])

    assert correlation(image, other) == pytest.approx(np.asarray(np.corrcoef(means))[0, 1], abs=1e-5)


def test_blank_pictures_have_no_fingerprint() -> None:
    assert fingerprint(np.full((50, 70, 3), 200, np.uint8)) is None
    assert fingerprint(np.zeros((1, 1, 3), np.uint8)) is None
    assert fingerprint(random_pixels((2000, 2000))) is None  # Noise so fine that the cells are alike.


def naive_partners(
    prints: npt.NDArray[np.float32], membership: npt.NDArray[np.bool_], conflicts: npt.NDArray[np.bool_]
) -> list[list[tuple[int, int]]]:
    found: list[list[tuple[int, int]]] = [[], []]
    for i in range(len(prints)):
        best: dict[bool, tuple[float, int]] = {}
        for j in range(i):
            score = float(prints[i] @ prints[j])
            crosses = any(conflicts[p, q] for p in np.flatnonzero(membership[i]) for q in np.flatnonzero(membership[j]))
            if score >= MIN_CORRELATION and score > best.get(crosses, (0.0, 0))[0]:
                best[crosses] = (score, j)
        for crosses, (_, j) in best.items():
            found[0 if crosses else 1].append((i, j))
    return found


def test_partners_equal_a_naive_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 7)  # Several blocks, the last one short.
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, GRID * GRID))
    prints = (centres[rng.integers(0, 6, 40)] + 0.02 * rng.normal(size=(40, GRID * GRID))).astype(np.float32)
    prints /= np.linalg.norm(prints, axis=1, keepdims=True)
    membership = np.eye(3, dtype=np.bool_)[rng.integers(0, 3, 40)]
    membership[::5] = True
    conflicts = np.array([[False, True, False], [True, False, False], [False, False, False]])

    found = find_partners(prints, membership, conflicts)

    pairs = [[(pair.later, pair.earlier) for pair in pairs] for pairs in found]
    assert pairs == naive_partners(prints, membership, conflicts)
    assert all(pairs)
    assert all(
        pair.correlation == pytest.approx(prints[pair.later] @ prints[pair.earlier]) for pair in [*found[0], *found[1]]
    )


def test_no_pictures_have_no_partners() -> None:
    nothing = np.zeros((0, GRID * GRID), np.float32)

    assert find_partners(nothing, np.zeros((0, 2), np.bool_), np.zeros((2, 2), np.bool_)) == [[], []]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four different photographs: train has a and b, test has c and d."""
    names = {"train": ("a", "b"), "test": ("c", "d")}
    images = {split: [ToyImage(name, (120, 160), (CAT,)) for name in group] for split, group in names.items()}
    root = write_voc(tmp_path / "photos", images)
    for seed, name in enumerate("abcd"):
        save_image(root / f"JPEGImages/{name}.jpg", picture(seed))
    return root


def test_different_photographs_are_clean(photos: Path) -> None:
    assert audit_dataset(photos).findings == ()


def test_similar_image_across_splits_names_both_files(photos: Path) -> None:
    save_image(photos / "JPEGImages/c.jpg", picture(0), quality=30)

    finding = only_finding(audit_dataset(photos).findings, "similar-shared-image")

    assert finding.file == "a.jpg"  # Splits come sorted: test, then train.
    assert finding.message.startswith(
        "split 'train' has nearly the same image as 'c.jpg' in split 'test' (correlation "
    )


def test_similar_images_within_a_split_are_one_finding(photos: Path) -> None:
    for name, quality in (("e", 30), ("f", 60)):
        save_image(photos / f"JPEGImages/{name}.jpg", picture(0), quality=quality)
        shutil.copy(photos / "Annotations/a.xml", photos / f"Annotations/{name}.xml")
    (photos / "ImageSets/Main/train.txt").write_text("a\nb\ne\nf\n", encoding="utf-8")

    findings = [finding for finding in audit_dataset(photos).findings if finding.kind != "size-mismatch"]

    finding = only_finding(findings, "similar-images")
    assert finding.file == "a.jpg"
    assert finding.message.startswith("split 'train' has 2 more of nearly the same image: e.jpg, f.jpg (correlation ")


def test_repeated_bytes_within_a_split_and_what_their_labels_say(photos: Path) -> None:
    shutil.copy(photos / "JPEGImages/a.jpg", photos / "JPEGImages/b.jpg")
    xml = photos / "Annotations/b.xml"
    xml.write_text(xml.read_text("utf-8").replace("<object>", "<other>").replace("</object>", "</other>"), "utf-8")

    audit = audit_dataset(photos)

    finding = only_finding(audit.findings, "repeated-image")
    assert str(finding) == (
        "b.jpg: split 'train' has the same image as 'a.jpg'; 0 objects here, 1 there; delete one of them"
    )
    (copy,) = surplus_copies(audit.parts, audit.pictures)
    assert (copy.image.file_name, copy.kept.file_name) == ("b.jpg", "a.jpg")


def test_copy_across_splits_stays_in_the_test_split(photos: Path) -> None:
    shutil.copy(photos / "JPEGImages/a.jpg", photos / "JPEGImages/d.jpg")

    audit = audit_dataset(photos)

    only_finding(audit.findings, "shared-image")  # Not told as similar too.
    (copy,) = surplus_copies(audit.parts, audit.pictures)
    assert (copy.split, copy.image.file_name, copy.kept_split, copy.kept.file_name) == (
        "train",
        "a.jpg",
        "test",
        "d.jpg",
    )


def test_own_copies_of_trainval_stay_once(tmp_path: Path) -> None:
    image = ToyImage("a", (40, 60), (CAT,))
    root = write_coco(tmp_path, {"val": [image], "trainval": [image]})  # Two folders, two files of the same bytes.
    audit = audit_dataset(root)
    assert audit.findings == ()
    assert surplus_copies(audit.parts, audit.pictures) == []

    path = root / "annotations/instances_trainval.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["images"].append({**document["images"][0], "id": 77, "file_name": "again.jpg"})
    shutil.copy(root / "trainval/a.jpg", root / "trainval/again.jpg")
    path.write_text(json.dumps(document), encoding="utf-8")
    audit = audit_dataset(root)
    only_finding(audit.findings, "repeated-image")
    (copy,) = surplus_copies(audit.parts, audit.pictures)
    assert (copy.split, copy.image.image_id) == ("trainval", 77)


def test_file_that_train_and_trainval_list_is_no_copy(photos: Path) -> None:
    (photos / "ImageSets/Main/trainval.txt").write_text("a\nb\n", encoding="utf-8")

    audit = audit_dataset(photos)

    assert audit.findings == ()
    assert surplus_copies(audit.parts, audit.pictures) == []
