"""What is in each region: pooled pyramid features, a small trunk, and the ensemble on top.

Legend: B images, L pyramid levels, F pyramid channels, R RoIs of the batch, M members, C classes, T contexts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from backbone.inception import ConvBNReLU
from detection.ensemble import EnsembleOutput, MemberHeads
from proposals.box_ops import enlarge

_SAMPLES_PER_BIN = 2
_CELLS_PER_ROI = 14.0  # An RoI goes to the level where it spans about this many cells (FPN, 1612.03144, eq. 1).


def assign_levels(boxes: Tensor, strides: Sequence[int]) -> Tensor:
    """Pyramid level of each RoI by its size, (R, 4) -> (R,) int64 in [0, L)."""
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
    thresholds = torch.tensor([stride * _CELLS_PER_ROI for stride in strides[:-1]], device=boxes.device)
    return torch.bucketize(size, thresholds)


def pool_rois(
    pyramid: Sequence[Tensor], boxes_per_image: Sequence[Tensor], *, strides: Sequence[int], pool_size: int
) -> Tensor:
    """RoIAlign (1703.06870, section 3) on the level that fits each RoI.

    Args:
        pyramid: L maps (B, F, H, W).
        boxes_per_image: B tensors (Ri, 4) xyxy, pixels of the input; they may leave the image.
        strides: L strides.
        pool_size: Side S of the pooled grid.

    Returns:
        (R, F, S, S) float32 in the order of the boxes. No RoIs give (0, F, S, S). Differentiable in the maps.
    """
    boxes = torch.cat(list(boxes_per_image))
    counts = torch.tensor([len(b) for b in boxes_per_image], device=boxes.device)
    image_index = torch.repeat_interleave(torch.arange(len(counts), device=boxes.device), counts)
    rois = torch.cat([image_index[:, None].to(boxes.dtype), boxes], dim=1)
    levels = assign_levels(boxes, strides)
    pooled = boxes.new_zeros(len(boxes), pyramid[0].shape[1], pool_size, pool_size)
    for level, (features, stride) in enumerate(zip(pyramid, strides, strict=True)):
        rows = (levels == level).nonzero().squeeze(1)
        values = roi_align(
            features.float(), rois[rows], pool_size, 1 / stride, sampling_ratio=_SAMPLES_PER_BIN, aligned=True
        )
        pooled = pooled.index_put((rows,), values)
    return pooled


class RoiClassifier(nn.Module):
    """Pools every region, once per context, and lets an ensemble of small heads judge it.

    Members are dealt out to the contexts in turn: member m sees the region enlarged by ``contexts[m % T]``.

    Args:
        channels: F.
        num_classes: C.
        members: M.
        contexts: T factors by which a region is enlarged before pooling.
        strides: L strides of the pyramid.
        pool_size: Side of the pooled grid.
        hidden: Units that the trunk hands to the members.
        member_hidden: Units of each member's own hidden layer.
        box_regression: Whether members also refine the box, per class.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        members: int,
        contexts: Sequence[float],
        strides: Sequence[int],
        pool_size: int,
        hidden: int,
        member_hidden: int,
        box_regression: bool,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.contexts = tuple(contexts)
        self.strides = tuple(strides)
        self.pool_size = pool_size
        width = 128
        reduced = (pool_size + 1) // 2
        # A stride of 2 keeps the fine sampling of the pool at a quarter of the cost of a dense convolution.
        self.conv = ConvBNReLU(channels, width, 3, stride=2, padding=1)
        nn.init.kaiming_normal_(self.conv.conv.weight, mode="fan_out", nonlinearity="relu")
        self.trunk = nn.Linear(width * reduced * reduced, hidden)
        self.heads = MemberHeads(
            hidden, num_classes, members=members, hidden=member_hidden, box_regression=box_regression
        )

    def forward(self, pyramid: Sequence[Tensor], boxes_per_image: Sequence[Tensor]) -> EnsembleOutput:
        """L maps (B, F, H, W) and B tensors (Ri, 4) -> logits (M, R, C + 1) and offsets (M, R, C, 4), float32."""
        pooled = torch.cat(
            [
                pool_rois(
                    pyramid,
                    [enlarge(boxes, context) for boxes in boxes_per_image],
                    strides=self.strides,
                    pool_size=self.pool_size,
                )
                for context in self.contexts
            ]
        )
        pooled = pooled.to(memory_format=torch.channels_last)
        features = torch.relu(self.trunk(self.conv(pooled).flatten(1)))  # (T R, hidden)
        by_context = features.reshape(len(self.contexts), -1, features.shape[1])
        return self.heads(by_context)
