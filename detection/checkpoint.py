"""Files of a trained model and of an interrupted run: tensors and JSON in safetensors, never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from backbone.weights import METADATA_KEY
from detection.atomic import atomic_path
from detection.errors import InputError

MODEL_FORMAT = "multibox-rcnn model 1"
STATE_FORMAT = "multibox-rcnn training state 1"

MODEL_NAME = "model.safetensors"
"""The model in a run's folder."""


@dataclass(frozen=True)
class ModelHeader:
    """Everything a model file says besides its weights.

    Attributes:
        config: The resolved configuration.
        class_names: C names, in the order of the labels.
        category_ids: C ids of the training data, as its files wrote them.
        training: How the weights came about: steps, epochs, seed, metrics, data; ``image_digests`` is the sketch of
            ``detection.learnt_images``.
        note: Licence note on the data.
        calibration: Score maps and thresholds (``Calibration.to_header``); None, and absent from the file, where none
            were fitted.
    """

    config: Mapping[str, Any]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    training: Mapping[str, Any] = field(default_factory=dict)
    note: str = "The weights belong to whoever trained them; the terms of the training data apply."
    calibration: Mapping[str, Any] | None = None


def save_tensors(path: Path, tensors: Mapping[str, Tensor], file_format: str, header: Mapping[str, Any]) -> None:
    """Writes tensors and a JSON header, whole or not at all.

    Raises:
        InputError: If there is no room, or no leave to write.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One key only: the order of several would differ from write to write, and equal models have equal bytes. ASCII,
    # as names of files that are not UTF-8 cannot be written otherwise.
    metadata = {METADATA_KEY: json.dumps({"format": file_format, **header})}
    with atomic_path(path) as draft:
        try:
            save_file(contiguous, draft, metadata=metadata)
        except SafetensorError as error:
            raise InputError(
                f"{path}: cannot be written ({error}); make room, or name another folder; what was there before is kept"
            ) from error


def load_tensors(
    path: Path, file_format: str, remedy: str, *, header_only: bool = False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what ``save_tensors`` wrote.

    Raises:
        InputError: If the file is missing, damaged, or of another format; the message ends with ``remedy``.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
            found = header.pop("format", None) if isinstance(header, dict) else None
            names = [] if header_only or found != file_format else file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged or not a safetensors file ({error}); {remedy}") from error
    if found != file_format:
        raise InputError(f"{path}: expected a file of format {file_format!r}, got {found!r}; {remedy}")
    return tensors, header


def file_format(path: Path) -> str | None:
    """The format that a file, or the model in a run's folder, states in its header; None for any other file."""
    try:
        with safe_open(model_file(path), framework="pt") as file:
            found = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}")).get("format")
    except (SafetensorError, OSError, ValueError, RecursionError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def save_model(path: Path, tensors: Mapping[str, Tensor], header: ModelHeader) -> None:
    """Writes a model file."""
    # Left out where there is nothing to say: such files stay as they were before this field existed.
    save_tensors(path, tensors, MODEL_FORMAT, {key: value for key, value in vars(header).items() if value is not None})


def model_file(path: Path) -> Path:
    """The model file that a user means by ``path``: the file itself, or the one in a run's folder."""
    return path / MODEL_NAME if path.is_dir() else path


def sha256_of(files: Iterable[Path]) -> str:
    """One digest of the contents of files, in their order.

    Raises:
        InputError: If one cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(file.read_bytes())
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def load_model(path: Path) -> tuple[dict[str, Tensor], ModelHeader]:
    """Reads a model file, or that of a run's folder.

    Raises:
        InputError: If the file is missing, damaged, or not a model.
    """
    return _load_model(path, header_only=False)


def load_header(path: Path) -> ModelHeader:
    """Reads what a model file says besides its weights, without reading these.

    Raises:
        InputError: If the file is missing, damaged, or not a model.
    """
    return _load_model(path, header_only=True)[1]


def _load_model(path: Path, *, header_only: bool) -> tuple[dict[str, Tensor], ModelHeader]:
    path = model_file(path)
    remedy = "give a model.safetensors that `multibox train` wrote"
    tensors, header = load_tensors(path, MODEL_FORMAT, remedy, header_only=header_only)
    try:
        names, ids = read_classes(header.pop("class_names"), header.pop("category_ids"))
        read = ModelHeader(class_names=names, category_ids=ids, **header)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its header lacks or adds fields ({error}); train the model anew") from error
    if not isinstance(read.config, Mapping) or not isinstance(read.training, Mapping):
        raise InputError(f"{path}: its header has no configuration or no training; train the model anew")
    return tensors, read


def read_classes(names: object, ids: object) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """C names and C category ids, of a header that somebody else may have written.

    Raises:
        ValueError: If they are something else.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected a list of names of classes, got {names!r:.80}")
    if not isinstance(ids, list) or not all(isinstance(number, int) for number in ids):
        raise ValueError(f"expected a list of ids of categories, got {ids!r:.80}")
    if len(names) != len(ids):
        raise ValueError(f"{len(names)} classes and {len(ids)} ids of categories")
    return tuple(names), tuple(ids)


def save_state(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Writes everything that an exact resume needs."""
    save_tensors(path, tensors, STATE_FORMAT, header)


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what ``save_state`` wrote.

    Raises:
        InputError: If the file is missing, damaged, or not a training state.
    """
    return load_tensors(path, STATE_FORMAT, "it cannot go on; start anew in another --out")
