"""A sketch of many names answers as the whole set would."""

from __future__ import annotations

import os

import pytest

from detection import learnt_images
from detection.learnt_images import count_known, sketch_names


def names(first: int, last: int) -> list[str]:
    return [f"folder/{number}.jpg" for number in range(first, last)]


def test_few_names_are_counted_exactly() -> None:
    sketch = sketch_names([*names(0, 100), os.fsdecode(b"\xfc.jpg"), "0.jpg"])
    assert count_known(sketch, names(90, 130)) == (10, 40)
    assert count_known(sketch, [os.fsdecode(b"\xfc.jpg"), "1.jpg"]) == (1, 2)
    assert count_known(sketch, []) == (0, 0)
    assert count_known(sketch_names([]), names(0, 3)) == (0, 3)


def test_of_many_a_fair_sample_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learnt_images, "SKETCH", 1000)
    sketch = sketch_names(names(0, 20_000))
    assert len(sketch) == 12 * 1000
    known = count_known(sketch, names(15_000, 25_000))
    assert 400 < known.sample < 600  # a twentieth of what is asked, as of what is known
    assert known.learnt / known.sample == pytest.approx(0.5, abs=0.07)
    assert count_known(sketch, names(0, 20_000)) == (1000, 1000)
    assert count_known(sketch, names(20_000, 40_000)).learnt == 0
