"""How a training of the crop form is split: budgets, seeds, and what proposes."""

from __future__ import annotations

import pytest
import torch

from configs.errors import ConfigError
from configs.load import config_origins, load_config, preset_names
from configs.schema import Config
from configs.unused import unused_values
from detection.build import build_regions
from detection.crop import build as crop
from detection.regions import SelectiveSearch
from tests.crop.small import crop_config


@pytest.mark.parametrize(
    ("method", "expected"),
    [("multibox", (0.3, 0.35)), ("combined", (0.3, 0.35)), ("selective-search", (0.0, 0.5))],
)
def test_the_budget_is_split(method: str, expected: tuple[float, float]) -> None:
    assert crop.stage_shares(crop_config(method)) == pytest.approx(expected)


def test_epochs_follow_the_shares_and_are_never_none() -> None:
    config = crop_config(epochs=20)
    of_proposer = crop.proposer_config(config)
    assert of_proposer is not None
    assert of_proposer.train.epochs == 6
    assert [crop.member_config(config, number).train.epochs for number in (1, 2)] == [7, 7]
    assert crop.member_config(crop_config(epochs=1), 1).train.epochs == 1


def test_what_proposes_is_a_detector_of_the_shared_form_without_selective_search() -> None:
    for method, learnt in (
        ("combined", "multibox"),
        ("combined-fc", "multibox-fc"),
        ("multibox-fc", "multibox-fc"),
    ):
        of_proposer = crop.proposer_config(crop_config(method))
        assert of_proposer is not None
        assert of_proposer.classifier.form == "shared"
        assert of_proposer.proposals.method == learnt
    assert crop.proposer_config(crop_config("selective-search")) is None


def test_members_have_seeds_of_their_own() -> None:
    seeds = {crop.member_seed(seed, number) for seed in range(20) for number in range(1, 7)}
    assert len(seeds) == 120
    heads = [crop.build_member(crop.member_config(crop_config(), n), 3).logits.weight for n in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert crop.member_config(crop_config(), 1).classifier.crop.members == 1


def test_a_context_that_leaves_no_region_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("default", ["classifier.crop.side=64", "classifier.crop.context=32"], schema=Config)
    assert caught.value.faults == (
        "classifier.crop.context: got 32 (--set), expected less than half of classifier.crop.side = 64",
    )


def told(*overrides: str) -> list[str]:
    """Names of the values that have no effect."""
    origins = config_origins("default", overrides, schema=Config)
    lines = unused_values(
        load_config("default", overrides, schema=Config), [n for n, origin in origins.items() if origin != "default"]
    )
    return [line.partition(" has no effect")[0] for line in lines]


def test_values_without_effect_are_told() -> None:
    assert told("classifier.crop.members=3") == ["classifier.crop.members"]
    form = "classifier.form=crop"
    assert told(form, "classifier.crop.members=3", "classifier.hidden=64") == []
    assert told(form, "postprocess.objectness_power=1") == ["postprocess.objectness_power"]
    searched = "proposals.method=selective-search"
    assert told(form, searched, "classifier.hidden=64", "classifier.crop.proposer_share=0.5") == [
        "classifier.hidden",
        "classifier.crop.proposer_share",
    ]
    assert told(form, searched, "postprocess.objectness_power=1") == ["postprocess.objectness_power"]


@pytest.mark.parametrize("preset", preset_names(Config))
def test_presets_have_no_idle_values(preset: str) -> None:
    origins = config_origins(preset, schema=Config)
    given = [name for name, origin in origins.items() if origin != "default"]
    assert unused_values(load_config(preset, schema=Config), given) == []


def test_the_entry_is_what_the_paper_says() -> None:
    config = load_config("ilsvrc2014", schema=Config)
    p, kept = config.proposals, config.postprocess
    assert (p.method, p.num_detect, p.global_multibox.num_priors, p.nms_iou_threshold) == ("combined-fc", 200, 200, 1.0)
    assert (kept.score_threshold, kept.max_detections, kept.nms_iou_threshold) == (0.001, 1000, 0.3)
    regions = build_regions(config, None)
    assert isinstance(regions, SelectiveSearch)
    assert (regions.settings.superpixel_scale, regions.settings.min_side, regions.settings.num_strategies) == (
        2.0,
        20,
        8,
    )
    c = config.classifier
    assert (c.form, c.crop.members, c.crop.side, c.crop.context, c.box_regression) == ("crop", 6, 224, 16, False)
    assert (c.crop.batch, c.crop.foreground_fraction, c.foreground_iou) == (128, 0.25, 0.5)
    assert [crop.member_config(config, number).train.epochs for number in (1, 6)] == [1, 1]
