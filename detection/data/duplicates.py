"""Images that show what others show: byte-for-byte copies, and the same picture re-encoded, rescaled or relit.

A picture's fingerprint is its grey value averaged over a grid of 16 x 16 cells, less the mean, scaled to length 1; the
dot product of two fingerprints is the correlation of the two small pictures. From `MIN_CORRELATION` on they count as
the same picture. Mirrored, turned and clearly cropped copies are not looked for. Nearly blank ones have no fingerprint.

Measured on photographs of COCO (256), blood cells (364) and playing cards (363), 64 of them changed: JPEG of quality
20 to 90, scaling to 1/3 up to 2, blur, grey, gamma 0.8 keep 0.9964 or more, 1.2 times brighter 0.9891, 1 % cut off each
side 0.9838, 2 % 0.9447. Different photographs: COCO 0.893 at most; the five pairs above 0.985 of the other two are
the same cells or cards taken twice.

Every picture is compared with every earlier one by matrix products, block by block, and only the best partner of each
is kept, so memory grows with the number of pictures and not with that of their pairs.

Legend: N pictures, P splits, D = `GRID`^2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from detection.data.raw import first_names
from detection.data.records import DetectionData, Finding, ImageRecord

Float32Array: TypeAlias = npt.NDArray[np.float32]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

GRID = 16
MIN_CORRELATION = 0.985
MIN_CONTRAST = 2.0
"""Deviation of the small picture, in grey values; below it the rounding of the pixels would decide."""

_OVERSAMPLING = 4  # A cell averages the square of this many 8-bit values, so their rounding does not matter.
_BLOCK = 256

# Splits that hold others on purpose: VOC's trainval is train and val.
_UNIONS: Mapping[str, frozenset[str]] = {"trainval": frozenset({"train", "val"})}
# Where one copy has to go, what is measured on stays as it was: losing an image harms learning less than a benchmark.
_KEPT_FIRST = ("test", "val", "valid")


class Picture(NamedTuple):
    """What is kept of an image file that was decoded.

    Attributes:
        digest: Digest of its bytes.
        fingerprint: (D,) float32 of length 1; None of a nearly blank picture.
    """

    digest: bytes
    fingerprint: Float32Array | None


class Partner(NamedTuple):
    """A picture and the earlier one that it resembles most."""

    later: int
    earlier: int
    correlation: float


class Copy(NamedTuple):
    """An image of a split with the bytes of another that is to be kept instead.

    Attributes:
        split: The split that can do without it.
        image: The image.
        kept_split: The split that keeps the other.
        kept: The other image.
    """

    split: str
    image: ImageRecord
    kept_split: str
    kept: ImageRecord


def fingerprint(image: npt.NDArray[np.uint8]) -> Float32Array | None:
    """The small picture that images are compared by.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (D,) float32 of mean 0 and length 1; None if it varies by less than `MIN_CONTRAST`.
    """
    side = GRID * _OVERSAMPLING
    fine = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (side, side), interpolation=cv2.INTER_AREA)
    cells = fine.astype(np.float32).reshape(GRID, _OVERSAMPLING, GRID, _OVERSAMPLING).mean(axis=(1, 3)).ravel()
    if cells.std() < MIN_CONTRAST:
        return None
    cells -= cells.mean()
    return np.asarray(cells / np.linalg.norm(cells), dtype=np.float32)


def is_union(split: str, other: str) -> bool:
    """Whether one of two splits holds the other on purpose."""
    return split in _UNIONS.get(other, ()) or other in _UNIONS.get(split, ())


def find_duplicates(parts: Sequence[DetectionData], pictures: Mapping[Path, Picture]) -> list[Finding]:
    """Finds images that stand more than once, across splits and within them.

    Args:
        parts: The splits; ``trainval`` may hold ``train`` and ``val``.
        pictures: What is known of each image that decodes; images without an entry are passed over.

    Returns:
        ``shared-image`` and ``repeated-image`` for the same bytes across and within splits, ``similar-shared-image``
        and ``similar-images`` for the same picture.
    """
    exact = [*_find_shared(parts, pictures), *_find_repeated(parts, pictures)]
    return [*exact, *_find_similar(parts, pictures)]


def surplus_copies(parts: Sequence[DetectionData], pictures: Mapping[Path, Picture]) -> list[Copy]:
    """Says which images to leave out so that no two have the same bytes.

    Args:
        parts: The splits.
        pictures: What is known of each image; images without an entry are passed over.

    Returns:
        Of copies across splits all but those in ``test``, else ``val``, else the first split that has one; within a
        split all but the one with the most objects, the first of equals.
    """
    copies: list[Copy] = []
    for holders in _by_digest(parts, pictures).values():
        order = sorted(range(len(holders)), key=lambda index: _keep_rank(holders[index]))
        keeper_part, keeper = holders[order[0]]
        holding = {keeper_part.split}
        for index in order[1:]:
            part, image = holders[index]
            if is_union(part.split, keeper_part.split) and part.split not in holding:
                holding.add(part.split)  # Both hold it on purpose.
            else:
                copies.append(Copy(part.split, image, keeper_part.split, keeper))
    return copies


def find_partners(fingerprints: Float32Array, membership: BoolArray, conflicts: BoolArray) -> list[list[Partner]]:
    """Finds for every picture the earlier one that resembles it most, across splits and within them.

    Args:
        fingerprints: (N, D) float32, rows of length 1.
        membership: (N, P) whether a picture stands in a split.
        conflicts: (P, P) whether two splits must not share a picture.

    Returns:
        Two lists: pairs of which the two stand in splits that conflict, and other pairs; in each at most one pair a
        picture. N = 0 gives none.
    """
    belongs, conflict = membership.astype(np.float32), conflicts.astype(np.float32)
    across: list[Partner] = []
    within: list[Partner] = []
    for start in range(0, len(fingerprints), _BLOCK):
        stop = min(start + _BLOCK, len(fingerprints))
        scores = fingerprints[start:stop] @ fingerprints[:stop].T
        scores[:, start:][np.triu(np.ones((stop - start, stop - start), np.bool_))] = -1  # Only earlier ones.
        rows = np.flatnonzero((scores >= MIN_CORRELATION).any(axis=1))
        crossing = belongs[start:stop][rows] @ conflict @ belongs[:stop].T > 0
        across += _best_partners(np.where(crossing, scores[rows], -1), start + rows)
        within += _best_partners(np.where(crossing, -1, scores[rows]), start + rows)
    return [across, within]


def _best_partners(scores: Float32Array, indices: npt.NDArray[np.int64]) -> list[Partner]:
    """The best column of each row, where it reaches the limit."""
    best = scores.argmax(axis=1) if scores.size else np.zeros(len(scores), np.int64)
    rows = zip(indices.tolist(), best.tolist(), scores[np.arange(len(best)), best].tolist(), strict=True)
    return [Partner(index, earlier, score) for index, earlier, score in rows if score >= MIN_CORRELATION]


def _find_shared(parts: Sequence[DetectionData], pictures: Mapping[Path, Picture]) -> list[Finding]:
    """The same bytes in two splits: a score on one then does not prove what was learnt from the other."""
    findings = []
    for part, other in combinations(parts, 2):
        if is_union(part.split, other.split):
            continue
        twins = {pictures[image.path].digest: image for image in part.images if image.path in pictures}
        for image in other.images:
            twin = twins.get(pictures[image.path].digest) if image.path in pictures else None
            if twin is not None:
                message = f"split '{other.split}' has the same image as '{twin.file_name}' in split '{part.split}'"
                findings.append(Finding("shared-image", image.file_name, message, "keep it in one split only"))
    return findings


def _find_repeated(parts: Sequence[DetectionData], pictures: Mapping[Path, Picture]) -> list[Finding]:
    """The same bytes twice in one split."""
    findings = []
    for part in parts:
        first: dict[bytes, ImageRecord] = {}
        for image in part.images:
            twin = first.setdefault(pictures[image.path].digest, image) if image.path in pictures else image
            if twin is not image:
                counts = f"; {len(image.boxes)} objects here, {len(twin.boxes)} there"
                differ = counts if len(image.boxes) != len(twin.boxes) else ""
                message = f"split '{part.split}' has the same image as '{twin.file_name}'{differ}"
                findings.append(Finding("repeated-image", image.file_name, message, "delete one of them"))
    return findings


def _find_similar(parts: Sequence[DetectionData], pictures: Mapping[Path, Picture]) -> list[Finding]:
    """The same picture with other bytes. Of equal files only the first is compared."""
    holders = [
        group for group in _by_digest(parts, pictures).values() if pictures[group[0][1].path].fingerprint is not None
    ]
    if not holders:
        return []
    position = {part.split: index for index, part in enumerate(parts)}
    membership = np.zeros((len(holders), len(parts)), np.bool_)
    for row, group in enumerate(holders):
        membership[row, [position[part.split] for part, _ in group]] = True
    conflicts = np.array([[a is not b and not is_union(a.split, b.split) for b in parts] for a in parts])
    prints = np.stack([pictures[group[0][1].path].fingerprint for group in holders])  # type: ignore[misc]
    across, within = find_partners(prints, membership, conflicts)
    return [_similar_across(holders, pair) for pair in across] + _similar_within(holders, within)


Holder: TypeAlias = tuple[DetectionData, ImageRecord]


def _by_digest(parts: Sequence[DetectionData], pictures: Mapping[Path, Picture]) -> dict[bytes, list[Holder]]:
    """Where each distinct file content stands, in the order of the splits."""
    holders: dict[bytes, list[Holder]] = {}
    for part in parts:
        for image in part.images:
            if image.path in pictures:
                holders.setdefault(pictures[image.path].digest, []).append((part, image))
    return holders


def _keep_rank(holder: Holder) -> tuple[int, int]:
    part, image = holder
    rank = _KEPT_FIRST.index(part.split) if part.split in _KEPT_FIRST else len(_KEPT_FIRST)
    return rank, -len(image.boxes)


def _similar_across(holders: Sequence[Sequence[Holder]], pair: Partner) -> Finding:
    (part, image), (other, twin) = next(
        (mine, theirs)
        for mine in holders[pair.later]
        for theirs in holders[pair.earlier]
        if mine[0] is not theirs[0] and not is_union(mine[0].split, theirs[0].split)
    )
    message = (
        f"split '{part.split}' has nearly the same image as '{twin.file_name}' in split '{other.split}' "
        f"(correlation {pair.correlation:.4f}, suspect from {MIN_CORRELATION:g})"
    )
    return Finding("similar-shared-image", image.file_name, message, "look at both; keep them in one split only")


def _similar_within(holders: Sequence[Sequence[Holder]], pairs: Sequence[Partner]) -> list[Finding]:
    """One finding for each group of pictures that are linked by resemblance."""
    groups: dict[int, list[Partner]] = {}
    root: dict[int, int] = {}
    for pair in pairs:  # Partners are earlier, so their group is known.
        root[pair.later] = root.get(pair.earlier, pair.earlier)
        groups.setdefault(root[pair.later], []).append(pair)
    findings = []
    for first, group in groups.items():
        part, image = holders[first][0]
        names = first_names([holders[pair.later][0][1].file_name for pair in group])
        lowest = min(pair.correlation for pair in group)
        message = (
            f"split '{part.split}' has {len(group)} more of nearly the same image: {names} "
            f"(correlation {lowest:.4f} or more, suspect from {MIN_CORRELATION:g})"
        )
        findings.append(Finding("similar-images", image.file_name, message, "look at them; keep one of equal pictures"))
    return findings
