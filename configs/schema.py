"""The configuration of a detector and its training: every value, its range and what it means.

All models are frozen, refuse unknown keys and do not convert: text is not a number, and ``true`` is not 1.
The defaults are those of the ``default`` preset; a preset or a user's file holds only what differs.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from configs.sections import Device, RootConfig, Section, Share, WeightsSource


class InputConfig(Section):
    """The size of what the network sees."""

    longest_side: int = Field(
        default=384, ge=64, le=4096, multiple_of=32, description="Longer side of a resized image, in pixels."
    )


class VariantConfig(Section):
    """Which GoogLeNet."""

    block: Literal["naive", "reduced", "factorized"] = Field(
        default="reduced", description="Inception module: reduced (the paper's network), naive or factorized."
    )
    norm: Literal["lrn", "batchnorm"] = Field(
        default="batchnorm",
        description="batchnorm behind every convolution, or lrn at the start and the last pool 3x3, as in the paper.",
    )
    five_kernel: Literal[3, 5] = Field(default=3, description="Kernel of the 5x5 branch; 5 is the paper's.")


class BackboneConfig(VariantConfig):
    """GoogLeNet and where its start weights come from."""

    weights: WeightsSource = Field(
        default="shipped",
        description="shipped (with this package), none (random start), torchvision (downloads) or a weights file.",
    )


class PyramidConfig(Section):
    """The feature pyramid over strides 8, 16 and 32, on which objects are searched, and 4 for pooling alone."""

    channels: int = Field(default=96, ge=8, le=1024, description="Channels of each pyramid level.")
    finest_stride: Literal[4, 8] = Field(
        default=4, description="Stride of the finest level that regions are pooled from; 8 is faster."
    )


class GlobalMultiBoxConfig(Section):
    """MultiBox in its first form (proposals.method multibox-fc or combined-fc)."""

    num_priors: int = Field(default=200, ge=1, le=10_000, description="Priors of the whole image; paper: 100, 200.")
    hidden: int = Field(default=1024, ge=8, le=8192, description="Units of the hidden layer.")
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0, description="Dropout behind the hidden layer.")
    alpha: float = Field(default=0.3, gt=0.0, le=1e4, description="Weight of the localization, in matching and loss.")
    match_to: Literal["predictions", "priors"] = Field(
        default="predictions", description="What objects are matched to; predictions is the paper's objective."
    )


class SelectiveSearchConfig(Section):
    """Selective search (proposals.method selective-search, combined or combined-fc)."""

    mode: Literal["single", "fast", "quality"] = Field(
        default="fast", description="How many strategies: 1, 8 or 80 (Uijlings et al. 2013); see max_boxes."
    )
    superpixel_scale: float | None = Field(
        default=None,
        gt=0.0,
        le=100.0,
        description="Multiplies the size of superpixels; null = 2 if combined(-fc), else 1.",
    )
    max_boxes: int = Field(default=2000, ge=1, le=100_000, description="Boxes of an image, best first.")
    min_side: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="Boxes with a shorter side, in pixels of a picture 500 wide, are left out; 20 as released.",
    )


GLOBAL_METHODS = ("multibox-fc", "combined-fc")
"""Values of ``proposals.method`` with the first form of MultiBox."""

SEARCHED_METHODS = ("selective-search", "combined", "combined-fc")
"""Those with selective search, alone or beside MultiBox."""


class ProposalsConfig(Section):
    """Class-agnostic boxes with an objectness score."""

    method: Literal["multibox", "multibox-fc", "selective-search", "combined", "combined-fc"] = Field(
        default="multibox",
        description="multibox (convolutional), multibox-fc (the first form), selective-search, or combined and "
        "combined-fc: the num_detect best of multibox or multibox-fc (200 in the entry of 2014) and selective search.",
    )
    priors_per_level: int = Field(default=3, ge=1, le=32, description="Priors at each place of each pyramid level.")
    tower_depth: int = Field(default=2, ge=0, le=8, description="3x3 convolutions shared by the levels.")
    positive_iou: Share = Field(default=0.5, description="A prior is positive above this IoU with an object.")
    min_matches: int = Field(default=4, ge=1, le=64, description="This many best priors of an object are positive too.")
    nms_iou_threshold: Share = Field(default=0.7, description="Of two proposals with more overlap only one stays.")
    candidates: int = Field(default=600, ge=1, le=100_000, description="Best boxes of an image that enter the NMS.")
    num_train: int = Field(default=256, ge=1, le=10_000, description="Proposals per image in training; <= candidates.")
    num_detect: int = Field(default=100, ge=1, le=10_000, description="Proposals per image in use; <= candidates.")
    global_multibox: GlobalMultiBoxConfig = Field(
        default=GlobalMultiBoxConfig(), description="MultiBox in its first form."
    )
    selective_search: SelectiveSearchConfig = Field(default=SelectiveSearchConfig(), description="Selective search.")

    @field_validator("num_train", "num_detect")
    @classmethod
    def _within_candidates(cls, number: int, info: ValidationInfo) -> int:
        candidates = info.data.get("candidates", number)  # absent when it is itself at fault
        if number > candidates:
            raise ValueError(f"at most proposals.candidates = {candidates}")
        return number


class CropConfig(Section):
    """Whole GoogLeNets over warped regions (classifier.form crop), one training for each."""

    members: int = Field(default=1, ge=1, le=6, description="GoogLeNets, each trained by itself; the entry had 6.")
    side: int = Field(default=224, ge=64, le=1024, description="Side of a warped region, in pixels.")
    context: int = Field(default=16, ge=0, le=256, description="Pixels of its surroundings, on each side; < side / 2.")
    batch: int = Field(
        default=128, ge=1, le=65_536, description="Regions of a training step, of all its images; or judged at once."
    )
    foreground_fraction: float = Field(
        default=0.25, gt=0.0, le=1.0, description="At most this part of a step's regions is objects."
    )
    proposer_share: float = Field(
        default=0.3,
        gt=0.0,
        lt=1.0,
        description="Part of minutes or epochs for learning to propose; members share the rest.",
    )

    @field_validator("context")
    @classmethod
    def _within_side(cls, context: int, info: ValidationInfo) -> int:
        side = info.data.get("side")  # absent when it is itself at fault
        if side is not None and 2 * context >= side:
            raise ValueError(f"less than half of classifier.crop.side = {side}")
        return context


class ClassifierConfig(Section):
    """The ensemble that names each region; its mean probability is the class score."""

    form: Literal["shared", "crop"] = Field(
        default="shared", description="shared (heads on the backbone's features) or crop (whole networks, as R-CNN)."
    )
    second_look: bool = Field(
        default=True, description="Judge regions once more, with as many members, where the first look moved them."
    )
    members: int = Field(default=3, ge=1, le=64, description="Heads of the ensemble, of each look.")
    contexts: tuple[float, ...] = Field(
        default=(1.0,),
        strict=False,  # YAML has lists only; the items stay strict
        min_length=1,
        description="Enlargements of a region, shared out among the members in turn; each in [1, 4].",
    )
    pool_size: int = Field(default=7, ge=1, le=28, description="RoIAlign output, bins per side.")
    hidden: int = Field(default=256, ge=8, le=8192, description="Units of the layer that all members share.")
    member_hidden: int = Field(default=128, ge=8, le=8192, description="Units of each member's own layer.")
    sample_fraction: float = Field(default=0.8, gt=0.0, le=1.0, description="Part of the regions each member sees.")
    box_regression: bool = Field(default=True, description="Refine the box per class.")
    rois_per_image: int = Field(default=48, ge=1, le=4096, description="Regions sampled per image in training.")
    foreground_fraction: float = Field(default=0.5, gt=0.0, le=1.0, description="At most this part of them is objects.")
    foreground_iou: float = Field(default=0.5, gt=0.0, le=1.0, description="A region is an object from this IoU on.")
    crop: CropConfig = Field(default=CropConfig(), description="Whole GoogLeNets over warped regions.")

    @field_validator("contexts")
    @classmethod
    def _usable_contexts(cls, contexts: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if not all(1.0 <= context <= 4.0 for context in contexts):
            raise ValueError("enlargements from 1 to 4")
        members = info.data.get("members", len(contexts))  # absent when it is itself at fault
        if len(contexts) > members:
            raise ValueError(f"no more contexts than classifier.members = {members}")
        return contexts


class PostprocessConfig(Section):
    """From scored regions to detections."""

    score_threshold: Share = Field(default=0.01, description="Weaker detections are dropped.")
    nms_sigma: float | None = Field(
        default=0.3,
        gt=0.0,
        le=10.0,
        description="A detection loses score by its overlap with a better one of its class, exp(-IoU^2 / this) (Matrix "
        "NMS); null = it is removed above nms_iou_threshold instead.",
    )
    nms_iou_threshold: Share = Field(
        default=0.5, description="Of two boxes of a class with more overlap one stays, if nms_sigma is null."
    )
    max_detections: int = Field(default=100, ge=1, le=10_000, description="Detections per image, best first.")
    objectness_power: float = Field(
        default=0.5, ge=0.0, le=4.0, description="Final score = class score x objectness ** this; 0 leaves it out."
    )


class AugmentConfig(Section):
    """Random changes of the training images."""

    horizontal_flip: Share = Field(default=0.5, description="Probability of a left-right flip.")
    vertical_flip: Share | None = Field(
        default=None,
        description="Probability of an upside-down flip; null = 0.5 where the training objects are told as surely that "
        "way as upright, else 0; 0 too without start weights or with horizontal_flip 0.",
    )
    scale: tuple[float, float] = Field(
        default=(0.8, 1.3), strict=False, description="Lowest and highest zoom, each in [0.1, 4]; [1, 1] = none."
    )
    brightness: Share = Field(default=0.2, description="Largest relative change of brightness.")
    contrast: Share = Field(default=0.2, description="Largest relative change of contrast.")
    saturation: Share = Field(default=0.3, description="Largest relative change of saturation.")
    hue: float = Field(default=0.02, ge=0.0, le=0.5, description="Largest turn of the hue, in turns of the circle.")
    mosaic: Share = Field(
        default=0.5, description="Probability that four images are put together into one; see many_epochs."
    )
    mosaic_until: float = Field(
        default=0.9, gt=0.0, le=1.0, description="First part of the training with mosaics; the rest has none."
    )
    iou_crop: Share = Field(
        default=0.5, description="Probability of a crop that keeps at least one object (SSD's); see many_epochs."
    )
    many_epochs: int = Field(
        default=80,
        ge=0,
        description="Passes (and 1,500 steps) from which a training has mosaics and crops in full; up to three eighths "
        "of them none, in between a part; 0: any.",
    )

    @field_validator("scale")
    @classmethod
    def _ordered_scale(cls, scale: tuple[float, float]) -> tuple[float, float]:
        low, high = scale
        if not 0.1 <= low <= high <= 4.0:
            raise ValueError("[low, high] with 0.1 <= low <= high <= 4")
        return scale


class LowResolutionConfig(Section):
    """Progressive resolution: training starts with smaller images, which is faster."""

    fraction: float = Field(default=0.5, ge=0.0, lt=1.0, description="First part of the training; 0 = never.")
    scale: float = Field(default=0.6, ge=0.25, le=1.0, description="Image size then, relative to input.longest_side.")


METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl", "F1")
"""Numbers of a validation, of all classes together."""

CLASS_METRICS = ("AP", "AP50", "F1")
"""Those of each class for itself."""


class LossWeightsConfig(Section):
    """What each part of the objective weighs."""

    proposal_objectness: float = Field(default=1.0, ge=0.0, le=100.0, description="Is there an object at this prior?")
    proposal_box: float = Field(default=1.0, ge=0.0, le=100.0, description="Where is it?")
    region_class: float = Field(default=1.0, ge=0.0, le=100.0, description="What is it?")
    region_box: float = Field(default=1.0, ge=0.0, le=100.0, description="Where exactly?")


class TrainConfig(Section):
    """Optimisation, and what is kept of it."""

    epochs: int = Field(default=40, ge=1, le=100_000, description="Passes over the training images.")
    batch_size: int = Field(default=4, ge=1, le=4096, description="Images per step and process.")
    optimizer: Literal["adamw", "muon"] = Field(
        default="adamw", description="adamw, or muon for the convolutions and adamw beside it."
    )
    learning_rate: float = Field(default=1e-3, gt=0.0, le=1.0, description="Peak learning rate of AdamW.")
    muon_learning_rate: float = Field(default=0.02, gt=0.0, le=1.0, description="Peak learning rate of Muon.")
    backbone_rate: float | None = Field(
        default=None,
        ge=0.0,
        le=10.0,
        description="Learning rate of the backbone, as a multiple of the others'; null = 0.3, from random weights 1.",
    )
    weight_decay: float = Field(default=0.05, ge=0.0, le=1.0, description="Decoupled weight decay.")
    warmup_fraction: float = Field(default=0.03, ge=0.0, le=0.5, description="Part of the steps with rising rate.")
    ema_decay: float = Field(default=0.998, ge=0.0, lt=1.0, description="Moving average of the weights; 0 = none.")
    gradient_clip: float = Field(default=10.0, gt=0.0, le=1e6, description="Largest norm of the gradient.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of everything random.")
    workers: int = Field(default=0, ge=0, le=256, description="Processes that load images; 0 = the training process.")
    cache_mb: int = Field(
        default=2048, ge=0, le=10_000_000, description="Memory for decoded images of each process, MiB; 0 = none."
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="auto = bfloat16 where the processor is fast at it."
    )
    device: Device = Field(default="auto", description="auto, cpu, mps, cuda or cuda:N.")
    best_metric: str = Field(
        default="AP",
        description="Number of the validation that chooses the best model: COCO's, F1, or AP:NAME, AP50:NAME, F1:NAME.",
    )
    low_resolution: LowResolutionConfig = Field(
        default=LowResolutionConfig(), description="Smaller images at the start of the training."
    )
    multi_scale: float = Field(
        default=0.0, ge=0.0, le=0.5, description="Each batch is up to this share smaller or larger; 0 = one size."
    )
    evaluate_every: int = Field(
        default=2,
        ge=1,
        le=100_000,
        description="Epochs between validations, with --val; more with --minutes once they took over a tenth.",
    )
    patience: int | None = Field(
        default=None, ge=1, le=100_000, description="Validations without a new best that end the run; null = never."
    )
    loss_weights: LossWeightsConfig = Field(
        default=LossWeightsConfig(), description="Weight of each part of the objective."
    )
    checkpoint_seconds: int = Field(default=120, ge=1, le=86_400, description="Seconds between saved states.")

    @field_validator("best_metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        number, colon, class_name = metric.partition(":")
        if number not in (CLASS_METRICS if colon else METRICS) or (colon and not class_name):
            of_class = " or ".join(f"{name}:NAME" for name in CLASS_METRICS)
            raise ValueError(f"one of {', '.join(METRICS)}, or {of_class} of the class NAME")
        return metric


class Config(RootConfig):
    """Everything that shapes a detector and its training. Data paths are never part of it."""

    preset_folder = "."

    input: InputConfig = Field(default=InputConfig(), description="The size of what the network sees.")
    backbone: BackboneConfig = Field(default=BackboneConfig(), description="GoogLeNet.")
    pyramid: PyramidConfig = Field(default=PyramidConfig(), description="The feature pyramid.")
    proposals: ProposalsConfig = Field(default=ProposalsConfig(), description="Where regions come from.")
    classifier: ClassifierConfig = Field(default=ClassifierConfig(), description="The ensemble of region classifiers.")
    postprocess: PostprocessConfig = Field(default=PostprocessConfig(), description="From regions to detections.")
    augment: AugmentConfig = Field(default=AugmentConfig(), description="Random changes of the training images.")
    train: TrainConfig = Field(default=TrainConfig(), description="Optimisation.")
