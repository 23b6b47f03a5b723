"""A sketch of many images answers as the whole set would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from detection import learnt_images
from detection.learnt_images import count_known, sketch_images


def gone(first: int, last: int) -> list[Path]:
    """Paths without files: names alone tell them apart."""
    return [Path(f"folder/{number}.jpg") for number in range(first, last)]


def test_few_images_are_counted_exactly() -> None:
    odd = Path(os.fsdecode(b"\xfc.jpg"))
    sketch = sketch_images([*gone(0, 100), odd])
    assert count_known(sketch, gone(90, 130)) == (10, 40)
    assert count_known(sketch, [odd, Path("elsewhere/1.jpg"), Path("x.jpg")]) == (2, 3)
    assert count_known(sketch, []) == (0, 0)
    assert count_known(sketch_images([]), gone(0, 3)) == (0, 3)


def test_an_image_of_the_same_name_is_told_by_its_size(tmp_path: Path) -> None:
    for folder, content in (("train", b"abc"), ("val", b"abcd"), ("moved", b"abc")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.jpg").write_bytes(content)
    sketch = sketch_images([tmp_path / "train/0.jpg"])
    assert count_known(sketch, [tmp_path / "val/0.jpg"]) == (0, 1)
    assert count_known(sketch, [tmp_path / "moved/0.jpg"]) == (1, 1)


def test_of_many_a_fair_sample_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learnt_images, "SKETCH", 1000)
    sketch = sketch_images(gone(0, 20_000))
    assert len(sketch) == 12 * 1000
    known = count_known(sketch, gone(15_000, 25_000))
    assert 400 < known.sample < 600  # a twentieth of what is asked, as of what is known
    assert known.learnt / known.sample == pytest.approx(0.5, abs=0.07)
    assert count_known(sketch, gone(0, 20_000)) == (1000, 1000)
    assert count_known(sketch, gone(20_000, 40_000)).learnt == 0
