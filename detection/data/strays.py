"""Files that lie in a data set and take no part in it: images without labels, label files that no list names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from detection.data.image import find_images, is_hidden
from detection.data.raw import first_names, relative_name
from detection.data.records import DetectionData, Finding, ImageRecord
from detection.data.voc_listing import names_in_line

_REMEDY = "label and list them, or move them away; not used"


def find_strays(root: Path, parts: Sequence[DetectionData], findings: Sequence[Finding]) -> Iterator[Finding]:
    """Finds files that none of the splits uses.

    Args:
        root: The data folder, or the file in it that was given.
        parts: All splits of the data set.
        findings: What was found so far; a file that is named there is not told again.

    Yields:
        At most one ``unlisted-image`` a folder and one ``unlisted-label``.
    """
    base = root if root.is_dir() else root.parent
    told = {Path(finding.file).stem for finding in findings}
    if root.is_dir() or parts[0].format != "coco":  # a single json says nothing of those beside it
        yield from _unlisted_images(base, parts, told)
    if parts[0].format == "voc":
        yield from _unlisted_labels(base, parts, told)


def _unlisted_images(base: Path, parts: Sequence[DetectionData], told: set[str]) -> Iterator[Finding]:
    """Images beside the listed ones. Where a reader has reported on its own folder, the folder is passed over."""
    folders: dict[Path, bool] = {}
    for part in parts:
        reader_told = any(finding.kind == "unlisted-image" for finding in part.findings)
        for folder in dict.fromkeys(_searched_folder(image, part.format, base) for image in part.images):
            folders[folder] = folders.get(folder, False) or reader_told
    listed = {image.path for part in parts for image in part.images}
    for folder, reader_told in folders.items():
        there = find_images(folder, recursive=folder != base)  # beside the labels of all there may lie anything
        strays = [relative_name(path, folder) for path in there if path not in listed and path.stem not in told]
        if strays and not reader_told:
            message = f"{len(strays)} images are in no split: {first_names(strays)}"
            yield Finding("unlisted-image", f"{relative_name(folder, base)}/", message, _REMEDY)


def _searched_folder(image: ImageRecord, format_name: str, base: Path) -> Path:
    """The image folder of a data set; where that is the whole of it, the folder that the image lies in.

    A YOLO data set has no image folder: its names start at the yaml or are whole paths.
    """
    name = PurePosixPath(image.file_name)
    if format_name == "yolo" or name.is_absolute() or len(name.parts) > len(image.path.parents):
        return image.path.parent
    folder = image.path.parents[len(name.parts) - 1]
    return folder if folder != base and folder / name == image.path else image.path.parent


def _unlisted_labels(base: Path, parts: Sequence[DetectionData], told: set[str]) -> Iterator[Finding]:
    """Annotation files of VOC that no list names; without lists every one of them is read."""
    lists = sorted((base / "ImageSets" / "Main").glob("*.txt"))
    folder = next((base / name for name in ("Annotations", "annotations") if (base / name).is_dir()), None)
    if folder is None or not lists or any(part.split == "all" for part in parts):
        return
    lines = (line for path in lists for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines())
    names = {name for line in lines for name in names_in_line(line.strip())}
    files = (path for path in folder.rglob("*.xml") if not is_hidden(path, folder))
    labels = (path for path in sorted(files) if path.stem not in told)
    strays = [name for path in labels if (name := relative_name(path, folder)[: -len(".xml")]) not in names]
    if strays:
        message = f"{len(strays)} label files are in no list of ImageSets/Main/: {first_names(strays)}"
        yield Finding("unlisted-label", f"{folder.name}/", message, _REMEDY)
