"""Proposals of two methods as one list: the recipe of GoogLeNet's ILSVRC-2014 entry (1409.4842, section 8)."""

from __future__ import annotations

import torch

from proposals.structures import Proposals


def merge_proposals(learned: Proposals, given: Proposals) -> Proposals:
    """All proposals of both: the learned ones first, since their order is learnt, then the given ones.

    Scores are scaled into [1/2, 1] and [0, 1/2]: ranks of the two methods are not comparable; each keeps its own order.

    Args:
        learned: P1 boxes.
        given: P2 boxes of the same image, in the same pixels.

    Returns:
        P1 + P2 boxes, best first. Either may be empty.

    Raises:
        ValueError: If the sizes of the images differ.
    """
    if learned.image_size_hw != given.image_size_hw:
        raise ValueError(f"proposals of images of {learned.image_size_hw} and {given.image_size_hw} cannot be merged")
    scores = torch.cat([(learned.scores + 1) / 2, given.scores / 2])
    return Proposals(torch.cat([learned.boxes, given.boxes]), scores, learned.image_size_hw)
