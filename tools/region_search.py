"""The search for proposals that are not the network's own, before the clock of a training starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from configs.schema import Config
from detection.build import build_regions
from detection.data.records import ImageRecord
from detection.processes import launched_place
from detection.regions import RegionSource, search_all
from tools.cli import EXIT_STOPPED
from tools.following import stopping_on_signals
from tools.progress import counting


def search_first(config: Config, images: Sequence[ImageRecord], cache: Path, console: Console) -> RegionSource | None:
    """``search_regions`` for a run, which a signal stops as it stops a training."""

    def stop() -> None:
        console.print("stopped while proposals were searched; those found are kept, and the same command goes on")
        raise typer.Exit(EXIT_STOPPED)

    with stopping_on_signals(stop):
        return search_regions(config, images, cache, console)


def search_regions(config: Config, images: Sequence[ImageRecord], cache: Path, console: Console) -> RegionSource | None:
    """Makes the proposals of images and keeps them.

    Args:
        config: Which method.
        images: All that a run will ask about; of several processes each searches its part, and finds the rest kept.
        cache: Where they are kept.
        console: Where to tell how far it is.

    Returns:
        What knows them; None where the network has all its proposals of its own.
    """
    regions = build_regions(config, cache)
    if regions is None:
        return None
    rank, processes = launched_place()
    own = [image.path for image in images[rank::processes]]
    with counting(console, len(own), "searching for proposals") as advance:
        for _ in search_all(regions, own, workers=config.train.workers):
            advance()
    return regions
