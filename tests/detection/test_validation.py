"""How the validations of a run stand: what is kept, and when patience ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from detection.data.discover import load_dataset
from detection.preprocess import Image
from detection.structures import Detections
from detection.validation import Standing, Validation
from tests.builders import ToyImage, ToyObject, write_voc


@pytest.mark.parametrize(
    ("values", "kept", "waited"),
    [
        ([], [], 0),
        ([None], [True], 0),  # no number counts as 0
        ([math.nan, 0.1], [True, True], 0),
        ([0.1, math.nan], [True, False], 1),
        ([0.1, 0.3, 0.2], [True, True, False], 1),
        ([0.5, 0.5], [True, True], 1),  # of equals the later is kept, yet it is no new best
        ([0.0, 0.0, 0.0], [True, True, True], 2),
        ([0.4, 0.3, 0.35, 0.41, 0.2], [True, False, False, True, False], 1),
    ],
)
def test_what_is_kept_and_how_long_nothing_was_better(
    values: list[float | None], kept: list[bool], waited: int
) -> None:
    standing = Standing()
    assert [standing.hear(value) for value in values] == kept
    assert standing.waited == waited
    assert not standing.exhausted  # no patience, no end


def test_patience_ends_after_so_many_validations_in_a_row() -> None:
    standing = Standing(2)
    ends = []
    for value in (0.3, 0.2, 0.4, 0.4, 0.1):
        standing.hear(value)
        ends.append(standing.exhausted)
    assert ends == [False, False, False, False, True]


@pytest.mark.parametrize("stop", range(6))
def test_a_later_sitting_counts_on(stop: int) -> None:
    values = [0.3, 0.2, 0.4, 0.4, 0.1, 0.2]
    whole = Standing(4)
    for value in values:
        whole.hear(value)
    later = Standing(4, kept=max(values[:stop], default=None), earlier=values[:stop])
    for value in values[stop:]:
        later.hear(value)
    assert vars(later) == vars(whole)


def test_a_kept_model_of_a_lost_future_is_not_overwritten_by_a_lesser_one() -> None:
    """A run with a time budget that was killed after a validation does not come back to the same numbers."""
    standing = Standing(3, kept=0.6, earlier=[0.3])
    assert not standing.hear(0.5)
    assert standing.waited == 0  # better than what the run itself had so far
    assert standing.hear(0.6)


def test_images_that_cannot_be_read_are_told_and_count_as_empty(tmp_path: Path) -> None:
    """A detector that finds every object: of three images of one, the one that is cut off takes a third of AR."""
    images = [ToyImage(name, (40, 60), (ToyObject("cat", (5, 5, 30, 30)),)) for name in "abc"]
    data = load_dataset(write_voc(tmp_path, {"val": images}), "val")
    path = data.images[1].path
    path.write_bytes(path.read_bytes()[:-400])  # its header is in order
    heard: list[Mapping[str, Any]] = []
    validation = Validation(
        data,
        wrap=lambda network: Knowing(),  # type: ignore[arg-type, return-value]
        metric="AP",
        keep=lambda network, step, numbers: None,
        log=lambda network, step, numbers: heard.append(numbers),
    )
    validation(torch.nn.Identity(), 1)
    assert list(validation.failures) == ["b.jpg"]
    assert [numbers["AR100"] for numbers in heard] == [pytest.approx(2 / 3)]


class Knowing:
    """A detector that knows where the cats are."""

    device = torch.device("cpu")

    def detect_images(self, images: Sequence[Image]) -> list[Detections]:
        box, label = torch.tensor([[5.0, 5.0, 30.0, 30.0]]), torch.tensor([0])
        return [Detections(box, torch.tensor([0.9]), label, (40, 60)) for _ in images]
