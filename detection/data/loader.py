"""Training batches: which images, in which order, at which size, and their random views.

Everything random follows from the seed and the step, never from a shared generator, so a run is the same with any
number of workers and goes on exactly where it stopped. Legend: B images of a batch, G ground truths, H/W padded size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from detection.chance import view_seed
from detection.data.augment import Augmentation
from detection.data.image_cache import ImageCache
from detection.data.iou_crop import iou_crop
from detection.data.mosaic import draw_mosaic, put_together
from detection.data.records import ImageRecord
from detection.data.scene import Scene, blank_scene, make_scene
from detection.errors import InputError
from detection.preprocess import Image, resize, resized_size, stack_images
from detection.processes import ALONE, Place
from detection.schedule import ResolutionPhase, draw_side, share_of_steps, side_at, sides_around
from detection.structures import Target
from detection.workers import make_loader
from proposals.structures import Proposals

_BATCHES_PER_GROUP = 16  # Sorted by shape together; more wastes less padding but shuffles less.


class ViewOdds(NamedTuple):
    """How likely a view is to show something other than the whole of one image.

    Attributes:
        mosaic: Probability that it is put together of four images.
        iou_crop: Probability that a part is cut out of it, before the other changes.
    """

    mosaic: float = 0.0
    iou_crop: float = 0.0

    def times(self, share: float) -> ViewOdds:
        """A share of both."""
        return ViewOdds(self.mosaic * share, self.iou_crop * share)


PLAIN = ViewOdds()
"""The whole of one image, always."""


class SampleKey(NamedTuple):
    """One view to make: image, seed of its chance, length of its longer side, odds of mosaics and crops."""

    image: int
    seed: int
    longest_side: int
    odds: ViewOdds = PLAIN


class Sample(NamedTuple):
    """One view.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        target: Its objects.
        given: Proposals of another method than the network's; None without one.
        file_name: The file it comes from; of a mosaic all four, joined by " + ".
        errors: File name -> why it could not be read; its place in the view then is blank and teaches nothing.
        num_files: How many it is made of.
    """

    image: Image
    target: Target
    given: Proposals | None
    file_name: str
    errors: Mapping[str, str]
    num_files: int


class Batch(NamedTuple):
    """B views.

    Attributes:
        images: (B, 3, H, W) uint8, padded.
        targets: B targets.
        given: B lists of proposals; None if none are given.
        file_names: B names.
        errors: File name -> reason of those not readable.
        num_files: How many files the views are made of.
    """

    images: Tensor
    targets: list[Target]
    given: list[Proposals] | None
    file_names: list[str]
    errors: dict[str, str]
    num_files: int

    def inputs(self, device: torch.device) -> tuple[Tensor, list[Target], list[Proposals] | None]:
        """Images, targets and given proposals on a device."""
        given = None if self.given is None else [proposals.to(device) for proposals in self.given]
        return self.images.to(device), [target.to(device) for target in self.targets], given

    def tensors(self) -> dict[str, Tensor]:
        """Images, and the objects and given proposals of each by its number."""
        found = {"images": self.images}
        for number, target in enumerate(self.targets):
            found |= {f"{name}.{number}": getattr(target, name) for name in ("boxes", "labels", "ignore")}
        for number, proposals in enumerate(self.given or []):
            found |= {f"proposals.{number}": proposals.boxes}
        return {name: tensor.contiguous() for name, tensor in found.items()}


class TrainingSet(Dataset[Sample]):
    """Random views of the training images.

    Args:
        records: The images.
        augmentation: Makes the views.
        cache: Keeps decoded images.
    """

    def __init__(self, records: Sequence[ImageRecord], augmentation: Augmentation, cache: ImageCache) -> None:
        self.records = tuple(records)
        self.augmentation = augmentation
        self.cache = cache

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SampleKey) -> Sample:
        """Makes the view that ``key`` asks for; a file that cannot be read makes a blank one with the reason.

        In a mosaic it leaves its own quarter blank.
        """
        errors: dict[str, str] = {}
        draw = draw_mosaic(key.seed, len(self.records), probability=key.odds.mosaic)
        indices = (key.image, *(() if draw is None else draw.partners))
        zooms = (1.0,) if draw is None else draw.zooms
        scenes = [self._scene(*each, key.longest_side, errors) for each in zip(indices, zooms, strict=True)]
        scene = scenes[0]
        if draw is not None:
            scene = put_together(scenes, draw, resized_size(self.records[key.image].size_hw, key.longest_side))
        if draw is not None or not errors:  # a view that is blank as a whole stays so
            scene = iou_crop(scene, probability=key.odds.iou_crop, seed=key.seed)
            scene = scene.shown_in(self.augmentation(scene.image, scene.boxes, seed=key.seed))
        given = None if self.cache.regions is None else scene.proposals()
        names = " + ".join(self.records[index].file_name for index in indices)
        return Sample(scene.image, scene.target(), given, names, errors, len(indices))

    def _scene(self, index: int, zoom: float, longest_side: int, errors: dict[str, str]) -> Scene:
        """An image with its boxes, ``zoom`` times as large as alone; blank, with its error, if it cannot be read."""
        record = self.records[index]
        size_hw = resized_size(record.size_hw, max(1, round(longest_side * zoom)))
        try:
            image, given = self.cache.get(index, record)
        except InputError as error:
            if isinstance(error.__cause__, MemoryError):  # no fault of the image
                raise MemoryError(str(error)) from error
            errors[record.file_name] = str(error)
            return blank_scene(size_hw)
        return make_scene(resize(image, size_hw), record, given)


def collate(samples: Sequence[Sample]) -> Batch:
    """Pads the views of a batch to one size."""
    images = stack_images([sample.image for sample in samples])
    errors = {name: reason for sample in samples for name, reason in sample.errors.items()}
    given = [sample.given for sample in samples if sample.given is not None]
    targets, names = [sample.target for sample in samples], [sample.file_name for sample in samples]
    return Batch(images, targets, given or None, names, errors, sum(sample.num_files for sample in samples))


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Batches of one pass over the images; at least one."""
    return max(1, -(-num_images // batch_size))


def plan_epoch(aspects: npt.NDArray[np.float64], *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Deals the images out to batches: shuffled, with images of like shape together, all batches full.

    Args:
        aspects: (N,) height / width of each image.
        batch_size: B; a set smaller than a batch makes one batch of N.
        seed: Of the run.
        epoch: Number of the pass.

    Returns:
        Batches of indices. Every image comes at least once; the last batch is filled up from the first images.
    """
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(aspects))
    if batch_size >= len(order):
        return [order.tolist()]
    order = np.concatenate([order, order[: -len(order) % batch_size]])
    batches = []
    for start in range(0, len(order), batch_size * _BATCHES_PER_GROUP):
        group = order[start : start + batch_size * _BATCHES_PER_GROUP]
        group = group[np.argsort(aspects[group], kind="stable")]
        batches += [group[i : i + batch_size].tolist() for i in range(0, len(group), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


class BatchPlan(Sampler[list[SampleKey]]):
    """The batches of a whole run as sample keys, epoch after epoch without end, from a given step on.

    Args:
        aspects: (N,) height / width of each image.
        batch_size: B.
        seed: Of the run.
        first_step: Step to begin with; a resumed run begins in the middle of an epoch.
        side_at: Length of the longer side at a step.
        odds_at: Odds of mosaics and crops at a step.
    """

    def __init__(
        self,
        aspects: npt.NDArray[np.float64],
        *,
        batch_size: int,
        seed: int,
        first_step: int,
        side_at: Callable[[int], int],
        odds_at: Callable[[int], ViewOdds] = lambda step: PLAIN,
    ) -> None:
        self.aspects = aspects
        self.batch_size = batch_size
        self.seed = seed
        self.first_step = first_step
        self.side_at = side_at
        self.odds_at = odds_at
        self.steps_per_epoch = steps_per_epoch(len(aspects), batch_size)

    def _batches(self, epoch: int) -> list[list[int]]:
        return plan_epoch(self.aspects, batch_size=self.batch_size, seed=self.seed, epoch=epoch)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yields the keys of one step after the other."""
        step = self.first_step
        while True:
            epoch, done = divmod(step, self.steps_per_epoch)
            for batch in self._batches(epoch)[done:]:
                side, odds = self.side_at(step), self.odds_at(step)
                seeds = [view_seed(self.seed, step, row) for row in range(len(batch))]
                yield [SampleKey(image, seed, side, odds) for image, seed in zip(batch, seeds, strict=True)]
                step += 1


class OwnPart(Sampler[list[SampleKey]]):
    """One process's equal part of each batch of a plan.

    Args:
        plan: Batches of all processes.
        place: Which of them this is.
    """

    def __init__(self, plan: BatchPlan, place: Place) -> None:
        self.plan = plan
        self.place = place

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yields the keys of one step after the other."""
        for keys in self.plan:
            own = len(keys) // self.place.processes
            yield keys[self.place.rank * own :][:own]


def steps_of_many(many_epochs: int, steps_per_epoch: int, *, enough_steps: int) -> int:
    """Steps from which a run makes many passes; 0 where any run counts as such (``many_epochs`` = 0)."""
    return max(many_epochs * steps_per_epoch, enough_steps) if many_epochs else 0


NONE_UNTIL = 3 / 8
"""30 of 80 passes: where cells stand still if they see the same views."""


def share_of_odds(steps: float, needed: int) -> float:
    """How much of the odds of mosaics and crops a run has by its length.

    Up to ``NONE_UNTIL`` of the steps that are needed for all of it a run has nothing, from there on in proportion: the
    more often an image is seen, the more its views have to differ (docs/decisions.md, 49 and 59).

    Args:
        steps: Of the run.
        needed: From ``steps_of_many``.

    Returns:
        From 0 to 1.
    """
    return min(1.0, max(0.0, (steps / needed - NONE_UNTIL) / (1 - NONE_UNTIL))) if needed else 1.0


@dataclass(frozen=True)
class DetectionBatches:
    """The training batches of a detector.

    Attributes:
        training_set: The images and their views.
        batch_size: B.
        seed: Of the run.
        workers: Processes that read; 0 reads in this one.
        phases: Longer side of the input by progress.
        multi_scale: Each batch has a side up to this share smaller or larger than its phase's.
        odds: Of mosaics and crops, in a run of many passes.
        many_epochs: Passes that are many; a shorter run has less of them, one of ``NONE_UNTIL`` of the passes none.
            0: any run has them in full.
        enough_steps: Steps that such a run has at least: with fewer there is more to learn than to forget.
        mosaic_until: Share of the run with mosaics; the rest shows single images.
        by_time: Whether the run's budget is time on a CPU, where steps at smaller inputs take less.
        place: Which of how many training processes takes these B images of each step.
    """

    training_set: TrainingSet
    batch_size: int
    seed: int
    workers: int
    phases: Sequence[ResolutionPhase]
    multi_scale: float = 0.0
    odds: ViewOdds = PLAIN
    many_epochs: int = 0
    enough_steps: int = 0
    mosaic_until: float = 1.0
    by_time: bool = False
    place: Place = ALONE

    @property
    def step_size(self) -> int:
        """Images of a step, of all processes."""
        return self.batch_size * self.place.processes

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the images."""
        return steps_per_epoch(len(self.training_set), self.step_size)

    def batches(self, first_step: int, progress_at: Callable[[int], float]) -> Iterable[Batch]:
        """Batches without end; one loader for all of them, so that workers and their caches live as long."""
        records = self.training_set.records

        def side(step: int) -> int:
            middle = side_at(progress_at(step), self.phases)
            return draw_side(middle, self.multi_scale, seed=self.seed, step=step)

        plan = BatchPlan(
            np.array([record.size_hw[0] / record.size_hw[1] for record in records]),
            batch_size=self.step_size,
            seed=self.seed,
            first_step=first_step,
            side_at=side,
            odds_at=lambda step: self.odds_at(step, progress_at(step)),
        )
        return make_loader(self.training_set, OwnPart(plan, self.place), collate, workers=self.workers)

    def odds_at(self, step: int, progress: float) -> ViewOdds:
        """Odds of mosaics and crops at a step, at which that share of the budget is spent."""
        odds = self.odds.times(self._share_of_odds(step, progress))
        return odds if progress < self.mosaic_until else odds._replace(mosaic=0.0)

    def _share_of_odds(self, step: int, progress: float) -> float:
        """By the steps that the whole run will make, going by those so far; unknown in the first pass.

        A budget of minutes shows its steps only as it goes; one of steps gives the same answer throughout.
        """
        needed = steps_of_many(self.many_epochs, self.steps_per_epoch, enough_steps=self.enough_steps)
        if needed and step < self.steps_per_epoch:
            return 0.0
        share = share_of_steps(progress, self.phases) if self.by_time else progress
        return share_of_odds(step / max(share, 1e-9), needed)

    def largest_batch(self) -> Batch:
        """One half the squarest images, which fill the padded size most, the other whole ones with the most objects."""
        records = self.training_set.records
        shape = sorted(range(len(records)), key=lambda row: -min(records[row].size_hw) / max(records[row].size_hw))
        objects = sorted(range(len(records)), key=lambda row: -len(records[row].boxes))
        half = -(-self.batch_size // 2)
        side = sides_around(max(phase.side for phase in self.phases), self.multi_scale)[-1]
        together = ViewOdds(mosaic=float(self.odds.mosaic > 0))
        keys = [SampleKey(row, 0, side, together) for row in shape[:half]]
        keys += [SampleKey(row, 0, side) for row in objects[: self.batch_size - half]]
        return collate([self.training_set[key] for key in keys])
