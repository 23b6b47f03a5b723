"""A trained detector as its users hold it: images in, detections in their own pixels out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import nn

from backbone.fused import fuse_convolutions
from backbone.inception import fold_batch_norm
from detection.calibration import Calibration
from detection.crop.network import CropNetwork
from detection.data.image import read_image
from detection.data.source import list_source
from detection.device import Compute
from detection.ensemble import MemberHeads
from detection.errors import InputError
from detection.network import Answer, DetectionNetwork, Judgement, conclude
from detection.preprocess import Image, check_images, original_boxes, padded_size, resized_size, scale_and_stack
from detection.regions import RegionSource
from detection.structures import Detections
from proposals.structures import Proposals


class Detector:
    """Network, preprocessing and class names together, so that they can never be mismatched.

    Args:
        network: The trained network, of either form; it is switched to evaluation mode and moved to ``device``.
        class_names: C names; a detection's label indexes into them.
        category_ids: C ids of the training data.
        longest_side: Longer side of the network's input in pixels.
        compute: Device, and ``torch.bfloat16`` or ``torch.float32``; decided by whoever knows the device.
        regions: Gives the proposals of another method than the network's own; None where it needs none.

    Attributes:
        calibration: Maps the scores of detections after NMS; None leaves them as the network gives them. Set by
            ``load_detector`` from the model file.
    """

    def __init__(
        self,
        network: DetectionNetwork | CropNetwork,
        *,
        class_names: Sequence[str],
        category_ids: Sequence[int],
        longest_side: int,
        compute: Compute,
        regions: RegionSource | None = None,
    ) -> None:
        self.device, self.precision = compute
        self.network = network.eval().to(self.device).to(memory_format=torch.channels_last)
        self.class_names = tuple(class_names)
        self.category_ids = tuple(category_ids)
        self.longest_side = longest_side
        self.regions = regions
        self.calibration: Calibration | None = None
        self._is_prepared = False

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", precision: str = "auto") -> Detector:
        """Reads a ``model.safetensors`` that ``multibox train`` wrote, ready to detect.

        Args:
            path: The model file.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            precision: ``auto``, ``float32`` or ``bfloat16``.

        Raises:
            InputError: If the file is missing, damaged, or not a model.
        """
        from detection.build import load_detector  # build composes this class; only the shortcut looks back.

        return load_detector(Path(path), device=device, precision=precision)

    @property
    def max_detections(self) -> int:
        """Detections of an image at most."""
        return self.network.detection_settings.max_detections

    @property
    def thresholds(self) -> Mapping[str, tuple[float | None, ...]]:
        """Kind -> lowest score of each class, as ``multibox calibrate`` chose them; empty where it did not."""
        return {} if self.calibration is None else self.calibration.thresholds

    def prepare(self) -> None:
        """Makes the network as fast as it gets: same answers, less time; it can't be trained further.

        Batch normalisation is merged into the convolutions, weights are cast to the precision once instead of at every
        call, and on a CPU convolutions rectify their results themselves.
        """
        fold_batch_norm(self.network)
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | MemberHeads):
                module.to(self.precision)
        fuse_convolutions(self.network)
        self._is_prepared = True

    def _autocast(self) -> AbstractContextManager[None]:
        mixed = self.precision != torch.float32 and not self._is_prepared
        return torch.autocast(self.device.type, dtype=self.precision, enabled=mixed)

    def detect_image(self, image: Image) -> Detections:
        """(H, W, 3) uint8 RGB of any size -> detections in its pixels."""
        return self.answer([image])[0].detections

    def detect_images(self, images: Sequence[Image]) -> list[Detections]:
        """Detections of several images at once, in the order given; the same as one by one."""
        return [answer.detections for answer in self.answer(images)]

    @torch.inference_mode()
    def answer(self, images: Sequence[Image]) -> list[Answer]:
        """Proposals and detections of several images at once; those of one padded shape share a batch of any length.

        Args:
            images: (H, W, 3) uint8 RGB, each of any size.

        Returns:
            The answer for each, on the CPU, in its own pixels and in the order given.

        Raises:
            InputError: If an image has another shape or type.
        """
        check_images(images)
        sizes = [resized_size((image.shape[0], image.shape[1]), self.longest_side) for image in images]
        by_shape: dict[tuple[int, int], list[int]] = {}
        for index, size_hw in enumerate(sizes):
            by_shape.setdefault(padded_size(size_hw), []).append(index)
        answers: dict[int, Answer] = {}
        for rows in by_shape.values():
            batch = scale_and_stack([images[row] for row in rows], [sizes[row] for row in rows]).to(self.device)
            given = None if self.regions is None else [self.given(images[row], sizes[row]) for row in rows]
            with self._autocast():
                found = self.network(batch, [sizes[row] for row in rows], given)
            for row, answer in zip(rows, found, strict=True):
                answers[row] = self._finish(answer, (images[row].shape[0], images[row].shape[1]))
        return [answers[row] for row in range(len(images))]

    @torch.inference_mode()
    def judge(self, image: Image) -> tuple[Answer, Judgement]:
        """The answer for one image, and what the classifier said of each of its proposals before any was dropped.

        Args:
            image: (H, W, 3) uint8 RGB of any size.

        Returns:
            What ``answer`` gives, and the judgement in pixels of the network's input, on its device.
        """
        size_hw = resized_size((image.shape[0], image.shape[1]), self.longest_side)
        batch = scale_and_stack([image], [size_hw]).to(self.device)
        given = None if self.regions is None else [self.given(image, size_hw)]
        with self._autocast():
            (judgement,) = self.network.judge(batch, [size_hw], given)
            found = conclude(judgement, self.network.detection_settings)
        return self._finish(found, (image.shape[0], image.shape[1])), judgement

    def _finish(self, answer: Answer, size_hw: tuple[int, int]) -> Answer:
        """The answer in pixels of the image it was asked for, on the CPU, with calibrated scores."""
        mapped = _in_original_pixels(answer, size_hw)
        if self.calibration is None:
            return mapped
        return mapped._replace(detections=self.calibration.apply(mapped.detections))

    def given(self, image: Image, scaled_hw: tuple[int, int]) -> Proposals:
        """The proposals of ``regions``, in pixels of the network's input."""
        assert self.regions is not None
        found = self.regions(image)
        boxes = original_boxes(found.boxes, found.image_size_hw, scaled_hw)
        return Proposals(boxes, found.scores, scaled_hw).to(self.device)

    def detect(
        self, source: str | Path, *, on_error: Callable[[Path, InputError], None] | None = None
    ) -> Iterator[tuple[Path, Detections]]:
        """Detects on an image file or on every image of a folder and its subfolders, one at a time.

        Args:
            source: An image, a folder, a pattern or a list of images.
            on_error: Hears of an image that cannot be read, which is then passed over; None raises instead, at the
                image's turn.

        Yields:
            The path of each image and its detections, in the order of the names.

        Raises:
            InputError: If the source does not exist or holds no image, or an image cannot be read.
        """
        for _, image_path in list_source(Path(source)):
            try:
                image = read_image(image_path)
            except InputError as error:
                if on_error is None:
                    raise
                on_error(image_path, error)
            else:
                yield image_path, self.detect_image(image)


def _in_original_pixels(answer: Answer, size_hw: tuple[int, int]) -> Answer:
    """The answer mapped back to the image it was asked for, on the CPU."""
    proposals, detections = answer
    scaled = proposals.image_size_hw
    return Answer(
        Proposals(original_boxes(proposals.boxes, scaled, size_hw).cpu(), proposals.scores.cpu(), size_hw),
        Detections(
            original_boxes(detections.boxes, scaled, size_hw).cpu(),
            detections.scores.cpu(),
            detections.labels.cpu(),
            size_hw,
        ),
    )
