"""Values without effect are told, and no others."""

from __future__ import annotations

import pytest

from configs.errors import ConfigError
from configs.load import config_origins, load_config, preset_names
from configs.pretraining import PretrainConfig
from configs.schema import Config
from configs.unused import _RECIPE_RULES, _RULES, unused_values


def told(overrides: list[str]) -> list[str]:
    config = load_config("default", overrides, schema=Config)
    origins = config_origins("default", overrides, schema=Config)
    return unused_values(config, [name for name, origin in origins.items() if origin != "default"])


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["proposals.tower_depth=3"], []),
        (["proposals.tower_depth=3", "proposals.method=multibox-fc"], ["proposals.tower_depth"]),
        (["proposals.num_detect=30", "proposals.method=selective-search"], ["proposals.num_detect"]),
        (["proposals.num_detect=30", "proposals.method=combined"], []),
        (["proposals.global_multibox.alpha=0.1"], ["proposals.global_multibox.alpha"]),
        (["proposals.global_multibox.alpha=0.1", "proposals.method=multibox-fc"], []),
        (["proposals.global_multibox.alpha=0.1", "proposals.method=combined-fc"], []),
        (["proposals.tower_depth=3", "proposals.method=combined-fc"], ["proposals.tower_depth"]),
        (["proposals.selective_search.mode=quality"], ["proposals.selective_search.mode"]),
        (["proposals.selective_search.mode=quality", "proposals.method=combined-fc"], []),
        (["postprocess.objectness_power=1", "proposals.method=combined-fc"], ["postprocess.objectness_power"]),
        (["postprocess.objectness_power=1", "proposals.method=combined"], ["postprocess.objectness_power"]),
        (["postprocess.nms_iou_threshold=0.4"], ["postprocess.nms_iou_threshold"]),
        (["postprocess.nms_iou_threshold=0.4", "postprocess.nms_sigma=null"], []),
        (["augment.mosaic_until=0.5"], []),
        (["augment.mosaic_until=0.5", "augment.mosaic=0"], ["augment.mosaic_until"]),
        (["augment.many_epochs=9", "augment.mosaic=0"], []),
        (["augment.many_epochs=9", "augment.mosaic=0", "augment.iou_crop=0"], ["augment.many_epochs"]),
        (["train.multi_scale=0.08"], ["train.multi_scale"]),
        (["train.multi_scale=0.0"], []),
        (["train.multi_scale=0.09"], []),
        (["train.loss_weights.region_box=2", "classifier.box_regression=false"], ["train.loss_weights.region_box"]),
        (["train.muon_learning_rate=0.1"], ["train.muon_learning_rate"]),
        (["train.muon_learning_rate=0.1", "train.optimizer=muon"], []),
        (["backbone.five_kernel=5", "backbone.block=factorized"], ["backbone.five_kernel"]),
    ],
)
def test_what_is_told(overrides: list[str], names: list[str]) -> None:
    assert [line.partition(" has no effect here: it ")[0] for line in told(overrides)] == names


def test_recipes_have_no_idle_values() -> None:
    for recipe in preset_names(PretrainConfig):
        origins = config_origins(recipe, schema=PretrainConfig)
        given = [name for name, origin in origins.items() if origin != "default"]
        assert unused_values(load_config(recipe, schema=PretrainConfig), given) == []
    config = load_config("modern", ["train.momentum=0.5"], schema=PretrainConfig)
    assert unused_values(config, ["train.momentum"]) == [
        "train.momentum has no effect here: it is for train.optimizer sgd"
    ]


def test_rules_name_values_that_exist() -> None:
    for rules, schema in ((_RULES, Config), (_RECIPE_RULES, PretrainConfig)):
        known = set(config_origins("default" if schema is Config else "modern", schema=schema))
        for rule in rules:
            for name in rule.names:
                assert any(other == name or other.startswith(f"{name}.") for other in known), name


def test_a_section_in_braces_keeps_its_other_values_and_tells_where_each_is_from() -> None:
    overrides = ["classifier.crop={side: 128}", "train={epochs: 3}", "augment={}"]
    config = load_config("ilsvrc2014", overrides, schema=Config)
    plain = load_config("ilsvrc2014", schema=Config)
    assert (config.classifier.crop.side, config.classifier.crop.members, config.train.epochs) == (128, 6, 3)
    assert (config.train.learning_rate, config.augment) == (plain.train.learning_rate, plain.augment)
    origins = config_origins("ilsvrc2014", overrides, schema=Config)
    assert [name for name, origin in origins.items() if origin == "--set"] == ["classifier.crop.side", "train.epochs"]
    (unused,) = told(["proposals={tower_depth: 3, method: multibox-fc}"])
    assert unused.startswith("proposals.tower_depth has no effect here")


def test_braces_for_a_single_value_are_a_fault() -> None:
    with pytest.raises(ConfigError, match=r"train\.epochs: got \{'a': 1\}"):
        load_config("ilsvrc2014", ["train.epochs={a: 1}"], schema=Config)
    with pytest.raises(ConfigError, match=r"train\.epochs: got"):
        load_config("default", ["train.epochs={a: 1}"], schema=Config)
    with pytest.raises(ConfigError, match=r"train\.epochs: got \{\}"):
        load_config("default", ["train.epochs={}"], schema=Config)
    with pytest.raises(ConfigError, match=r"augment\.mosaik"):
        load_config("default", ["augment={mosaik: 1}"], schema=Config)
