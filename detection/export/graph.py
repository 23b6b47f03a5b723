"""The whole detector as tensor operations: pixels of any size in, the detections of a batch out.

The same as ``Detector`` for images of one size, written so that an exporter can follow it: no loop over images, and no
Python number that depends on an input. Suppression works on all images at once, since boxes of different images (and
of different classes) are moved apart.
Legend: B images, H/W their size, K priors, N candidates and P proposals of an image, C classes, D detections in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from detection.detector import Detector
from detection.ensemble import EnsembleOutput, mean_offsets, mean_probabilities
from detection.errors import InputError
from detection.export.pixels import prepare_pixels
from detection.matrix_nms import decay_scores, num_candidates
from detection.network import DetectionNetwork
from detection.postprocess import refine_boxes
from detection.preprocess import PAD_COLOUR, PAD_MULTIPLE
from detection.roi_classifier import RoiClassifier
from detection.roi_pooling import SAMPLES_PER_BIN, assign_levels
from detection.second_look import move_regions
from proposals.box_coder import decode
from proposals.box_ops import clip, enlarge
from proposals.multibox import ConvolutionalMultiBox, InputSizes

_NEVER = -1e4  # A logit that no prior has.
_LEAST = 1e-12  # A score of 0 marks a place without a detection.


class GraphDetections(NamedTuple):
    """D detections of a batch, best first.

    Attributes:
        boxes: (D, 4) float32 xyxy, pixels of the images.
        scores: (D,) float32.
        labels: (D,) int64 in [0, C).
        image_index: (D,) int64 in [0, B), the image each is of.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    image_index: Tensor


class JudgedRegions(NamedTuple):
    """What the classifier says of all proposals of a batch, in pixels of the input.

    Attributes:
        boxes: (B, P, 4) where they lay when they were judged last.
        objectness: (B, P); 0 marks places without a proposal.
        probabilities: (B P, C + 1), background last.
        offsets: (B P, C, 4), or None for no refinement.
    """

    boxes: Tensor
    objectness: Tensor
    probabilities: Tensor
    offsets: Tensor | None


class DetectionGraph(nn.Module):
    """A detector with its preprocessing, suppression and calibration as one module.

    Args:
        detector: Loaded without ``prepare``, in float32: an engine optimises in its own way.

    Raises:
        InputError: If it is a detector that no graph can hold: of the crop form, or with proposals of another method.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        network = detector.network
        if not isinstance(network, DetectionNetwork):
            raise InputError("models of classifier.form crop cannot be exported; train with classifier.form shared")
        if detector.regions is not None or not isinstance(network.multibox, ConvolutionalMultiBox):
            raise InputError("only models of proposals.method multibox can be exported")
        self.network = network
        self.multibox = network.multibox
        self.longest_side = detector.longest_side
        self.pad_colour: Tensor
        self.register_buffer("pad_colour", torch.tensor(PAD_COLOUR, dtype=torch.float32))
        self.score_maps: Tensor | None
        maps = None if detector.calibration is None else torch.tensor(detector.calibration.maps, dtype=torch.float32)
        self.register_buffer("score_maps", maps)

    def forward(self, images: Tensor) -> GraphDetections:
        """(B, H, W, 3) uint8 RGB -> the detections of all images."""
        original, scaled = self._sizes(images)
        pixels = self._prepare(images, scaled)
        pyramid = self.network.pyramid(self.network.backbone.features(pixels))
        boxes, objectness = self._propose(pyramid, pixels, scaled)
        regions = self._judge(pyramid, boxes, objectness, scaled)
        hard = self.network.detection_settings.nms_sigma is None
        found = self._remove_repeats(regions, scaled) if hard else self._lower_repeats(regions, scaled)
        return self._finish(found, original, scaled)

    def _sizes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Height and width of the images, and after scaling: two (2,) int64."""
        original = torch.stack([torch.as_tensor(images.shape[1]), torch.as_tensor(images.shape[2])])
        exact = original.to(torch.float64) * (self.longest_side / original.max().to(torch.float64))
        return original, exact.round().to(torch.int64).clamp(min=1)

    def _prepare(self, images: Tensor, scaled: Tensor) -> Tensor:
        """Scaled, normalised, padded pixels (B, 3, h, w)."""
        colours = (self.network.normalize.mean, self.network.normalize.std, self.pad_colour)
        mean, spread, padding = (colour.view(3, 1, 1) for colour in colours)
        pixels: Tensor = prepare_pixels(images.permute(0, 3, 1, 2), scaled, PAD_MULTIPLE, mean, spread, padding)
        return pixels

    def _propose(self, pyramid: Sequence[Tensor], pixels: Tensor, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, 4) boxes in pixels of the input and (B, P) objectness; 0 marks places without a proposal."""
        settings = self.network.proposal_settings
        sizes = InputSizes((pixels.shape[2], pixels.shape[3]), [])
        logits, offsets = self.multibox(pyramid, sizes)
        # Small images have fewer priors than candidates are asked for: empty ones make up the number.
        wanted = settings.num_candidates
        logits = nn.functional.pad(logits, [0, wanted], value=_NEVER)
        offsets = nn.functional.pad(offsets, [0, 0, 0, wanted])
        priors = nn.functional.pad(self.multibox.priors(sizes), [0, 0, 0, wanted])
        logits, rows = logits.topk(wanted, dim=1)
        boxes = decode(offsets.gather(1, rows[..., None].expand(-1, -1, 4)), priors[rows])
        boxes = clip(boxes, scaled)
        large = ((boxes[..., 2:] - boxes[..., :2]) > 1.0).all(dim=-1)
        scores = torch.where(large, logits.sigmoid(), torch.zeros_like(logits))
        images = torch.arange(scores.shape[0], device=scores.device)[:, None].expand_as(scores)
        span = scaled.max() + 1
        kept = _suppress(boxes.flatten(0, 1), scores.flatten(), images.flatten() * span, settings.nms_iou_threshold)
        scores = torch.zeros_like(scores.flatten()).index_put((kept,), scores.flatten()[kept]).view_as(scores)
        best, rows = scores.topk(settings.num_proposals, dim=1)
        return boxes.gather(1, rows[..., None].expand(-1, -1, 4)), best

    def _judge(self, pyramid: Sequence[Tensor], boxes: Tensor, objectness: Tensor, scaled: Tensor) -> JudgedRegions:
        """Looks at all proposals, and again where the first look moves them, as ``DetectionNetwork.judge_image``."""
        first = self._look(self.network.classifier, pyramid, boxes)
        probabilities = mean_probabilities(first.logits)
        offsets = None if first.offsets is None else mean_offsets(first.offsets)
        if self.network.second_look is None or offsets is None:
            return JudgedRegions(boxes, objectness, probabilities, offsets)
        moved = move_regions(boxes.flatten(0, 1), probabilities, offsets, scaled).view_as(boxes)
        second = self._look(self.network.second_look, pyramid, moved)
        assert second.offsets is not None
        everyone = torch.cat([first.logits, second.logits])
        return JudgedRegions(moved, objectness, mean_probabilities(everyone), mean_offsets(second.offsets))

    def _look(self, classifier: RoiClassifier, pyramid: Sequence[Tensor], boxes: Tensor) -> EnsembleOutput:
        """(B, P, 4) boxes -> logits (M, B P, C + 1) and offsets (M, B P, C, 4)."""
        images = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand(boxes.shape[:2]).flatten()
        regions = boxes.flatten(0, 1)
        shown = [regions if context == 1 else enlarge(regions, context) for context in classifier.contexts]
        seen = [self._pool(pyramid, each, images) for each in shown]
        described = classifier.describe(torch.cat([pooled for pooled, _ in seen]))
        rows = torch.cat([places + number * images.shape[0] for number, (_, places) in enumerate(seen)])
        return classifier.judge(described[rows])

    def _pool(self, pyramid: Sequence[Tensor], regions: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """(R, 4) regions -> each pooled from the level that fits it, as ``pool_rois``, but level after level.

        Returns:
            (R, F, S, S), and the (R,) rows at which the regions stand there: what is said of them is put in order
            again, as it is far less than what is seen.
        """
        classifier = self.network.classifier
        rows = torch.cat([images[:, None].to(regions.dtype), regions], dim=1)
        levels = assign_levels(regions, classifier.strides)
        size, pooled, order = classifier.pool_size, [], []
        for level, (features, stride) in enumerate(zip(pyramid, classifier.strides, strict=True)):
            here = (levels == level).nonzero(as_tuple=True)[0]
            order.append(here)
            pooled.append(
                roi_align(features, rows[here], size, 1 / stride, sampling_ratio=SAMPLES_PER_BIN, aligned=True)
            )
        return torch.cat(pooled), torch.cat(order).argsort()

    def _score(self, regions: JudgedRegions) -> tuple[Tensor, Tensor]:
        """(B P, C) scores of all proposals and classes, and which of them count."""
        settings, objectness = self.network.detection_settings, regions.objectness.flatten()
        scores = regions.probabilities[:, :-1] * objectness.pow(settings.objectness_power)[:, None]
        return scores, (scores >= settings.score_threshold) & (objectness > 0)[:, None]

    def _remove_repeats(self, regions: JudgedRegions, scaled: Tensor) -> GraphDetections:
        """Refines, removes by class what repeats a better detection, and keeps the best of each image."""
        settings, (boxes, objectness, _, offsets) = self.network.detection_settings, regions
        scores, passed = self._score(regions)
        rows, labels = passed.nonzero(as_tuple=True)
        chosen = boxes.flatten(0, 1)[rows]
        chosen = refine_boxes(chosen, None if offsets is None else offsets[rows, labels], scaled)
        images = torch.div(rows, self.network.proposal_settings.num_proposals, rounding_mode="floor")
        chosen_scores = scores[rows, labels]
        valid = ((chosen[:, 2:] - chosen[:, :2]) > 0).all(dim=1).nonzero(as_tuple=True)[0]
        chosen, chosen_scores, labels, images = chosen[valid], chosen_scores[valid], labels[valid], images[valid]
        groups = images * scores.shape[1] + labels
        kept = _suppress(chosen, chosen_scores, groups * (scaled.max() + 1), settings.nms_iou_threshold)
        own = images[kept][:, None] == torch.arange(objectness.shape[0], device=images.device)[None, :]
        rank = (own.to(torch.int64).cumsum(dim=0) * own).sum(dim=1)  # place among those of its image, from 1
        kept = kept[(rank <= settings.max_detections).nonzero(as_tuple=True)[0]]
        return GraphDetections(chosen[kept], chosen_scores[kept], labels[kept], images[kept])

    def _lower_repeats(self, regions: JudgedRegions, scaled: Tensor) -> GraphDetections:
        """The same with Matrix NMS: a fixed number of candidates of each image, all images side by side."""
        settings, (boxes, objectness, probabilities, offsets) = self.network.detection_settings, regions
        assert settings.nms_sigma is not None
        (images, proposals), classes = objectness.shape, probabilities.shape[1] - 1
        scores, passed = self._score(regions)
        scores = scores * passed
        candidates = min(
            num_candidates(settings.max_detections), self.network.proposal_settings.num_proposals * classes
        )
        best, places = scores.view(images, proposals * classes).topk(candidates, dim=1)
        labels, rows = places % classes, torch.div(places, classes, rounding_mode="floor")
        chosen = boxes.gather(1, rows[..., None].expand(-1, -1, 4))
        if offsets is not None:
            by_place = offsets.view(images, proposals * classes, 4)
            chosen = refine_boxes(chosen, by_place.gather(1, places[..., None].expand(-1, -1, 4)), scaled)
        best = best * ((chosen[..., 2:] - chosen[..., :2]) > 0).all(dim=-1)
        lowered = decay_scores(chosen, best, labels, settings.nms_sigma)
        final, order = lowered.topk(min(settings.max_detections, candidates), dim=1)
        image, place = (final >= max(settings.score_threshold, _LEAST)).nonzero(as_tuple=True)
        kept = order[image, place]
        return GraphDetections(chosen[image, kept], final[image, place], labels[image, kept], image)

    def _finish(self, found: GraphDetections, original: Tensor, scaled: Tensor) -> GraphDetections:
        """Back to the pixels of the images, calibrated, best first."""
        factors = original.to(torch.float32) / scaled.to(torch.float32)
        mapped = clip(found.boxes * factors.flip(0).repeat(2), original)
        calibrated = self._calibrate(found.scores, found.labels)
        order = calibrated.argsort(descending=True)
        return GraphDetections(mapped[order], calibrated[order], found.labels[order], found.image_index[order])

    def _calibrate(self, scores: Tensor, labels: Tensor) -> Tensor:
        """As ``Calibration.apply``, in single precision, which engines are made for."""
        if self.score_maps is None:
            return scores
        slopes, biases = self.score_maps[labels].unbind(dim=1)
        inside = scores.clamp(1e-7, 1 - 1e-6)
        return torch.sigmoid(slopes * torch.log(inside / (1 - inside)) + biases)


def _suppress(boxes: Tensor, scores: Tensor, shifts: Tensor, iou_threshold: float) -> Tensor:
    """Rows that remain when what repeats a better box is gone, best first; boxes of other shifts never meet.

    Args:
        boxes: (N, 4).
        scores: (N,).
        shifts: (N,) by how much each box is moved: multiples of more than the longest side of an image.
        iou_threshold: Overlap above which the lower-scored box goes.
    """
    moved = boxes + shifts.to(boxes.dtype)[:, None]
    return nms(moved.reshape(-1, 4), scores, iou_threshold)  # the shape tells OpenVINO that these are boxes
