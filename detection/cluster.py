"""Folder detection on a Ray cluster: the same function for each image, in as many processes as there are cores or GPUs.

The images are cut into shards, a worker answers one shard after the other, and the answers go into the same journal in
the order of the images: a cluster's results are those of one machine, a killed command goes on with either, and a shard
whose worker was lost is answered by another one.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detection.data.remote import EXTRA, Location, RemoteFile
from detection.errors import InputError
from detection.extras import needed
from detection.folder import answer_file
from detection.image_detector import ImageDetector
from detection.journal import Journal, JournalEntry, decode_entry, encode_entry

SHARD_IMAGES = 32
"""Fewest images that a worker answers before it reports: seconds of work, so that a lost worker costs little."""

CONNECT_SECONDS = 10.0

MOST_SHARDS = 10_000
"""More images make larger shards, not more of them: the scheduler holds a record of each."""

Shard = list[tuple[str, Location]]
"""Name and place of each image."""


class ShardWorker:
    """One process of the cluster, with a detector of its own.

    Args:
        make_detector: Builds it there.
        folder: The folder that paths are relative to; a machine without it can only be given other paths.
    """

    def __init__(self, make_detector: Callable[[], ImageDetector], folder: str) -> None:
        if os.path.isdir(folder):
            os.chdir(folder)
        self.detector = make_detector()

    def __call__(self, row: Mapping[str, bytes]) -> dict[str, list[bytes]]:
        """A shard -> a line of the journal for each of its images."""
        shard = decode_shard(row["shard"])
        return {"lines": [encode_entry(answer_file(self.detector, name, place)) for name, place in shard]}


def encode_shard(shard: Shard) -> bytes:
    """A shard as ASCII, whose escapes carry every file name."""
    return json.dumps([[name, *([str(p)] if isinstance(p, Path) else p)] for name, p in shard]).encode("ascii")


def decode_shard(text: bytes) -> Shard:
    """The inverse of ``encode_shard``."""
    rows = json.loads(text)
    return [
        (name, RemoteFile(*place) if len(place) == len(RemoteFile._fields) else Path(*place)) for name, *place in rows
    ]


def cut_shards(images: Sequence[tuple[str, Location]]) -> list[Shard]:
    """Cuts images into shards of one size, except the last; their order stays. No images give no shards."""
    size = max(SHARD_IMAGES, -(-len(images) // MOST_SHARDS))
    return [list(images[start : start + size]) for start in range(0, len(images), size)]


def detect_on_cluster(
    make_detector: Callable[[], ImageDetector],
    images: Sequence[tuple[str, Location]],
    journal: Journal,
    *,
    address: str,
    device: str,
    heard: Callable[[JournalEntry], None],
) -> None:
    """Detects on every image that the journal does not hold yet; writes answers down in the order of the images.

    Args:
        make_detector: Called once in each worker; goes there with all it refers to.
        images: Name and place of each image, which every machine of the cluster can read.
        journal: Where the answers go.
        address: ``local`` starts a cluster of this machine, ``auto`` joins the one it belongs to, else an address.
        device: ``cuda`` gives each worker a GPU, ``auto`` does if the cluster has any; else each takes a core.
        heard: Called after each image, for progress.

    Raises:
        InputError: If Ray is not installed, or there is no such cluster, or it has no GPU and one is wanted.
    """
    shards = cut_shards([(name, place) for name, place in images if journal.lacks(name)])
    if not shards:
        return
    with _connected(address) as ray:
        resources = ray.cluster_resources()
        on_gpus = device == "cuda" or (device == "auto" and resources.get("GPU", 0) >= 1)
        workers = int(resources.get("GPU" if on_gpus else "CPU", 0))
        if not workers:
            raise InputError(f"--device {device}: the cluster {address} has no such device; leave it out")
        data = needed("ray.data", EXTRA)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        answered = data.from_items(
            [{"shard": encode_shard(shard)} for shard in shards], override_num_blocks=len(shards)
        ).map(
            ShardWorker,
            fn_constructor_args=(make_detector, os.getcwd()),
            compute=data.ActorPoolStrategy(size=min(workers, len(shards))),
            num_cpus=0 if on_gpus else 1,
            num_gpus=1 if on_gpus else 0,
        )
        for row in answered.iter_rows():
            for line in row["lines"]:
                entry = decode_entry(line)
                journal.append(entry)
                heard(entry)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, joined to a cluster as long as it is needed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # no call home
    ray = needed("ray", EXTRA)
    dashboard = False if address == "local" else None
    try:
        _knock(address)
        ray.init(address=address, include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--ray {address}: no such cluster ({error}); local starts one here, auto joins the one of this machine"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError if nobody listens at an address, for which Ray would wait for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
