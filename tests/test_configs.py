"""Configurations: what is accepted, and every kind of fault with its exact words."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from configs import load
from configs.errors import ConfigError
from configs.load import dump_config, flatten_config
from configs.schema import Config
from configs.sections import field_names

load_config = partial(load.load_config, schema=Config)
config_from_dict = partial(load.config_from_dict, schema=Config)
config_origins = partial(load.config_origins, schema=Config)


def write(folder: Path, text: str) -> str:
    path = folder / "my.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def faults_of(name_or_path: str, overrides: tuple[str, ...] = ()) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_config(name_or_path, overrides)
    return caught.value.faults


# Presets and schema


def test_presets_load() -> None:
    assert load.preset_names(Config) == ("accurate", "coco", "default", "fast", "ilsvrc2014", "voc")
    for name in load.preset_names(Config):
        load_config(name)


def test_the_default_preset_is_the_schema() -> None:
    assert load_config("default") == Config()


def test_presets_say_what_they_cost() -> None:
    for name in load.preset_names(Config):
        header = (Path(__file__).parent.parent / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
        for entry in ("# Command:", "# Time:", "# Expected AP:", "# Machine:"):
            assert entry in header


def test_presets_hold_only_what_differs() -> None:
    defaults = flatten_config(Config())
    for name in load.preset_names(Config):
        values = flatten_config(load_config(name))
        stated = {key for key, origin in config_origins(name).items() if origin != "default"}
        assert {key for key in stated if values[key] == defaults[key]} == set()


def test_every_field_is_described() -> None:
    def check(model: type[BaseModel]) -> None:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                check(field.annotation)

    check(Config)


def test_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Config().train.epochs = 3


def test_field_names_list_sections_before_their_values() -> None:
    names = field_names(Config)

    assert names[:3] == ("input", "input.longest_side", "backbone")
    assert names.index("train.low_resolution") + 1 == names.index("train.low_resolution.fraction")
    assert len(set(names)) == len(names)


# Files


def test_partial_file_takes_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "train:\n  epochs: 3\n"))

    assert config.train.epochs == 3
    assert config.train.batch_size == Config().train.batch_size


@pytest.mark.parametrize("text", ["", "# nothing\n", "train:\n", "train:\n  # epochs: 3\ninput: {}\n"])
def test_empty_files_and_sections_mean_defaults(tmp_path: Path, text: str) -> None:
    assert load_config(write(tmp_path, text)) == Config()


@pytest.mark.parametrize(
    ("written", "value"), [("1e-4", 1e-4), ("1.0e-4", 1e-4), ("2E-3", 2e-3), ("1", 1.0), (".5", 0.5)]
)
def test_numbers_may_be_written_as_people_do(tmp_path: Path, written: str, value: float) -> None:
    assert load_config(write(tmp_path, f"train:\n  learning_rate: {written}\n")).train.learning_rate == value


def test_lists_become_tuples(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "classifier: {contexts: [1.0, 1.3, 1.8]}\naugment:\n  scale:\n  - 1\n  - 2\n"))

    assert config.classifier.contexts == (1.0, 1.3, 1.8)
    assert config.augment.scale == (1.0, 2.0)


def test_file_named_like_nothing_known() -> None:
    presets = "The presets are accurate, coco, default, fast, ilsvrc2014, voc"
    assert faults_of("acurate") == (f"acurate: neither a file nor a preset; did you mean accurate? {presets}",)
    assert faults_of("no/such.yaml") == (f"no/such.yaml: neither a file nor a preset; {presets}",)


def test_folder_and_binary_file_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "a.yaml"
    binary.write_bytes(b"\xff\xfe\x00")

    assert "cannot be read as text" in faults_of(str(tmp_path))[0]
    assert "cannot be read as text" in faults_of(str(binary))[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("train:\n  epochs: 3\n epochs: 4\n", "line 3, column 2: "),
        ("train: [1, 2\n", "line 2, column 1: "),
        ("train:\n\tepochs: 3\n", "line 2, column 1: "),
        ("a: \x07\n", "special characters are not allowed"),
        ("a: 2001-99-99\n", "month must be in 1..12"),
    ],
)
def test_syntax_errors_name_file_and_line(tmp_path: Path, text: str, fault: str) -> None:
    path = write(tmp_path, text)

    (found,) = faults_of(path)

    assert found.startswith(f"{path}: ")
    assert fault in found


def test_all_duplicate_keys_are_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "train:\n  seed: 1\n  seed: 2\ninput:\n  longest_side: 320\ntrain:\n  epochs: 0\n")

    assert faults_of(path) == (
        f"{path}: line 6: train stands already in line 1",
        f"{path}: line 3: seed stands already in line 2",
        f"train.epochs: got 0 ({path}), expected greater than or equal to 1",
    )


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!mine x"])
def test_tags_are_refused(tmp_path: Path, tag: str) -> None:
    (found,) = faults_of(write(tmp_path, f"train:\n  device: {tag}\n"))

    assert "line 2" in found
    assert "could not determine a constructor for the tag" in found


@pytest.mark.parametrize("text", ["3\n", "- train\n", "just words\n"])
def test_file_without_sections(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)

    assert faults_of(path) == (f"{path}: got {yaml.safe_load(text)!r}, expected sections of names and values",)


# Faults of single values

FAULTS: list[tuple[str, str]] = [
    ("train.epochs='5'", "train.epochs: got '5' (--set), expected a whole number"),
    ("train.epochs=5.5", "train.epochs: got 5.5 (--set), expected a whole number"),
    ("train.epochs=true", "train.epochs: got True (--set), expected a whole number"),
    ("train.epochs=", "train.epochs: got None (--set), expected a whole number"),
    ("train.epochs=0", "train.epochs: got 0 (--set), expected greater than or equal to 1"),
    ("train.learning_rate=fast", "train.learning_rate: got 'fast' (--set), expected a number"),
    ("train.learning_rate=0", "train.learning_rate: got 0 (--set), expected greater than 0"),
    ("train.learning_rate=.nan", "train.learning_rate: got nan (--set), expected a finite number"),
    ("train.precision=half", "train.precision: got 'half' (--set), expected 'auto', 'float32' or 'bfloat16'"),
    ("train.device=gpu", "train.device: got 'gpu' (--set), expected auto, cpu, mps, cuda or cuda:N"),
    ("train.device='cuda:'", "train.device: got 'cuda:' (--set), expected auto, cpu, mps, cuda or cuda:N"),
    ("input.longest_side=400", "input.longest_side: got 400 (--set), expected a multiple of 32"),
    ("classifier.box_regression=1", "classifier.box_regression: got 1 (--set), expected true or false"),
    ("classifier.contexts=1.0", "classifier.contexts: got 1.0 (--set), expected a list"),
    (
        "classifier.contexts=[1.0, 0.5]",
        "classifier.contexts: got [1.0, 0.5] (--set), expected enlargements from 1 to 4",
    ),
    (
        "classifier.contexts=[1, 1, 1, 1, 1, 1, 2]",
        "classifier.contexts: got [1, 1, 1, 1, 1, 1, 2] (--set), expected no more contexts than classifier.members = 3",
    ),
    ("augment.scale=[0.5, '2']", "augment.scale[1]: got '2' (--set), expected a number"),
    ("augment.scale=[0.5]", "augment.scale[1]: got nothing (--set), expected a value here"),
    (
        "augment.scale=[1.3, 0.8]",
        "augment.scale: got [1.3, 0.8] (--set), expected [low, high] with 0.1 <= low <= high <= 4",
    ),
    (
        "proposals.num_detect=2000",
        "proposals.num_detect: got 2000 (--set), expected at most proposals.candidates = 600",
    ),
    (
        "backbone.weights=torchvison",
        "backbone.weights: got 'torchvison' (--set), "
        "expected shipped, none, torchvision or the path of a .safetensors file",
    ),
    ("backbone.weights=3", "backbone.weights: got 3 (--set), expected text"),
    ("train=5", "train: got 5 (--set), expected a section of names and values"),
    ("train.low_resolution.scale=2", "train.low_resolution.scale: got 2 (--set), expected less than or equal to 1"),
]


@pytest.mark.parametrize(("override", "fault"), FAULTS)
def test_faults_name_value_origin_and_expectation(override: str, fault: str) -> None:
    assert faults_of("default", (override,)) == (fault,)


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [
        ("train.epoch=3", "did you mean train.epochs?"),
        ("trian.epochs=3", "did you mean train?"),
        ("epochs=3", "did you mean train.epochs?"),
        ("train.score_threshold=0.1", "did you mean postprocess.score_threshold?"),
        ("train.low_resolution.scal=0.5", "did you mean train.low_resolution.scale?"),
        ("pyramid.zzz=1", "valid names are pyramid.channels, pyramid.finest_stride"),
    ],
)
def test_unknown_names_get_the_nearest_valid_one(override: str, suggestion: str) -> None:
    (found,) = faults_of("default", (override,))

    assert "unknown name" in found
    assert found.endswith(suggestion)


def test_several_faults_come_in_one_message(tmp_path: Path) -> None:
    path = write(tmp_path, "train:\n  epochs: -1\n  lr: 0.1\naugment:\n  hue: 3\n")

    with pytest.raises(ConfigError) as caught:
        load_config(path, ["input.longest_side=100", "nonsense"])

    assert str(caught.value) == (
        "5 faults in the configuration:\n"
        "  --set nonsense: expected section.name=value, for example train.epochs=20\n"
        "  input.longest_side: got 100 (--set), expected a multiple of 32\n"
        f"  augment.hue: got 3 ({path}), expected less than or equal to 0.5\n"
        f"  train.epochs: got -1 ({path}), expected greater than or equal to 1\n"
        f"  train.lr: unknown name ({path}); valid names are "
        + ", ".join(name for name in field_names(Config) if name.startswith("train.") and name.count(".") == 1)
    )


def test_one_fault_is_singular_and_the_error_travels_between_processes() -> None:
    error = ConfigError("a: wrong")

    assert str(error) == "1 fault in the configuration:\n  a: wrong"
    assert pickle.loads(pickle.dumps(error)).faults == ("a: wrong",)


def test_long_values_are_shortened() -> None:
    (found,) = faults_of("default", (f"train.epochs={'x' * 500}",))

    assert len(found) < 150


# Overrides and origins


def test_overrides_win_and_the_last_one_counts() -> None:
    config = load_config("fast", ["input.longest_side=256", "train.epochs=1", "train.epochs=2", "augment.scale=[1, 1]"])

    assert config.input.longest_side == 256
    assert config.train.epochs == 2
    assert config.augment.scale == (1.0, 1.0)
    assert config.classifier.members == 1


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train.=3", ".epochs=3", "train..epochs=3", ""])
def test_overrides_of_another_form_are_refused(override: str) -> None:
    assert faults_of("default", (override,)) == (
        f"--set {override}: expected section.name=value, for example train.epochs=20",
    )


def test_override_with_broken_yaml_names_it() -> None:
    (found,) = faults_of("default", ("augment.scale=[1, 2",))

    assert found.startswith("--set augment.scale: line 1")


def test_override_below_a_value_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "train: 5\n")

    assert faults_of(path, ("train.epochs=3",)) == (f"train: got 5 ({path}), expected a section of names and values",)


def test_origins_tell_default_preset_file_and_override(tmp_path: Path) -> None:
    assert config_origins("fast", ["train.seed=1"])["input.longest_side"] == "preset fast"
    path = write(tmp_path, "train:\n  epochs: 3\n")

    origins = config_origins(path, ["train.seed=1", "train.epochs=4"])

    assert tuple(origins) == tuple(flatten_config(Config()))
    assert {name: origin for name, origin in origins.items() if origin != "default"} == {
        "train.epochs": "--set",
        "train.seed": "--set",
    }


# Round trips


def test_dump_reads_back_equal_and_describes_each_value(tmp_path: Path) -> None:
    for name in load.preset_names(Config):
        config = load_config(name)
        text = dump_config(config)
        assert load_config(write(tmp_path, text)) == config
        assert "  epochs: " in text
        assert "# Passes over the training images." in text


def test_json_form_reads_back_equal() -> None:
    config = load_config("accurate", ["augment.scale=[0.5, 2]"])

    assert config_from_dict(config.model_dump(mode="json")) == config
    assert config_from_dict({}) == Config()


@settings(deadline=None)  # machines may be busy
@given(
    epochs=st.integers(1, 100_000),
    learning_rate=st.floats(0, 1, exclude_min=True),
    scale=st.tuples(st.floats(0.1, 1), st.floats(1, 4)),
    device=st.sampled_from(["auto", "cpu", "cuda:3"]),
    box_regression=st.booleans(),
    contexts=st.lists(st.floats(1, 4), min_size=1, max_size=Config().classifier.members),
    weights=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])).map(
        lambda stem: f"{stem}.safetensors"
    ),
)
def test_any_valid_configuration_survives_yaml(tmp_path_factory: pytest.TempPathFactory, **values: Any) -> None:
    train = {name: values[name] for name in ("epochs", "learning_rate", "device")}
    classifier = {name: values[name] for name in ("box_regression", "contexts")}
    config = config_from_dict(
        {
            "train": train,
            "classifier": classifier,
            "augment": {"scale": list(values["scale"])},
            "backbone": {"weights": values["weights"]},
        }
    )

    path = write(tmp_path_factory.getbasetemp(), dump_config(config))

    assert load_config(path) == config
    assert flatten_config(load_config(path)) == flatten_config(config)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(field_names(Config)) | st.text(), inner)
    ),
    max_leaves=5,
)


@settings(deadline=None)  # machines may be busy
@given(st.dictionaries(st.sampled_from(list(Config.model_fields)) | st.text(), PLAIN, max_size=4))
def test_any_mapping_gives_a_configuration_or_its_faults(values: dict[str, Any]) -> None:
    try:
        outcome: Config | tuple[str, ...] = config_from_dict(values)
    except ConfigError as error:
        outcome = error.faults

    assert outcome
