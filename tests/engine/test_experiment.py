"""A run that is kept can be read, and taken from by the next run."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import tifffile

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.reporting.experiment import Experiment
from napari_autostructn2v.engine.synthetic import sample

SMALL = {
    "budget": "4steps",
    "device": "cpu",
    "stage1": {"patch_size": 16, "batch_size": 2, "network": {"features": 4}},
    "stage2": {"patch_size": 16, "batch_size": 2, "network": {"features": 4}},
}
NAMES = [f"cell{i}" for i in range(7)]  # as many as the split by image takes


@pytest.fixture(scope="module")
def folder(tmp_path_factory, cli):
    """Keep one run, as `baseline`, and take mask and Stage 1 from it for another, as `next`."""
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(NAMES):
        tifffile.imwrite(folder / f"{name}.tif", sample("nuclei", size=64, seed=seed).noisy)
    (folder / "small.json").write_text(json.dumps(SMALL))
    reuse = {**SMALL, "stage1_model": "baseline/stage1/model/model.asn2v"}
    (folder / "reuse.json").write_text(json.dumps(reuse))
    for line in (
        "run cell*.tif -o out --config small.json --experiment baseline",
        "run cell0.tif -o again.tif --config reuse.json --mask baseline/mask.tif --experiment next",
    ):
        done = cli(folder, line)
        assert done.code == 0, done.err
    return folder


def test_the_layout_is_the_originals(folder):
    kept = folder / "baseline"
    names = {f"{name}.tif" for name in NAMES}

    for stage in ("stage1", "stage2"):
        assert {path.name for path in (kept / stage / "results").iterdir()} == names
        assert (kept / stage / "model" / "model.asn2v").exists()
        assert [path.name[:6] for path in (kept / stage / "logs").iterdir()] == ["events"]
    assert {path.name for path in (kept / "final_results").iterdir()} == names
    assert {path.name for path in kept.iterdir()} == {
        "config.json", "split.json", "mask.tif", "autocorrelation.tif", "stage1", "stage2",
        "final_results", "report.json",
    }  # fmt: skip


def test_what_is_kept_is_what_the_run_found(folder):
    kept = folder / "baseline"
    report = json.loads((kept / "report.json").read_text())
    split = json.loads((kept / "split.json").read_text())
    mask = tifffile.imread(kept / "mask.tif")
    first, second, result, final = (
        tifffile.imread(kept / part / "cell0.tif")
        for part in (
            "stage1/results", "stage2/results", f"{report['result']}/results", "final_results"
        )
    )  # fmt: skip

    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, report["trained_mask"])
    assert tifffile.imread(kept / "autocorrelation.tif").max() == 1
    assert Config.load(kept / "config.json").stage1.patch_size == 16
    assert {key: len(names) for key, names in split.items()} == {"train": 5, "val": 1, "test": 1}
    assert sorted(itertools.chain(*split.values())) == NAMES
    np.testing.assert_array_equal(final, tifffile.imread(folder / "out" / "cell0.tif"))
    np.testing.assert_array_equal(final, result)
    assert not np.array_equal(first, second)


def test_each_stage_keeps_the_model_as_it_was_after_it(folder):
    one, two = (
        Model.load(folder / "baseline" / stage / "model" / "model.asn2v")
        for stage in ("stage1", "stage2")
    )

    assert one.stages == ("stage1",)
    assert two.stages == ("stage1", "stage2")


def test_the_next_run_takes_mask_and_stage_1(folder):
    before, after = (
        json.loads((folder / name / "report.json").read_text()) for name in ("baseline", "next")
    )

    assert [stage["name"] for stage in after["stages"]] == ["stage2"]
    assert after["trained_mask"] == before["trained_mask"]


def test_a_run_that_fails_before_training_leaves_no_folder(tmp_path, cli):
    tifffile.imwrite(tmp_path / "flat.tif", np.zeros((32, 32), np.uint8))

    done = cli(tmp_path, "run flat.tif -o out.tif --experiment e")

    assert done.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["flat.tif"]


def test_an_experiment_is_never_overwritten(folder):
    for taken in (folder / "baseline", folder / "small.json"):
        with pytest.raises(InputError, match="not an empty folder"):
            Experiment(taken, [], [], Config())
