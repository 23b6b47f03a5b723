"""A small detection set from real pictures that installed packages ship: handwritten digits written on photographs.

The digits are those of scikit-learn (8x8 scans of 13 people's handwriting), the photographs those inside the wheels of
scikit-image and scikit-learn; nothing is downloaded. No digit and no photograph occurs on both sides of the split. The
scans are in order of their writers, so consecutive blocks also keep (nearly) all writers apart.

Legend: H, W height and width of a picture, h, w of one digit's ink. Pictures are (H, W, 3) uint8 BGR, as OpenCV has
them. Boxes are int xyxy in pixels, half-open.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import numpy.typing as npt

from detection.errors import InputError

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

NUM_UNLABELLED = 8
EMPTY_EVERY = 15
"""One picture in this many has no digit: a detector must also learn to find nothing."""

DIGITS_PER_IMAGE = (4, 12)
DIGIT_SIDE = (28, 110)
"""Smallest and largest side of a digit's 8x8 scan once enlarged, in pixels."""

MAX_OVERLAP = 0.1
"""Largest share of the smaller of two boxes that the other one may cover."""

SMALLEST_SIDE = 128
JPEG_QUALITY = 92

README = """\
Handwritten digits on photographs, made by `multibox demo`. Pascal VOC layout; unlabelled/ has pictures to detect on.
Digits: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (CC BY 4.0), from scikit-learn.
Photographs: sample pictures of scikit-image (free of known copyright restrictions; see skimage.data) and of
scikit-learn (china.jpg and flower.jpg, CC BY 2.0, by danielbuechele and vultilion).
"""


@dataclass(frozen=True)
class Part:
    """One part of the set and what it may draw from.

    Attributes:
        name: Name of the split, or of the folder of unlabelled pictures.
        photographs: Package and file of each photograph.
        digits: Rows of scikit-learn's digits.
    """

    name: str
    photographs: tuple[tuple[str, str], ...]
    digits: slice

    @property
    def is_labelled(self) -> bool:
        """Whether it is a split with annotations."""
        return self.name != "unlabelled"


_TEST_PHOTOGRAPHS = (
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/rocket.jpg"),
    ("skimage", "data/gravel.png"),
    ("sklearn", "datasets/images/flower.jpg"),
)

PARTS = (
    Part(
        "trainval",
        (
            ("skimage", "data/astronaut.png"),
            ("skimage", "data/brick.png"),
            ("skimage", "data/camera.png"),
            ("skimage", "data/coffee.png"),
            ("skimage", "data/hubble_deep_field.jpg"),
            ("skimage", "data/ihc.png"),
            ("skimage", "data/motorcycle_left.png"),
            ("sklearn", "datasets/images/china.jpg"),
        ),
        slice(0, 1297),
    ),
    Part("test", _TEST_PHOTOGRAPHS, slice(1297, 1697)),
    Part("unlabelled", _TEST_PHOTOGRAPHS, slice(1697, 1797)),
)


@dataclass(frozen=True)
class _Material:
    """What the pictures of one part are made from: its photographs, N scans (N, 8, 8) in [0, 1], N labels."""

    photographs: list[Picture]
    scans: Floats
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Scene:
    """A finished picture, the tight box of each digit's ink, and its label."""

    picture: Picture
    boxes: list[Box]
    labels: list[int]


def build_demo_set(
    out: Path,
    *,
    num_train: int = 300,
    num_test: int = 60,
    image_size_hw: tuple[int, int] = (256, 320),
    seed: int = 0,
) -> None:
    """Writes a VOC folder with the splits ``trainval`` and ``test``, and a folder of pictures without labels.

    Most pictures hold 4 to 12 digits of the classes ``zero`` to ``nine``, each 15th holds none. The same arguments give
    the same bytes; picture i does not depend on how many there are. Files of the same name are overwritten.

    Args:
        out: Gets ``Annotations/``, ``JPEGImages/``, ``ImageSets/Main/{trainval,test}.txt`` and ``unlabelled/``.
        num_train: Pictures in ``trainval``.
        num_test: Pictures in ``test``.
        image_size_hw: Height and width of every picture in pixels, at least 128 each.
        seed: Chooses the pictures.

    Raises:
        InputError: If scikit-learn is not installed, a package lacks a photograph, or a number is too small.
    """
    if min(image_size_hw) < SMALLEST_SIDE or min(num_train, num_test) < 1:
        raise InputError(
            f"demo set: got {num_train} and {num_test} pictures of height x width {image_size_hw}; "
            f"expected at least 1 picture in each split and {SMALLEST_SIDE} pixels on each side"
        )
    materials = {part.name: _load_material(part) for part in PARTS}
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main", "unlabelled"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    (out / "README.txt").write_text(README, encoding="utf-8")
    counts = {"trainval": num_train, "test": num_test, "unlabelled": NUM_UNLABELLED}
    for part in PARTS:
        stems = [f"{part.name}_{index + 1:04d}" for index in range(counts[part.name])]
        for index, stem in enumerate(stems):
            generator = np.random.default_rng((seed, part.digits.start, index))
            is_empty = index % EMPTY_EVERY == EMPTY_EVERY - 1
            scene = _paint_scene(materials[part.name], image_size_hw, is_empty=is_empty, generator=generator)
            _write_scene(out, stem, scene, labelled=part.is_labelled)
        if part.is_labelled:
            (out / "ImageSets/Main" / f"{part.name}.txt").write_text("\n".join(stems) + "\n", encoding="utf-8")


def _load_material(part: Part) -> _Material:
    """Reads the photographs and scans of one part."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "the demo set is made from scikit-learn's handwritten digits, and scikit-learn is not installed; "
            "install it: pip install 'multibox-rcnn[demo]'"
        ) from error
    digits = load_digits()
    scans = (digits.images[part.digits] / 16.0).astype(np.float32)
    photographs = [_read_photograph(package, file) for package, file in part.photographs]
    return _Material(photographs, scans, digits.target[part.digits].astype(np.int64))


def _read_photograph(package: str, file: str) -> Picture:
    """Reads a picture out of an installed package. Grey ones get three equal channels."""
    source = resources.files(package).joinpath(file)
    if not source.is_file():
        raise InputError(
            f"the demo set needs {file} of the installed package {package}, which does not have it; "
            "reinstall the packages: pip install --force-reinstall scikit-image scikit-learn"
        )
    picture = cv2.imdecode(np.frombuffer(source.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(picture, dtype=np.uint8)


def _paint_scene(
    material: _Material, size_hw: tuple[int, int], *, is_empty: bool, generator: np.random.Generator
) -> _Scene:
    """Crops a photograph and writes digits on it; a digit that finds no free place is left out."""
    photograph = material.photographs[generator.integers(len(material.photographs))]
    picture = _crop(photograph, size_hw, generator)
    boxes: list[Box] = []
    labels: list[int] = []
    low, high = DIGITS_PER_IMAGE
    count = 0 if is_empty else int(generator.integers(low, high + 1))
    largest = min(DIGIT_SIDE[1], 0.45 * min(size_hw))
    sides = np.exp(generator.uniform(np.log(DIGIT_SIDE[0]), np.log(largest), count))
    for side in sorted(sides, reverse=True):  # large ones first, while there is room
        row = int(generator.integers(len(material.labels)))
        ink = _enlarge(material.scans[row], float(side), generator)
        box = _find_place(boxes, size_hw, ink.shape, generator)
        if box is not None:
            _write_digit(picture, ink, box, generator)
            boxes.append(box)
            labels.append(int(material.labels[row]))
    return _Scene(picture, boxes, labels)


def _crop(photograph: Picture, size_hw: tuple[int, int], generator: np.random.Generator) -> Picture:
    """Cuts a random window with the wanted proportions, half to all of what fits, mirrors it or not, and resizes it."""
    height, width = photograph.shape[:2]
    scale = min(height / size_hw[0], width / size_hw[1]) * generator.uniform(0.5, 1.0)
    window_h, window_w = int(size_hw[0] * scale), int(size_hw[1] * scale)
    top = int(generator.integers(height - window_h + 1))
    left = int(generator.integers(width - window_w + 1))
    window = photograph[top : top + window_h, left : left + window_w]
    if generator.random() < 0.5:
        window = window[:, ::-1]
    shrinks = scale > 1.0
    resized = cv2.resize(window, size_hw[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    lit = resized * generator.uniform(0.75, 1.1)
    return np.asarray(np.clip(lit, 0, 255), dtype=np.uint8)


def _enlarge(scan: Floats, side: float, generator: np.random.Generator) -> Floats:
    """Enlarges a scan into smooth pen strokes, slightly turned, and trims it to its ink.

    Args:
        scan: (8, 8) darkness in [0, 1].
        side: Side of the enlarged scan in pixels.
        generator: Chooses the angle.

    Returns:
        (h, w) opacity of the ink in [0, 1]; the first and last row and column have some above one half.
    """
    margin = 0.25 * side  # room for the turned corners
    matrix = cv2.getRotationMatrix2D((3.5, 3.5), generator.uniform(-12, 12), side / 8)
    matrix[:, 2] = matrix[:, 2] + (side / 2 + margin - 3.5)
    canvas = int(np.ceil(side + 2 * margin))
    smooth = cv2.warpAffine(scan, matrix, (canvas, canvas), flags=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(smooth, (0, 0), 0.03 * side)
    opacity = np.asarray(np.clip((smooth - 0.36) / 0.25, 0.0, 1.0), dtype=np.float32)
    rows = np.flatnonzero((opacity > 0.5).any(axis=1))
    columns = np.flatnonzero((opacity > 0.5).any(axis=0))
    return opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _find_place(
    boxes: list[Box], size_hw: tuple[int, int], ink_hw: tuple[int, ...], generator: np.random.Generator
) -> Box | None:
    """Draws places until one hardly touches the boxes so far; None after 40 that do."""
    height, width = ink_hw
    for _ in range(40):
        top = int(generator.integers(size_hw[0] - height + 1))
        left = int(generator.integers(size_hw[1] - width + 1))
        box = (left, top, left + width, top + height)
        if all(_overlap(box, other) <= MAX_OVERLAP for other in boxes):
            return box
    return None


def _overlap(first: Box, second: Box) -> float:
    """Area of the intersection over the area of the smaller box."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return max(width, 0) * max(height, 0) / min(areas)


def _write_digit(picture: Picture, ink: Floats, box: Box, generator: np.random.Generator) -> None:
    """Blends the ink into the picture, in place, in a colour that stands out from what lies beneath."""
    left, top, right, bottom = box
    beneath = picture[top:bottom, left:right]
    colour = _choose_colour(beneath, generator)
    opacity = ink[:, :, None] * generator.uniform(0.75, 1.0)
    beneath[:] = np.rint(beneath * (1.0 - opacity) + colour * opacity).astype(np.uint8)


def _choose_colour(beneath: Picture, generator: np.random.Generator) -> Floats:
    """Of 32 random colours, the one whose difference in grey level to the mean beneath is nearest to a drawn one."""
    grey_weights = np.array([0.114, 0.587, 0.299], np.float32)  # blue, green, red (ITU-R BT.601)
    colours = generator.uniform(0, 255, (32, 3)).astype(np.float32)
    contrast = np.abs((colours - beneath.mean(axis=(0, 1))) @ grey_weights)
    wanted = generator.uniform(70, 150)
    return np.asarray(colours[np.argmin(np.abs(contrast - wanted))], dtype=np.float32)


def _write_scene(out: Path, stem: str, scene: _Scene, *, labelled: bool) -> None:
    """Writes the picture, and beside it its annotation unless it belongs to the unlabelled ones."""
    _, encoded = cv2.imencode(".jpg", scene.picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    folder = out / ("JPEGImages" if labelled else "unlabelled")
    (folder / f"{stem}.jpg").write_bytes(encoded.tobytes())
    if labelled:
        (out / "Annotations" / f"{stem}.xml").write_bytes(_annotation(stem, scene))


def _annotation(stem: str, scene: _Scene) -> bytes:
    """The VOC annotation of a scene; VOC's boxes start at 1 and include their last pixel."""
    height, width, depth = scene.picture.shape
    root = ElementTree.Element("annotation")
    _add(root, folder="JPEGImages", filename=f"{stem}.jpg")
    _add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=depth)
    for (left, top, right, bottom), label in zip(scene.boxes, scene.labels, strict=True):
        item = ElementTree.SubElement(root, "object")
        _add(item, name=CLASS_NAMES[label], truncated=0, difficult=0)
        _add(ElementTree.SubElement(item, "bndbox"), xmin=left + 1, ymin=top + 1, xmax=right, ymax=bottom)
    ElementTree.indent(root)
    return ElementTree.tostring(root) + b"\n"


def _add(parent: ElementTree.Element, **texts: str | int) -> None:
    """Appends one element with text per keyword, in their order."""
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)
