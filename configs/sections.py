"""What every section of a configuration is made of: its behaviour, and the types that several share."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

WEIGHTS_SUFFIX = ".safetensors"

Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A part of a whole, a probability or an IoU."""


def _known_device(device: str) -> str:
    kind, colon, index = device.partition(":")
    if device not in ("auto", "cpu", "mps", "cuda") and not (kind == "cuda" and colon and index.isdecimal()):
        raise ValueError("auto, cpu, mps, cuda or cuda:N")
    return device


Device = Annotated[str, AfterValidator(_known_device)]
"""Where to compute."""


def _known_source(weights: str) -> str:
    if weights not in ("shipped", "none", "torchvision") and not weights.endswith(WEIGHTS_SUFFIX):
        raise ValueError(f"shipped, none, torchvision or the path of a {WEIGHTS_SUFFIX} file")
    return weights


WeightsSource = Annotated[str, AfterValidator(_known_source)]
"""Where the backbone's start weights come from."""


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


class RootConfig(Section):
    """A whole configuration, that files and presets hold.

    Attributes:
        preset_folder: Where its presets are, within this package.
    """

    preset_folder: ClassVar[str]


def field_names(model: type[BaseModel], prefix: str = "") -> tuple[str, ...]:
    """Dotted names of all sections and values below ``model``, in the order of the schema.

    Args:
        model: Where to start.
        prefix: Put before each name, with its dot.

    Returns:
        For example ``("input", "input.longest_side", ...)``; a section comes before what it holds.
    """
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names.extend(field_names(field.annotation, f"{prefix}{name}."))
    return tuple(names)
