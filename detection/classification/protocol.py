"""The paper's test of classifiers (1409.4842, section 7): top-1 and top-5 error by number of models and of crops.

Softmax is averaged over the crops of an image, then over the models; the paper found the maximum over crops worse.
Legend: I images; B images of a batch; N different crops of one image; M models; K protocols (numbers of crops);
C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from detection.classification.classifier import Classifier
from detection.classification.crops import NUM_CROPS, Crops, cut_crops
from detection.classification.packed import PackedImages
from detection.errors import InputError

MAX_MODELS = 7
"""Models of the paper's ensemble."""

MAX_BATCH = NUM_CROPS[-1]
"""Most crops that a model gets at once, which bounds the memory: those of one image, or of three square ones."""

_MAX_NAMED = 5


@dataclass(frozen=True)
class ProtocolCell:
    """One row of the paper's table 3.

    Attributes:
        models: How many models were averaged, the first ones of those given. The paper's single one is the best on
            the validation part: name that first.
        crops: How many crops of each image were averaged.
        top1_error: Share of the images, in [0, 1], whose class is not the most probable one.
        top5_error: The same for the five most probable ones; None if there are fewer than five classes.
        images: How many images were classified.
    """

    models: int
    crops: int
    top1_error: float
    top5_error: float | None
    images: int

    @property
    def cost(self) -> int:
        """Crops that are classified for one image; the paper counts coinciding ones too."""
        return self.models * self.crops


def measure_errors(
    models: Sequence[Classifier],
    images: PackedImages,
    *,
    side: int,
    num_crops: int = NUM_CROPS[-1],
    indices: Sequence[int] | None = None,
    heard: Callable[[], None] | None = None,
) -> list[ProtocolCell]:
    """Classifies images by every number of models and of crops, in one pass.

    Of equally probable classes the one with the smaller label comes first. An answer that is not a number is wrong.

    Args:
        models: 1 to 7 models of the same classes.
        images: Images with labels of these classes.
        side: Side of the crops.
        num_crops: The greatest number of crops, one of ``NUM_CROPS``.
        indices: Which images; None takes all.
        heard: Called after each image, for progress.

    Returns:
        A cell for every number of models and each of ``NUM_CROPS`` up to ``num_crops``; models first, ascending.

    Raises:
        InputError: If the models do not fit each other or the images, or there is no image.
    """
    check_models(models)
    if difference := _name_difference(models[0].class_names, images.class_names):
        raise InputError(f"the images have other classes than the models: {difference}; give the models' own data set")
    chosen = range(len(images)) if indices is None else indices
    if not len(chosen):
        raise InputError("there is no image to classify; give a data set with images")
    ranks = []
    for batch in _batches(images, chosen, side, num_crops):
        probabilities = _summed_probabilities(models, [crops for _, crops in batch])
        ranks.append(_ranks(probabilities, [int(images.labels[index]) for index, _ in batch]))
        for _ in batch:
            if heard is not None:
                heard()
    return _cells(np.concatenate(ranks), num_classes=len(images.class_names))


def spread_evenly(total: int, limit: int | None) -> list[int]:
    """Indices of ``limit`` of ``total`` things at equal distances from the first one on; of all if there are fewer."""
    count = total if limit is None else min(limit, total)
    return [number * total // count for number in range(count)]


def check_models(models: Sequence[Classifier]) -> None:
    """Checks that models can be averaged.

    Raises:
        InputError: If there are none or too many, or their classes differ.
    """
    if not 1 <= len(models) <= MAX_MODELS:
        raise InputError(f"expected 1 to {MAX_MODELS} models, got {len(models)}")
    for number, model in enumerate(models[1:], start=2):
        if difference := _name_difference(models[0].class_names, model.class_names):
            raise InputError(
                f"model {number} has other classes than model 1: {difference}; give models of one data set"
            )


def _name_difference(expected: Sequence[str], found: Sequence[str]) -> str:
    """How a list of class names differs from the expected one, in words; empty if it does not."""
    if tuple(expected) == tuple(found):
        return ""
    missing = [name for name in expected if name not in set(found)]
    added = [name for name in found if name not in set(expected)]
    parts = [f"{verb} {_listed(names)}" for verb, names in (("lacks", missing), ("adds", added)) if names]
    return " and ".join(parts) or "the same names in another order"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(map(repr, names[:_MAX_NAMED])) + (f" and {more} more" if more > 0 else "")


def common_side(models: Sequence[Classifier]) -> int:
    """The side that all models were trained for.

    Raises:
        InputError: If they differ.
    """
    sides = sorted({model.side for model in models})
    if len(sides) > 1:
        raise InputError(f"the models were trained for inputs of {' and '.join(map(str, sides))} pixels; name one side")
    return sides[0]


def _batches(
    images: PackedImages, indices: Sequence[int], side: int, num_crops: int
) -> Iterator[list[tuple[int, Crops]]]:
    """Images with their crops, as many at a time as ``MAX_BATCH`` crops allow."""
    batch: list[tuple[int, Crops]] = []
    size = 0
    for index in indices:
        crops = cut_crops(images.image(index), side, num_crops)
        if batch and size + len(crops.images) > MAX_BATCH:
            yield batch
            batch, size = [], 0
        batch.append((index, crops))
        size += len(crops.images)
    yield batch


@torch.inference_mode()
def _summed_probabilities(models: Sequence[Classifier], batch: Sequence[Crops]) -> Tensor:
    """Means over crops, summed over the first models: B x (N, S, S, 3) -> (B, M, K, C) float64.

    The sums rank classes as the means do.
    """
    inputs = np.concatenate([crops.images for crops in batch])
    counts = [len(crops.images) for crops in batch]
    weights = [torch.from_numpy(crops.weights) for crops in batch]
    by_model = []
    for model in models:
        by_image = model.probabilities(inputs).double().split(counts)
        by_model.append(torch.stack([weight @ part for weight, part in zip(weights, by_image, strict=True)]))
    return torch.stack(by_model, dim=1).cumsum(dim=1)


def _ranks(probabilities: Tensor, labels: Sequence[int]) -> npt.NDArray[np.int64]:
    """Place of the true class among all, 0 the first: (B, M, K, C) and B labels -> (B, M, K)."""
    truth = torch.tensor(labels).reshape(-1, 1, 1, 1)
    true_class = probabilities.gather(-1, truth.expand(*probabilities.shape[:-1], 1))
    later = torch.arange(probabilities.shape[-1]) > truth
    # Counted from the end: comparisons with NaN are false, so it beats no class.
    beaten = (probabilities < true_class) | ((probabilities == true_class) & later)
    return (probabilities.shape[-1] - 1 - beaten.sum(dim=-1)).numpy()


def _cells(ranks: npt.NDArray[np.int64], *, num_classes: int) -> list[ProtocolCell]:
    """Errors from the ranks (I, M, K) of all images."""
    num_images, num_models, num_protocols = ranks.shape
    top1, top5 = (ranks >= 1).mean(axis=0), (ranks >= 5).mean(axis=0)
    return [
        ProtocolCell(
            models=model + 1,
            crops=NUM_CROPS[protocol],
            top1_error=float(top1[model, protocol]),
            top5_error=float(top5[model, protocol]) if num_classes >= 5 else None,
            images=num_images,
        )
        for model in range(num_models)
        for protocol in range(num_protocols)
    ]
