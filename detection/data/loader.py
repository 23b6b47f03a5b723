"""Training batches: which images, in which order, at which size, and their random views.

Everything random follows from the seed and the step, never from a shared generator, so a run is the same with any
number of workers and goes on exactly where it stopped. Legend: B images of a batch, G ground truths, H/W padded size.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from detection.data.augment import Augmentation
from detection.data.image import read_image
from detection.data.records import ImageRecord
from detection.errors import InputError
from detection.preprocess import PAD_COLOUR, Image, resize, resized_size, stack_images
from detection.regions import RegionSource
from detection.schedule import ResolutionPhase, side_at
from detection.structures import Target
from proposals.structures import Proposals

SampleT = TypeVar("SampleT")
BatchT = TypeVar("BatchT")

_BATCHES_PER_GROUP = 16  # Sorted by shape together; more wastes less padding but shuffles less.

MIN_VISIBLE = 0.3
"""An object of which less than this share is left in a view is ignored: neither trained on nor background."""


class SampleKey(NamedTuple):
    """One view to make: image, seed of its chance, length of its longer side."""

    image: int
    seed: int
    longest_side: int


class Sample(NamedTuple):
    """One view.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        target: Its objects.
        given: Proposals of another method than the network's; None without one.
        file_name: The file it comes from.
        error: Why that file could not be read; the view then is blank and teaches nothing. None if it could.
    """

    image: Image
    target: Target
    given: Proposals | None
    file_name: str
    error: str | None = None


class Batch(NamedTuple):
    """B views.

    Attributes:
        images: (B, 3, H, W) uint8, padded.
        targets: B targets.
        given: B lists of proposals; None if none are given.
        file_names: B names.
        errors: File name -> reason of those not readable.
    """

    images: Tensor
    targets: list[Target]
    given: list[Proposals] | None
    file_names: list[str]
    errors: dict[str, str]

    def inputs(self, device: torch.device) -> tuple[Tensor, list[Target], list[Proposals] | None]:
        """Images, targets and given proposals on a device."""
        given = None if self.given is None else [proposals.to(device) for proposals in self.given]
        return self.images.to(device), [target.to(device) for target in self.targets], given


class CachedImage(NamedTuple):
    """An image (h, w, 3) uint8 RGB, scaled down, and its given proposals (P, 4) xyxy in pixels of the original."""

    image: Image
    given: npt.NDArray[np.float32] | None

    @property
    def nbytes(self) -> int:
        """Memory that both take."""
        return self.image.nbytes + (0 if self.given is None else self.given.nbytes)


class ImageCache:
    """Keeps decoded images in memory, scaled down to what training needs, until the limit is reached.

    Args:
        longest_side: Images are scaled down to this longer side before they are kept.
        max_bytes: Limit; images beyond it are decoded anew each time.
        regions: Gives proposals of another method than the network's own; None gives none.
    """

    def __init__(self, longest_side: int, max_bytes: int, regions: RegionSource | None = None) -> None:
        self.longest_side = longest_side
        self.free_bytes = max_bytes
        self.regions = regions
        self._entries: dict[int, CachedImage] = {}

    def get(self, index: int, record: ImageRecord) -> CachedImage:
        """The image of ``record``, at most ``longest_side`` long, and its given proposals."""
        if (entry := self._entries.get(index)) is not None:
            return entry
        image = read_image(record.path)
        given = None if self.regions is None else self.regions(image).boxes.numpy()
        if max(image.shape[:2]) > self.longest_side:
            image = resize(image, resized_size((image.shape[0], image.shape[1]), self.longest_side))
        entry = CachedImage(image, given)
        if entry.nbytes <= self.free_bytes:
            self.free_bytes -= entry.nbytes
            self._entries[index] = entry
        return entry


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
        """Makes the view that ``key`` asks for; a file that cannot be read makes a blank one with the reason."""
        record = self.records[key.image]
        size_hw = resized_size(record.size_hw, key.longest_side)
        try:
            image, given = self.cache.get(key.image, record)
        except InputError as error:
            return _blank(size_hw, record.file_name, str(error), with_given=self.cache.regions is not None)
        height, width = (new / old for new, old in zip(size_hw, record.size_hw, strict=True))
        scale = np.array([width, height, width, height], dtype=np.float32)
        # Objects and proposals pass through one view; the objects come first.
        boxes = record.boxes if given is None else np.concatenate([record.boxes, given])
        view = self.augmentation(resize(image, size_hw), boxes * scale, seed=key.seed)
        of_object = view.rows < len(record.boxes)
        rows = view.rows[of_object]
        target = Target(
            torch.from_numpy(view.boxes[of_object]),
            torch.from_numpy(record.labels[rows]),
            torch.from_numpy(record.ignore[rows] | (view.visible[of_object] < MIN_VISIBLE)),
            size_hw,
        )
        seen = None if given is None else _ranked(view.boxes[~of_object & (view.visible >= MIN_VISIBLE)], size_hw)
        return Sample(view.image, target, seen, record.file_name)


def _ranked(boxes: npt.NDArray[np.float32], size_hw: tuple[int, int]) -> Proposals:
    """Proposals (P, 4) with scores that keep their order."""
    scores = torch.linspace(1.0, 0.0, len(boxes) + 1)[:-1]
    return Proposals(torch.from_numpy(boxes), scores, size_hw)


def _blank(size_hw: tuple[int, int], file_name: str, error: str, *, with_given: bool) -> Sample:
    """A view of the padding's colour, ignored as a whole: nothing is learnt from it."""
    height, width = size_hw
    image = np.full((height, width, 3), PAD_COLOUR, dtype=np.uint8)
    whole = torch.tensor([[0.0, 0.0, width, height]])
    target = Target(whole, torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.bool), size_hw)
    given = _ranked(np.zeros((0, 4), dtype=np.float32), size_hw) if with_given else None
    return Sample(image, target, given, file_name, error)


def collate(samples: Sequence[Sample]) -> Batch:
    """Pads the views of a batch to one size."""
    images = stack_images([sample.image for sample in samples])
    errors = {sample.file_name: sample.error for sample in samples if sample.error is not None}
    given = [sample.given for sample in samples if sample.given is not None]
    targets, names = [sample.target for sample in samples], [sample.file_name for sample in samples]
    return Batch(images, targets, given or None, names, errors)


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
    """

    def __init__(
        self,
        aspects: npt.NDArray[np.float64],
        *,
        batch_size: int,
        seed: int,
        first_step: int,
        side_at: Callable[[int], int],
    ) -> None:
        self.aspects = aspects
        self.batch_size = batch_size
        self.seed = seed
        self.first_step = first_step
        self.side_at = side_at
        self.steps_per_epoch = steps_per_epoch(len(aspects), batch_size)

    def _batches(self, epoch: int) -> list[list[int]]:
        return plan_epoch(self.aspects, batch_size=self.batch_size, seed=self.seed, epoch=epoch)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Yields the keys of one step after the other."""
        step = self.first_step
        while True:
            epoch, done = divmod(step, self.steps_per_epoch)
            for batch in self._batches(epoch)[done:]:
                side = self.side_at(step)
                yield [SampleKey(image, view_seed(self.seed, step, row), side) for row, image in enumerate(batch)]
                step += 1


def view_seed(seed: int, step: int, row: int) -> int:
    """A seed for one view, well spread over 32 bits."""
    return int(np.random.SeedSequence((seed, step, row)).generate_state(1)[0])


def start_worker(worker: int) -> None:
    """Sets up a loader's process: the main process alone answers Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass(frozen=True)
class DetectionBatches:
    """The training batches of a detector.

    Attributes:
        training_set: The images and their views.
        batch_size: B.
        seed: Of the run.
        workers: Processes that read; 0 reads in this one.
        phases: Longer side of the input by progress.
    """

    training_set: TrainingSet
    batch_size: int
    seed: int
    workers: int
    phases: Sequence[ResolutionPhase]

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the images."""
        return steps_per_epoch(len(self.training_set), self.batch_size)

    def batches(self, first_step: int, progress_at: Callable[[int], float]) -> Iterable[Batch]:
        """Batches without end; one loader for all of them, so that workers and their caches live as long."""
        records = self.training_set.records
        plan = BatchPlan(
            np.array([record.size_hw[0] / record.size_hw[1] for record in records]),
            batch_size=self.batch_size,
            seed=self.seed,
            first_step=first_step,
            side_at=lambda step: side_at(progress_at(step), self.phases),
        )
        return make_loader(self.training_set, plan, collate, workers=self.workers)


def make_loader(
    dataset: Dataset[SampleT], plan: BatchPlan, collate: Callable[[Sequence[SampleT]], BatchT], *, workers: int
) -> Iterable[BatchT]:
    """A loader over a whole run; 0 workers read in this process."""
    return DataLoader(dataset, batch_sampler=plan, collate_fn=collate, num_workers=workers, worker_init_fn=start_worker)
