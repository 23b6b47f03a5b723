"""``multibox detect``: boxes for any number of images or the frames of a video, with a journal that survives a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import torch
import typer
from torch import Tensor

from detection.atomic import atomic_path, remove_drafts, write_json
from detection.data.remote import copy_out, is_uri, make_remote_folder
from detection.detector import Detector
from detection.device import choose_precision, precision_name
from detection.errors import InputError
from detection.exports import output_paths, write_csv, write_voc, write_yolo
from detection.image_detector import ImageDetector, ModelDetector
from detection.journal import Journal, JournalEntry
from detection.predictions import ImageDetections, write_coco
from detection.preprocess import Image
from detection.structures import Detections
from detection.visualize import draw_detections
from tools.cli import EXIT_STOPPED, plain_console, run_alone
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
from tools.lowest_scores import choose_lowest_scores
from tools.progress import counting
from tools.reading import split_models
from tools.shipping import ship_models

FORMATS = ("coco", "csv", "yolo", "voc")
PICTURES = "images"
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
    input, 75 stopped by Ctrl-C; the same command with --resume goes on.

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
    _refuse_early(copy_to, ray=ray, device=device)
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
    lowest = choose_lowest_scores(
        console, loaded[0], threshold=threshold, kind=thresholds, alone=detector is loaded[0], needed=for_people
    )
    digests = [model_digest(model, engine) for model in models]
    settings = _identify(digests, source, loaded, tile=tile, tta=tta)
    work = partial(wanted.detect, detector)
    if ray is not None:
        if not any(isinstance(model, Detector) for model in loaded):
            device = "cpu"  # exported files would leave a GPU idle
        shipped = ship_models(models, engine=engine, device=device, compute=compute, cache=cache, tile=tile, tta=tta)
        work = partial(wanted.detect_on_cluster, shipped, address=ray, device=device)
    started = time.monotonic()
    with _journal(out / "journal.jsonl", settings, resume=resume) as journal:
        remove_drafts(out)
        before = journal.num_settled
        with _told_when_stopped(journal, wanted.total):
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


@contextmanager
def _told_when_stopped(journal: Journal, total: int) -> Iterator[None]:
    """Turns Ctrl-C into a line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"stopped: {journal.num_settled} of {total} done; the same command with --resume goes on")
        raise typer.Exit(EXIT_STOPPED) from None


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


def _refuse_early(copy_to: str | None, *, ray: str | None, device: str) -> None:
    """Refuses what would fail late, before anything is computed.

    Raises:
        InputError: If the results cannot be copied to that place, or the workers of a cluster have no such device.
    """
    if ray is not None and device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {device}: with --ray every worker has one of its own; choose auto, cpu or cuda")
    if copy_to is None:
        return
    if not is_uri(copy_to):
        raise InputError(
            f"--copy-to {copy_to}: expected a URI such as s3://bucket/found; a folder of this machine is --out"
        )
    make_remote_folder(copy_to)


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
    for form, write in (("yolo", write_yolo), ("voc", write_voc)):
        if form in formats:
            with counting(console, len(file_names), f"writing {form}") as advance:
                images = _each_counted(_readable(journal, lowest), advance)
                write(out / form, images, file_names=file_names, class_names=names)


def _each_counted(images: Iterable[ImageDetections], advance: Callable[[], None]) -> Iterator[ImageDetections]:
    """The same images; each is counted when the next one is asked for."""
    for image in images:
        yield image
        advance()


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
    with counting(console, len(names), "drawing") as advance:
        for (found, image), name, path in zip(source.read(journal), names, paths, strict=True):
            if isinstance(image, InputError):
                faults.append(f"{name}: {image}")
            elif not path.parent.resolve().is_relative_to(folder):
                faults.append(f"{name}: {path.parent} lies behind a link that leads elsewhere; take the link away")
            elif image.shape[:2] != found.image_size_hw:
                faults.append(f"{name}: has another size than when it was looked at; detect into another --out")
            elif fault := _write_picture(path, image, _above(found, lowest), detector.class_names):
                faults.append(f"{name}: {fault}")
            advance()
    return faults


def _write_picture(path: Path, image: Image, found: Detections, class_names: Sequence[str]) -> str | None:
    """Writes an image with its detections drawn, or says why it cannot be."""
    drawn = draw_detections(image, found, class_names=class_names)
    fits, encoded = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not fits:
        height, width = image.shape[:2]
        return f"{width}x{height} pixels, a JPEG has at most 65,500 a side; cut it into tiles"
    with atomic_path(path) as draft:  # it takes the place of a link, and writes to no file behind it
        draft.write_bytes(encoded.tobytes())
    return None


if __name__ == "__main__":
    run_alone(detect)
