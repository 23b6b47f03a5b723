"""``multibox detect``: boxes for any number of images or the frames of a video, with a journal that survives a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import torch
import typer
from torch import Tensor

from detection.atomic import atomic_path, remove_drafts, write_json
from detection.calibration import BEST, THRESHOLDS, lowest_scores
from detection.data.raw import first_names
from detection.data.remote import copy_out, is_uri
from detection.detector import Detector
from detection.device import choose_precision, precision_name
from detection.errors import InputError
from detection.exports import output_paths, write_csv, write_voc, write_yolo
from detection.image_detector import ImageDetector, ModelDetector
from detection.journal import Journal, JournalEntry
from detection.predictions import ImageDetections, write_coco
from detection.structures import Detections
from detection.visualize import draw_detections
from tools.cli import plain_console, run_alone
from tools.detectors import (
    CacheOption,
    ComputeOption,
    EngineOption,
    TileOption,
    TtaOption,
    combine,
    load_models,
    model_digest,
    tell_if_uncut,
)
from tools.image_source import Heard, ImageFiles, VideoFrames, open_source
from tools.progress import counting
from tools.reading import split_models
from tools.shipping import ship_models

FORMATS = ("coco", "csv", "yolo", "voc")
PICTURES = "images"
LOWEST_SCORE = 0.3
EXIT_SOME_FAILED = 1

console = plain_console()


def detect(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL... SOURCE",
            help="One model or several of the same classes, whose answers are fused (files or folders of runs); "
            "last, an image, a folder with its subfolders, a quoted pattern ('photos/**/*.jpg'), a .txt list of "
            "images, a video, or a folder in other storage (s3://bucket/photos; needs the extra ray).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    formats: Annotated[str, typer.Option(help="Results besides detections.json: any of csv,yolo,voc.")] = "coco",
    images: Annotated[bool, typer.Option("--images", help="Also draw the detections on the images.")] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Lowest score in csv, yolo, voc and pictures.  [default: 0.3; of a calibrated model in one pass those "
            "of --thresholds best]",
        ),
    ] = None,
    thresholds: Annotated[
        str | None,
        typer.Option(help="Lowest score class by class instead, as `multibox calibrate` chose it: best or precise."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed run stopped.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    compute: ComputeOption = "auto",
    engine: EngineOption = None,
    tile: TileOption = None,
    tta: TtaOption = False,
    cache: CacheOption = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Detect on a Ray cluster, a process for each of its cores or GPUs: local (this machine), auto (the "
            "cluster that it is part of) or an address. Every machine must see SOURCE. Needs the extra ray.",
        ),
    ] = None,
    copy_to: Annotated[
        str | None,
        typer.Option(metavar="URI", help="Copy the results into other storage at the end (s3://bucket/found)."),
    ] = None,
) -> None:
    """Detects objects in an image, in every image of a folder, pattern or list, or in the frames of a video.

    Writes detections.json (COCO results of every score, for `multibox evaluate`), images.json and errors.json.

    Exit code: 0 done, 1 some images or frames could not be read or drawn (the others are done all the same), 2 wrong
    input.

    Example: multibox detect runs/first/model.safetensors photos --out found --formats coco,csv --images

    Example: multibox detect runs/first street.mp4 --out found --images

    Example: multibox detect runs/a runs/b aerial --tile 640 --tta --out found

    Example: multibox detect exported photos --engine openvino --out found

    Example: multibox detect runs/first s3://bucket/photos --ray auto --out found --copy-to s3://bucket/found
    """
    models, _ = split_models(
        [Path(path) for path in paths],
        "give one model or more, then an image or a folder: multibox detect MODEL... SOURCE --out DIR",
    )
    source = paths[-1]
    chosen = _parse_formats(formats)
    _check_uri(copy_to)
    wanted = open_source(source)
    if images:
        wanted.check_pictures(out / PICTURES, source)
    lanes = wanted.lanes if ray is None else 1
    loaded = load_models(
        console,
        models,
        engine=engine,
        device=device if ray is None else "cpu",
        compute=compute,
        cache=cache,
        lanes=lanes,
    )
    detector = combine(loaded, tile=tile, tta=tta)
    for_people = images or not chosen <= {"coco"}
    lowest = _lowest_scores(loaded[0], threshold, thresholds, alone=detector is loaded[0], needed=for_people)
    digests = [model_digest(model, engine) for model in models]
    settings = _identify(digests, source, loaded, tile=tile, tta=tta)
    work = partial(wanted.detect, detector)
    if ray is not None:
        shipped = ship_models(models, engine=engine, device=device, compute=compute, cache=cache, tile=tile, tta=tta)
        work = partial(wanted.detect_on_cluster, shipped, address=ray, device=device)
    started = time.monotonic()
    with _journal(out / "journal.jsonl", settings, resume=resume) as journal:
        remove_drafts(out)
        before = journal.num_settled
        longest_side = _fill(journal, wanted.total, work)
    seconds, done = time.monotonic() - started, journal.num_settled - before
    errors = wanted.errors(journal)
    _write_results(out, detector, journal, errors, formats=chosen, lowest=lowest)
    undrawn = _draw(out, detector, journal, wanted, lowest) if images else []
    if copy_to is not None:
        copy_out(out, copy_to)
    if longest_side:
        tell_if_uncut(console, longest_side, tile=tile)
    console.print(f"{done} images in {seconds:.1f} s, {1000 * seconds / max(done, 1):.1f} ms an image, file to boxes")
    console.print(f"{len(journal.done)} images in all, {len(errors)} errors; results in {out}")
    _tell_faults(out / "errors.json" if errors else None, undrawn)


@contextmanager
def _journal(path: Path, settings: dict[str, str], *, resume: bool) -> Iterator[Journal]:
    """A journal for the time of a run; one that is refused before its first image leaves nothing in the way."""
    journal = Journal(path, settings, resume=resume)
    try:
        with closing(journal):
            yield journal
    except BaseException:  # Ctrl-C too
        if not journal.done:
            path.unlink()
        raise


def _fill(journal: Journal, total: int, work: Callable[[Journal, Heard], None]) -> int:
    """Lets ``work`` fill the journal and shows how far it is; returns the longest side of the images it saw."""
    longest_side = 0
    with counting(console, total, "detecting", done=journal.num_settled) as advance:

        def heard(entry: JournalEntry) -> None:
            nonlocal longest_side
            if entry.detections is not None:
                longest_side = max(longest_side, *entry.detections.image_size_hw)
            advance()

        work(journal, heard)
    return longest_side


def _tell_faults(unread: Path | None, undrawn: list[str]) -> None:
    """Says where to read why images could not be read, and which were not drawn; either ends with an exit code."""
    for fault in undrawn:
        console.print(f"not drawn: {fault}")
    if unread is not None:
        console.print(f"{unread} says why")
    if undrawn or unread is not None:
        raise typer.Exit(EXIT_SOME_FAILED)


def _check_uri(text: str | None) -> None:
    """Refuses a path before anything is computed."""
    if text is not None and not is_uri(text):
        raise InputError(
            f"--copy-to {text}: expected a URI such as s3://bucket/found; a folder of this machine is --out"
        )


def _identify(
    digests: list[str], source: str, models: Sequence[ModelDetector], *, tile: int | None, tta: bool
) -> dict[str, str]:
    """What the detections depend on, for the journal; what is as in the journals of all versions is left out."""
    usual = [choose_precision(model.device) if isinstance(model, Detector) else torch.float32 for model in models]
    chosen = [model.precision for model in models]
    precision = "" if chosen == usual else " ".join(map(precision_name, chosen))
    options = {"tile": str(tile or ""), "tta": "yes" if tta else "", "precision": precision}
    asked = {name: value for name, value in options.items() if value}
    place = source if is_uri(source) else str(Path(source).resolve())
    return {"model": " ".join(digests), "source": place, **asked}


def _parse_formats(text: str) -> set[str]:
    chosen = {part.strip() for part in text.split(",") if part.strip()}
    if unknown := sorted(chosen - set(FORMATS)):
        raise InputError(f"--formats: {', '.join(unknown)} is not known; choose from {', '.join(FORMATS)}")
    return chosen


def _lowest_scores(
    model: ModelDetector, threshold: float | None, kind: str | None, *, alone: bool, needed: bool
) -> Tensor:
    """(C,) lowest score of each class in results for people, and a line to the user where it is not what was asked for.

    Args:
        model: The first model.
        threshold: What the user wants of all classes, or of those for which the model has no threshold.
        kind: Which of the model's own the user wants; with neither, a calibrated model has its best.
        alone: Whether this model answers by itself and in one pass: its thresholds hold for nothing else.
        needed: Whether there will be results for people.

    Raises:
        InputError: If the kind is unknown, or the model was not calibrated, or it does not answer alone.
    """
    if kind is not None and kind not in THRESHOLDS:
        raise InputError(f"--thresholds: {kind} is not known; choose from {', '.join(THRESHOLDS)}")
    if kind is not None and not alone:
        raise InputError("--thresholds: they hold for one model in one pass; leave out --tile, --tta and other models")
    if kind is not None and kind not in model.thresholds:
        raise InputError(
            f"--thresholds {kind}: this model has none; let `multibox calibrate MODEL DATA --split NAME` fit them"
        )
    if not needed and (threshold is not None or kind is not None):
        console.print(
            "note: thresholds have no effect here: detections.json holds every score; they are for csv, yolo, voc and "
            "pictures (--formats csv, --images)"
        )
    missing = LOWEST_SCORE if threshold is None else threshold
    if needed and threshold is None and kind is None and BEST in model.thresholds:
        kind = BEST if alone else None
        console.print(_told_of_thresholds(model, kind))
    own = [None] * len(model.class_names) if kind is None else model.thresholds[kind]
    return lowest_scores(own, missing=missing)


def _told_of_thresholds(model: ModelDetector, kind: str | None) -> str:
    """Which scores a calibrated model's results for people begin at if the user says nothing."""
    if kind is None:
        return f"lowest score: {LOWEST_SCORE}; the thresholds of a calibrated model hold for itself alone in one pass"
    without = [name for name, value in zip(model.class_names, model.thresholds[kind], strict=True) if value is None]
    others = f", {LOWEST_SCORE} for {first_names(without)}" if without else ""
    return f"lowest score of each class: the best that `multibox calibrate` found{others} (--threshold for one of all)"


def _write_results(
    out: Path,
    detector: ImageDetector,
    journal: Journal,
    errors: list[dict[str, str]],
    *,
    formats: set[str],
    lowest: Tensor,
) -> None:
    """Makes the final files from the journal, one image at a time."""
    names = detector.class_names
    write_coco(out, _readable(journal), class_names=names, category_ids=detector.category_ids)
    write_json(out / "errors.json", errors)
    if "csv" in formats:
        write_csv(out / "detections.csv", _readable(journal, lowest), class_names=names)
    # The names cost a pass over the journal, which the default formats can do without.
    file_names = [image.file_name for image in _readable(journal)] if formats & {"yolo", "voc"} else []
    if "yolo" in formats:
        write_yolo(out / "yolo", _readable(journal, lowest), file_names=file_names, class_names=names)
    if "voc" in formats:
        write_voc(out / "voc", _readable(journal, lowest), file_names=file_names, class_names=names)


def _readable(journal: Journal, lowest: Tensor | None = None) -> Iterator[ImageDetections]:
    """The images that could be read, one at a time, numbered by their place in the journal."""
    for number, entry in enumerate(journal, start=1):
        if entry.detections is not None:
            kept = entry.detections if lowest is None else _above(entry.detections, lowest)
            yield ImageDetections(number, entry.file_name, kept)


def _above(detections: Detections, lowest: Tensor) -> Detections:
    """The detections that reach the lowest score of their class."""
    return detections[detections.scores >= lowest[detections.labels]]


def _draw(
    out: Path, detector: ImageDetector, journal: Journal, source: ImageFiles | VideoFrames, lowest: Tensor
) -> list[str]:
    """Writes a picture with the drawn boxes for every image; returns what kept it from some."""
    faults = []
    names = source.drawable(journal)
    paths, folder = output_paths(out / PICTURES, names, suffix=".jpg"), (out / PICTURES).resolve()
    for (found, image), name, path in zip(source.read(journal), names, paths, strict=True):
        if isinstance(image, InputError):
            faults.append(f"{name}: {image}")
            continue
        if not path.parent.resolve().is_relative_to(folder):
            faults.append(f"{name}: {path.parent} lies behind a link that leads elsewhere; take the link away")
            continue
        drawn = draw_detections(image, _above(found, lowest), class_names=detector.class_names)
        fits, encoded = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
        if fits:
            with atomic_path(path) as draft:  # it takes the place of a link, and writes to no file behind it
                draft.write_bytes(encoded.tobytes())
        else:
            height, width = image.shape[:2]
            faults.append(f"{name}: {width}x{height} pixels, a JPEG has at most 65,500 a side; cut it into tiles")
    return faults


if __name__ == "__main__":
    run_alone(detect)
