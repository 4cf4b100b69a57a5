"""Every way a config can be written, and every way it can be wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_autostructn2v.engine.config import PRESETS, Budget, Config
from napari_autostructn2v.engine.errors import InputError

# The dictionary of the original's documents, in full, with values unlike any default.
ORIGINAL = {
    "input_dir": "data",
    "output_dir": "results",
    "experiment_name": "baseline",
    "image_extension": ".tif",
    "device": "cpu",
    "random_seed": 7,
    "split_ratio": [0.6, 0.2, 0.2],
    "verbose": True,
    "num_workers": 4,
    "num_epochs": 30,
    "early_stopping": False,
    "early_stopping_patience": 5,
    "run_stage1": True,
    "run_stage2": True,
    "stage1": {
        "features": 32,
        "num_layers": 3,
        "patch_size": 48,
        "batch_size": 8,
        "learning_rate": 2e-4,
        "patches_per_image": 50,
        "mask_percentage": 12.5,
        "mask_center_size": 3,
        "masking_strategy": 2,
        "use_augmentation": False,
        "use_roi": False,
        "roi_threshold": 0.4,
        "scale_factor": 0.5,
        "select_background": False,
    },
    "stage2": {
        "features": 128,
        "num_layers": 1,
        "patch_size": 80,
        "batch_size": 3,
        "learning_rate": 3e-5,
        "patches_per_image": 90,
        "mask_percentage": 11.0,
        "masking_strategy": 1,
        "use_augmentation": True,
        "mask_source": "file",
        "mask_file_path": "mask.tif",
        "extractor": {
            "norm_autocorr": False,
            "log_autocorr": False,
            "crop_autocorr": False,
            "adapt_autocorr": False,
            "adapt_CB": 40.0,
            "adapt_DF": 0.9,
            "center_size": 13,
            "base_percentile": 40,
            "percentile_decay": 1.2,
            "center_ratio_threshold": 0.25,
            "use_center_proximity": False,
            "center_proximity_threshold": 0.9,
            "keep_center_component_only": False,
            "max_true_pixels": 21,
        },
    },
}


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("60s", "seconds", 60),
        ("1.5s", "seconds", 1.5),
        ("90 sec", "seconds", 90),
        ("2 min", "seconds", 120),
        ("2m", "seconds", 120),
        ("1 Hour", "seconds", 3600),
        ("200steps", "steps", 200),
        ("1 step", "steps", 1),
        (" 20 epochs ", "epochs", 20),
        ("converged", "converged", 0),
        ("until it stops improving", "converged", 0),
    ],
)
def test_budget_is_read(text, unit, amount):
    assert Budget.parse(text) == Budget(unit, amount)


@pytest.mark.parametrize(
    "text", ["", "60", "s", "0s", "-3s", "10 parsecs", "1e3 steps", "2.5 steps", "1 2 s", None, 60]
)
def test_budget_that_is_not_one_is_told(text):
    with pytest.raises(ValueError, match="budget"):
        Budget.parse(text)


@given(
    st.sampled_from(["seconds", "steps", "epochs"]),
    st.integers(min_value=1, max_value=10**7),
)
def test_budget_round_trip(unit, amount):
    budget = Budget(unit, float(amount))

    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_round_trip(preset):
    config = Config.parse({"preset": preset})

    assert Config.parse(json.loads(config.model_dump_json())) == config


def test_every_changed_field_survives_the_round_trip(tmp_path):
    config = Config.from_autostructn2v(ORIGINAL)
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json(), encoding="utf-8")

    assert Config.load(path) == config


def test_values_go_over_the_preset_at_every_depth():
    config = Config.parse({"preset": "best", "stage1": {"network": {"depth": 3}}})

    assert config.stage1.network.features == 32
    assert config.stage1.network.depth == 3
    assert str(config.budget) == "600s"


def test_the_originals_dictionary_is_understood():
    config = Config.from_autostructn2v(ORIGINAL)

    assert config.budget == Budget("epochs", 30)
    assert (config.seed, config.device) == (7, "cpu")
    assert config.split_ratio == (0.6, 0.2, 0.2)
    assert (config.training.early_stopping, config.training.patience) == (False, 5)
    for name in ("stage1", "stage2"):
        stage, given = config.stage(name), ORIGINAL[name]
        assert stage.network.features == given["features"]
        assert stage.network.depth == given["num_layers"]
        for key in ("patch_size", "batch_size", "learning_rate", "patches_per_image"):
            assert getattr(stage, key) == given[key]
        assert stage.mask_percentage == given["mask_percentage"]
    stage1 = config.stage1
    assert (stage1.mask_center_size, stage1.use_roi, stage1.select_background) == (3, False, False)
    assert (stage1.roi_threshold, stage1.scale_factor) == (0.4, 0.5)
    assert (stage1.replacement, config.stage2.replacement) == ("random_visible", "zeros")
    assert (stage1.augmentation, config.stage2.augmentation) == ("none", "all")
    assert config.structure.mask_source == "file"
    assert str(config.structure.mask_file) == "mask.tif"
    assert config.structure.extractor == "ring"
    assert config.structure.ring.model_dump() == ORIGINAL["stage2"]["extractor"]


def test_the_originals_defaults_stand_in_for_missing_keys():
    config = Config.from_autostructn2v({"input_dir": "data"})

    assert (config.stage1.patch_size, config.stage2.patch_size) == (32, 64)
    assert (config.stage1.learning_rate, config.stage2.learning_rate) == (1e-4, 1e-5)
    assert (config.stage1.mask_percentage, config.stage2.mask_percentage) == (15, 10)
    assert config.structure.mask_source == "stage1"
    assert config.budget == Budget("epochs", 100)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"input_dri": "x"}, "'input_dri'"),
        ({"stage1": {"lr": 1}}, "'stage1.lr'"),
        ({"stage1": {"extractor": {}}}, "'stage1.extractor'"),
        ({"stage2": {"extractor": {"adapt_XX": 1}}}, "'structure.ring.adapt_XX'"),
        ({"stage1": {"masking_strategy": 3}}, "masking_strategy"),
        ({"stage2": {"mask_source": "moon"}}, "mask_source"),
        ({"stage1": 3}, "stage1"),
    ],
)
def test_what_the_original_does_not_know_is_named(values, named):
    with pytest.raises(InputError, match=named.replace(".", r"\.")):
        Config.from_autostructn2v(values)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"bugdet": "60s"}, ["unknown key 'bugdet'"]),
        ({"stage1": {"patch": 64}}, ["unknown key 'stage1.patch'"]),
        ({"stage1": {"patch_size": 4}}, ["stage1.patch_size", "greater than or equal to 8", "4"]),
        ({"stage2": {"mask_percentage": 0}}, ["stage2.mask_percentage", "got 0"]),
        ({"seed": -1}, ["seed", "got -1"]),
        ({"device": "gpu"}, ["device", "'gpu'"]),
        ({"dtype": "int3"}, ["dtype", "'int3'"]),
        ({"budget": "soon"}, ["budget 'soon'", "60s"]),
        ({"preset": "slow"}, ["preset 'slow'", "fast"]),
        ({"split_ratio": [0.5, 0.2, 0.2]}, ["split_ratio", "sum to 1"]),
        ({"split_ratio": [0, 0.5, 0.5]}, ["split_ratio", "positive"]),
        ({"run_stage1": False, "run_stage2": False}, ["nothing to train"]),
        ({"structure": {"mask_source": "file"}}, ["mask_file"]),
        ({"structure": {"mask_source": "array"}}, ["mask is not set"]),
        ({"stage1": {"learning_rate": float("nan")}}, ["learning_rate"]),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence(values, named):
    with pytest.raises(InputError) as caught:
        Config.parse(values)

    message = str(caught.value)
    assert "\n" not in message
    for part in named:
        assert part in message


@pytest.mark.parametrize(
    ("text", "named"), [("{", "cannot be read as JSON"), ("[1]", "holds a list")]
)
def test_a_file_that_is_not_a_config_is_told(tmp_path, text, named):
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=named):
        Config.load(path)


def test_a_file_in_the_originals_form_is_recognised(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(ORIGINAL), encoding="utf-8")

    assert Config.load(path) == Config.from_autostructn2v(ORIGINAL)


def test_a_config_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 1


def test_every_field_says_what_it_is():
    def fields(model):
        for name, field in model.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                yield from fields(field.annotation)
            else:
                yield name, field

    assert [name for name, field in fields(Config) if not field.description] == []


@pytest.mark.parametrize(
    "mask", [[], [[]], [[1], [1, 1]], [[1, 0], 3], [3], [["a", "b"]], [[1.5]], [[[1]]], [None]]
)
def test_a_mask_that_is_none_is_told_once(mask):
    with pytest.raises(InputError, match="mask: a mask is rows of 0 and 1 that are all of one"):
        Config.parse({"structure": {"mask_source": "array", "mask": mask}})


@pytest.mark.parametrize("mask", [[[1]] * 2049, [[1] * 2049]])
def test_a_mask_that_is_a_picture_is_refused(mask):
    with pytest.raises(InputError, match="at most 2047 px on each side"):
        Config.parse({"structure": {"mask_source": "array", "mask": mask}})
