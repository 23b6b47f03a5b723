"""The configuration of a classifier's training: every value, its range and what it means.

The defaults are those of the ``modern`` recipe; ``paper`` holds only what differs.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from configs.schema import VariantConfig
from configs.sections import Device, RootConfig, Section, Share, WeightsSource


class NetworkConfig(VariantConfig):
    """GoogLeNet as a classifier."""

    weights: WeightsSource = Field(
        default="none", description="Start of the trunk: none (random), shipped, torchvision or a weights file."
    )
    auxiliary: bool = Field(default=False, description="Auxiliary classifiers on 4a and 4d while training.")
    auxiliary_weight: float = Field(default=0.3, ge=0.0, le=10.0, description="Weight of each one's loss.")
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0, description="Dropout before the last layer.")


class ClassifierInputConfig(Section):
    """The size of what the network sees, by share of the training."""

    sides: tuple[tuple[float, int], ...] = Field(
        default=((0.0, 64),),
        strict=False,
        min_length=1,
        description="[share of the run, side of the square input in pixels] from which on it holds; the first at 0.",
    )
    stored_side: int = Field(
        default=0,
        ge=0,
        le=4096,
        description="Images are kept with at most this shorter side; 0 = 8/7 of the last side.",
    )

    @field_validator("sides", mode="before")
    @classmethod
    def _pairs(cls, sides: object) -> object:
        """YAML has lists only; the items stay strict."""
        if isinstance(sides, list | tuple):
            return tuple(tuple(side) if isinstance(side, list) else side for side in sides)
        return sides

    @field_validator("sides")
    @classmethod
    def _in_order(cls, sides: tuple[tuple[float, int], ...]) -> tuple[tuple[float, int], ...]:
        shares = [share for share, _ in sides]
        if shares[0] != 0 or shares != sorted(set(shares)) or shares[-1] >= 1:
            raise ValueError("shares that begin at 0, rise and stay below 1")
        if not all(32 <= side <= 1024 for _, side in sides):
            raise ValueError("sides from 32 to 1024")
        return sides


class ViewConfig(Section):
    """Random views of the training images (1409.4842, section 6)."""

    min_area: float = Field(default=0.25, gt=0.0, le=1.0, description="Smallest share of the image in a view.")
    aspect: float = Field(default=4 / 3, ge=1.0, le=4.0, description="Views are at most so much wider or higher.")
    interpolation: Literal["linear", "random"] = Field(
        default="linear", description="How views are scaled; random = linear, area, nearest or cubic, at equal odds."
    )
    horizontal_flip: Share = Field(default=0.5, description="Probability of a left-right flip.")
    brightness: Share = Field(default=0.3, description="Largest relative change of brightness.")
    contrast: Share = Field(default=0.3, description="Largest relative change of contrast.")
    saturation: Share = Field(default=0.3, description="Largest relative change of saturation.")


class ClassifierTrainConfig(Section):
    """Optimisation, and what is kept of it."""

    epochs: int = Field(default=20, ge=1, le=100_000, description="Passes over the training images.")
    batch_size: int = Field(default=256, ge=2, le=65_536, description="Images per step.")
    optimizer: Literal["muon", "adamw", "sgd"] = Field(
        default="muon", description="muon for the convolutions and adamw beside it, adamw, or sgd."
    )
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0, description="Momentum of sgd; the paper's value.")
    muon_learning_rate: float = Field(default=0.025, gt=0.0, le=1.0, description="Peak learning rate of Muon.")
    learning_rate: float = Field(default=2e-3, gt=0.0, le=10.0, description="Peak learning rate of AdamW or SGD.")
    weight_decay: float = Field(default=0.05, ge=0.0, le=1.0, description="Decay of weights; biases do not decay.")
    schedule: Literal["cosine", "paper"] = Field(
        default="cosine", description="cosine after a rise, to 0; paper = 4 % less every 8 epochs."
    )
    warmup_fraction: float = Field(default=0.05, ge=0.0, le=0.5, description="Part of the run with rising rate.")
    label_smoothing: float = Field(default=0.1, ge=0.0, lt=1.0, description="Probability shared out to all classes.")
    ema_decay: float = Field(default=0.999, ge=0.0, lt=1.0, description="Moving average of the weights; 0 = none.")
    gradient_clip: float = Field(default=10.0, gt=0.0, le=1e6, description="Largest norm of the gradient.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of everything random.")
    workers: int = Field(default=0, ge=0, le=256, description="Processes that make views; 0 = the training process.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto = bfloat16 where the processor is fast at it."
    )
    device: Device = Field(default="auto", description="auto, cpu, mps, cuda or cuda:N.")
    evaluate_every: int = Field(default=1, ge=1, le=100_000, description="Epochs between validations.")
    checkpoint_seconds: int = Field(default=120, ge=1, le=86_400, description="Seconds between saved states.")


class PretrainConfig(RootConfig):
    """Everything that shapes a classifier and its training. Data paths are never part of it."""

    preset_folder = "recipes"

    network: NetworkConfig = Field(default=NetworkConfig(), description="GoogLeNet as a classifier.")
    input: ClassifierInputConfig = Field(default=ClassifierInputConfig(), description="Size of the input.")
    views: ViewConfig = Field(default=ViewConfig(), description="Random views of the training images.")
    train: ClassifierTrainConfig = Field(default=ClassifierTrainConfig(), description="Optimisation.")
