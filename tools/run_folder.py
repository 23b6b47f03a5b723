"""The folder of a run: what may be written to it, what it is identified by, and the names in it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from configs.load import Schema, dump_config, flatten_config, load_config
from configs.sections import RootConfig
from detection.atomic import atomic_path
from detection.checkpoint import MODEL_NAME
from detection.data.records import ImageRecord
from detection.errors import InputError
from detection.processes import launched_place
from detection.training_log import LOG_NAME, refuse_running

FREE_TO_CHANGE = (
    "train.workers",
    "train.cache_mb",
    "train.checkpoint_seconds",
    "train.device",
    "train.patience",
)
"""Values that a resume may change: they do not change what is learnt."""

RATES = ("train.learning_rate", "train.muon_learning_rate", "train.gradient_clip")
"""Values that a resume may also change, and then says so: the way on after a loss that was not a number."""

STATE_NAME = "last/state.safetensors"
"""Everything that an exact resume needs, in a run's folder."""

LAST_MODEL_NAME = "last/model.safetensors"
"""The averaged weights of the last step, where a validation has chosen others."""

_CONFIG_NAME = "config.yaml"


def check_run_folder(out: Path, config: RootConfig, *, resume: bool) -> list[str]:
    """Makes sure that a run may be written to ``out``.

    Returns:
        What a resume changes in ``RATES``, to be reported.

    Raises:
        InputError: If the folder holds a run and ``resume`` is not asked for, or the run has other settings or is
            running, or the folder holds a model from elsewhere.
    """
    path = out / _CONFIG_NAME
    if not is_first():  # it looks for all, before it writes
        return []
    refuse_used(out, resume=resume)
    if not path.exists():
        return []
    refuse_running(out)
    before, now = flatten_config(load_config(str(path), schema=type(config))), flatten_config(config)
    changed = {k: f"{k} was {before[k]}, is {now[k]}" for k in now if before[k] != now[k] and k not in FREE_TO_CHANGE}
    if set(changed) - set(RATES):
        raise InputError(f"{path}: {'; '.join(changed.values())}; resume with the same options, or give another --out")
    return list(changed.values())


def refuse_used(out: Path, *, resume: bool) -> None:
    """Refuses a folder that holds something which a run would overwrite.

    Raises:
        InputError: If it holds a run that does not go on, or a model from elsewhere.
    """
    if (out / _CONFIG_NAME).exists():
        if not resume:
            raise InputError(f"{out}: holds a run already; add --resume to go on, or give another --out")
    elif (out / MODEL_NAME).exists():
        raise InputError(f"{out}: holds a {MODEL_NAME} and no run; give another --out")


def read_config(out: Path, schema: type[Schema]) -> Schema | None:
    """The configuration that a run's folder holds; None without a run.

    Raises:
        ConfigError: If it cannot be read or is of another kind.
    """
    path = out / _CONFIG_NAME
    return load_config(str(path), schema=schema) if path.exists() else None


def tell_changes(console: Console, changes: Sequence[str]) -> None:
    """Says what a resume changes."""
    for change in changes:
        console.print(f"note: {change}, from here on")


def write_config(out: Path, config: RootConfig) -> None:
    """Writes the resolved configuration into the run's folder."""
    with atomic_path(out / _CONFIG_NAME) as draft:
        draft.write_text(dump_config(config), encoding="utf-8")


def refuse_several(what: str) -> None:
    """Refuses several processes where a training runs in one.

    Raises:
        InputError: If several were started.
    """
    if launched_place().processes > 1:
        raise InputError(f"{what} runs in one process; start it without accelerate launch or torchrun")


def is_first() -> bool:
    """Whether this process is the one that tells and writes."""
    return launched_place().rank == 0


def goes_on(out: Path, *, resume: bool) -> bool:
    """Whether a run takes up a saved state, and so needs no start weights."""
    return resume and (out / STATE_NAME).is_file()


def earlier_validations(out: Path, metric: str) -> list[float | None]:
    """A metric of the validations in a run's log, oldest first; None where it did not exist.

    ``TrainingLog`` has dropped those of steps that a resume takes again.
    """
    lines = [json.loads(line) for line in (out / LOG_NAME).read_text(encoding="utf-8").splitlines()]
    return [line[metric] for line in lines if line["kind"] == "validation"]


def identity_of(names: Sequence[str]) -> str:
    """Tells sets of names apart: how many, and a digest of them."""
    digest = hashlib.sha256(os.fsencode("\n".join(names))).hexdigest()[:12]
    return f"{len(names)} ({digest})"


def labels_identity(records: Sequence[ImageRecord]) -> str:
    """Tells the labels of images apart: how many objects, and a digest of what is known of them."""
    digest = hashlib.sha256()
    for record in records:
        for column in (record.boxes, record.labels, record.ignore, np.array(record.size_hw)):
            digest.update(np.ascontiguousarray(column).tobytes())
    return f"{sum(len(record.boxes) for record in records)} objects ({digest.hexdigest()[:12]})"
