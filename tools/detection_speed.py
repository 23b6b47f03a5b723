"""A trained detector's speed: each stage's time beside what the machine's matrix products would allow.

Legend: T images timed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from detection.detector import Detector
from detection.device import Compute, precision_name
from detection.folder import BATCH
from detection.memory import peak_gib
from detection.preprocess import Image, resized_size
from detection.side_by_side import count_lanes, side_by_side
from detection.timing import STAGES, count_multiply_adds, time_stages, wait_for
from tools.stopwatch import timed

READ = "read"
"""The part that comes before the stages where images are files."""

PRODUCT_SIDE = 2048
"""Side of the square matrices whose product is the ceiling: large enough that nothing but multiply-adds counts."""

PRODUCT_ROUNDS = 10

BATCH_ROUNDS = 5
BATCHES_OF_LANE = 4
"""How often the last images are detected together, as ``multibox detect`` takes a folder, and how often in a row."""


@dataclass(frozen=True)
class DetectionSpeed:
    """What was measured.

    Attributes:
        compute: Where, and in which precision.
        milliseconds: Part -> T milliseconds, in the order of an image's way; ``read`` first where there were files.
        multiply_adds: Part -> multiply-adds, mean of the T images; the parts of ``milliseconds``.
        ceiling: Multiply-adds per second of the machine's matrix products in this precision.
        memory_gib: Most memory that was in use; None where the system does not tell or peers used some of it too.
        peers: Name -> T milliseconds from pixels to boxes.
        batch: How many of the images were also detected together, at the end.
        lanes: How many such batches were detected side by side.
        in_batches: Milliseconds an image, from pixels to boxes, for each time that they were.
    """

    compute: Compute
    milliseconds: dict[str, list[float]]
    multiply_adds: dict[str, float]
    ceiling: float
    memory_gib: float | None
    peers: dict[str, list[float]]
    batch: int
    lanes: int
    in_batches: list[float]

    @property
    def precision(self) -> str:
        """The name of the numbers' type."""
        return precision_name(self.compute.precision)

    @property
    def total_milliseconds(self) -> float:
        """All parts of an image together, median of the images."""
        return median(map(sum, zip(*self.milliseconds.values(), strict=True)))

    @property
    def milliseconds_from_pixels(self) -> float:
        """The same without reading, as batches and peers are timed."""
        parts = [values for part, values in self.milliseconds.items() if part != READ]
        return median(map(sum, zip(*parts, strict=True)))

    def share_of_ceiling(self, multiply_adds: float, milliseconds: float) -> float:
        """The part of the time that the matrix products alone would take."""
        return multiply_adds / self.ceiling / (milliseconds / 1000)

    def show(self, console: Console) -> None:
        """One table, and below it what it was measured against."""
        whole, total_adds = self.total_milliseconds, sum(self.multiply_adds.values())
        from_pixels = self.milliseconds_from_pixels
        longest_word = max(map(len, " ".join(self.peers).split()), default=0)
        stage = Column("stage", min_width=longest_word + 1)  # the comma behind it
        table = Table(stage, "median, ms", "share", "multiply-adds, M", "of the ceiling")
        for part, values in self.milliseconds.items():
            table.add_row(part, *self._cells(median(values), self.multiply_adds[part], of=whole))
        table.add_section()
        table.add_row("in all", *self._cells(whole, total_adds, of=whole))
        if READ in self.milliseconds:
            table.add_row("from pixels", *self._cells(from_pixels, total_adds, of=whole))
        in_batches = median(self.in_batches)
        together = f"{self.batch} at a time" if self.lanes == 1 else f"{self.lanes} x {self.batch} at a time"
        table.add_row(f"{together}, from pixels", *self._cells(in_batches, total_adds, of=whole))
        for name, values in self.peers.items():
            times = f"{median(values) / from_pixels:.1f} times"
            table.add_row(f"{name}, from pixels", f"{median(values):.2f}", times, "", "")
        console.print(f"{self.compute.device}, {self.precision}, {len(self.milliseconds[STAGES[0]])} images")
        console.print(table)
        rate = f"{self.ceiling / 1e9:,.0f} billion multiply-adds a second"
        console.print(f"ceiling: {rate}, of products of {PRODUCT_SIDE} x {PRODUCT_SIDE} matrices")
        if self.memory_gib is not None:
            console.print(f"memory: at most {self.memory_gib:.2f} GiB")

    def _cells(self, milliseconds: float, multiply_adds: float, *, of: float) -> tuple[str, str, str, str]:
        share = f"{milliseconds / of:.0%}"
        if not multiply_adds:
            return f"{milliseconds:.2f}", share, "", ""
        of_ceiling = f"{self.share_of_ceiling(multiply_adds, milliseconds):.0%}"
        return f"{milliseconds:.2f}", share, f"{multiply_adds / 1e6:,.0f}", of_ceiling

    def to_document(self) -> dict[str, Any]:
        """For a file."""
        parts = {
            part: {"milliseconds": median(values), "multiply_adds": self.multiply_adds[part]}
            for part, values in self.milliseconds.items()
        }
        whole, total_adds = self.total_milliseconds, sum(self.multiply_adds.values())
        return {
            "device": str(self.compute.device),
            "precision": self.precision,
            "images": len(self.milliseconds[STAGES[0]]),
            "stages": parts,
            "milliseconds": whole,
            "milliseconds_from_pixels": self.milliseconds_from_pixels,
            "multiply_adds": total_adds,
            "ceiling_multiply_adds_per_second": self.ceiling,
            "share_of_ceiling": self.share_of_ceiling(total_adds, whole),
            "in_batches": {
                "images": self.batch,
                "side_by_side": self.lanes,
                "milliseconds": median(self.in_batches),
                "share_of_ceiling": self.share_of_ceiling(total_adds, median(self.in_batches)),
            },
            "memory_gib": self.memory_gib,
            "peers": {name: median(values) for name, values in self.peers.items()},
        }


def measure_detection(
    detector: Detector,
    countable: Detector,
    images: Iterable[Image],
    *,
    read_seconds: Sequence[float] | None,
    peers: dict[str, Callable[[Image], object]],
) -> DetectionSpeed:
    """Times every stage and the peers, one image after the other, and the last images together.

    Args:
        detector: A prepared one.
        countable: The same model, not prepared; its multiply-adds are counted.
        images: T at least one, (H, W, 3) uint8 RGB; ``BATCH`` are in memory at a time.
        read_seconds: Filled with T seconds as ``images`` are read; None where they are not read.
        peers: Name -> what finds the boxes of an image.

    Raises:
        InputError: If the detector is of the crop form.
    """
    sizes: list[tuple[int, int]] = []
    of_peers: dict[str, list[float]] = {name: [] for name in peers}
    last: deque[Image] = deque(maxlen=BATCH)

    def seen() -> Iterator[Image]:
        for image in images:
            for name, detect in peers.items():
                if not sizes:
                    detect(image)  # the first call is slower than all others
                of_peers[name].append(1000 * timed(detect, image)[1])
            last.append(image)
            sizes.append(resized_size((image.shape[0], image.shape[1]), detector.longest_side))
            yield image

    seconds = time_stages(detector, seen())
    lanes = count_lanes(detector.device)
    in_batches = _in_batches(detector, list(last), lanes=lanes)
    memory = None if peers else peak_gib(detector.device)
    if read_seconds is not None:
        seconds = {READ: list(read_seconds), **seconds}
    counted = {size: count_multiply_adds(countable, noise(size)) for size in set(sizes)}
    return DetectionSpeed(
        compute=Compute(detector.device, detector.precision),
        milliseconds={part: [1000 * value for value in values] for part, values in seconds.items()},
        multiply_adds={part: mean(counted[size].get(part, 0) for size in sizes) for part in seconds},
        ceiling=products_per_second(Compute(detector.device, detector.precision)),
        memory_gib=memory,
        peers=of_peers,
        batch=len(last),
        lanes=lanes,
        in_batches=in_batches,
    )


def _in_batches(detector: Detector, images: Sequence[Image], *, lanes: int) -> list[float]:
    """Milliseconds an image of several together; the first time, which packs weights for them, is left out."""
    batches = [images] * (lanes * BATCHES_OF_LANE)

    def detect() -> None:
        for _ in side_by_side(detector.detect_images, batches, lanes=lanes):
            pass

    detect()
    return [1000 * timed(detect)[1] / (len(images) * len(batches)) for _ in range(BATCH_ROUNDS)]


def products_per_second(compute: Compute) -> float:
    """Multiply-adds per second of a large matrix product, the best of several rounds."""
    a, b = torch.randn(2, PRODUCT_SIDE, PRODUCT_SIDE, dtype=torch.float32).to(*compute)
    best = 0.0
    for _ in range(PRODUCT_ROUNDS):
        _, seconds = timed(_multiply, a, b)
        best = max(best, PRODUCT_SIDE**3 / seconds)
    return best


def _multiply(a: Tensor, b: Tensor) -> None:
    """To the end: a GPU answers before it is done."""
    torch.mm(a, b)
    wait_for(a.device)


def noise(size_hw: tuple[int, int], seed: int = 0) -> Image:
    """(H, W, 3) uint8: a picture for measuring what depends on the size alone, apart from the number of proposals."""
    return np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
