"""Memory of ``multibox detect`` over a folder of any size: it must not grow with the number of images.

    python -m tests.memory_growth            10,000 generated images
    python -m tests.memory_growth 3000       fewer

Prints the peak after a tenth of the images, after the last one, and of the whole process, results written; exit code 1
if it grew by 5 % or more from image to image.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.builders import random_pixels, save_image
from tests.detection.tiny import save_tiny_model

LIMIT = 0.05


def peak_memory(images: int, work: Path) -> tuple[float, float, float]:
    """Runs the command over generated images of mixed sizes.

    Returns:
        Peak resident memory in MiB when a tenth of the images was done, when all were, and when the process had ended.
    """
    folder, out, model = work / "images", work / "out", work / "model.safetensors"
    for number in range(images):
        size_hw = (48 + number % 7 * 16, 160 - number % 5 * 24)
        save_image(folder / f"{number // 1000}/{number}.jpg", random_pixels(size_hw, seed=number % 50))
    save_tiny_model(model)
    command = [sys.executable, "-m", "tools.detect", str(model), str(folder), "--out", str(out), "--formats", "csv"]
    early = late = last = 0.0
    with (work / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        while process.poll() is None:
            last = max(last, _peak(process.pid))
            if not late:
                done = _lines(out / "journal.jsonl") - 1  # less the head
                early = early or last * (done >= images // 10)
                late = last * (done >= images)
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError((work / "log").read_text(errors="replace")[-3000:])
    return early, late, last


def _peak(pid: int) -> float:
    """High water mark in MiB; 0 when the process is gone."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def main() -> None:
    """Measures and judges."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with TemporaryDirectory(prefix="multibox-memory-") as folder:
        early, late, last = peak_memory(images, Path(folder))
    growth = late / early - 1
    print(f"{early:.0f} MiB after {images // 10} images, {late:.0f} MiB after {images}, {growth:+.1%}")
    print(f"{last:.0f} MiB in all")
    sys.exit(growth >= LIMIT)


if __name__ == "__main__":
    main()
