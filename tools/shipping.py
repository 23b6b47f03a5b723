"""Models on their way to other machines, which need not see the files of this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from detection.export.engine import engine_file, engine_files
from detection.image_detector import ImageDetector
from tools.detectors import combine, open_model


@dataclass(frozen=True)
class ShippedModels:
    """Models as bytes, and how they are used; a call builds the detector.

    Attributes:
        models: Name -> content of the files of each model; the one to open comes first.
        engines: What runs each of them.
        device: As the option of the command.
        compute: As the option of the command.
        cache: Folder for proposals, on every machine.
        tile: As for ``combine``.
        tta: As for ``combine``.
    """

    models: tuple[dict[str, bytes], ...]
    engines: tuple[str, ...]
    device: str
    compute: str
    cache: Path | None
    tile: int | None
    tta: bool

    def __call__(self) -> ImageDetector:
        """The detector, in this process.

        Raises:
            InputError: If it cannot be loaded here.
        """
        with TemporaryDirectory() as folder:
            loaded = []
            for number, (files, engine) in enumerate(zip(self.models, self.engines, strict=True)):
                place = Path(folder, str(number))
                place.mkdir()
                for name, content in files.items():
                    (place / name).write_bytes(content)
                first = place / next(iter(files))
                loaded.append(
                    open_model(first, engine=engine, device=self.device, compute=self.compute, cache=self.cache)
                )
            return combine(loaded, tile=self.tile, tta=self.tta)


def ship_models(
    paths: Sequence[Path],
    *,
    engine: str | None,
    device: str,
    compute: str,
    cache: Path | None,
    tile: int | None,
    tta: bool,
) -> ShippedModels:
    """Reads the files of models; arguments as for ``load_models`` and ``combine``."""
    chosen = [engine_file(path, engine) for path in paths]
    models = tuple({file.name: file.read_bytes() for file in engine_files(*each)} for each in chosen)
    return ShippedModels(models, tuple(name for name, _ in chosen), device, compute, cache, tile, tta)
