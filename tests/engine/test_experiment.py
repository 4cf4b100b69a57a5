"""A run that is kept can be read, and taken from by the next run."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import tifffile
import torch

from napari_autostructn2v.engine import pipeline
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.experiment import Experiment
from napari_autostructn2v.engine.model import Model
from napari_autostructn2v.engine.sink import FileSink, output_paths
from napari_autostructn2v.engine.source import as_source
from napari_autostructn2v.engine.synthetic import sample

SMALL = {
    "budget": "4steps",
    "device": "cpu",
    "stage1": {"patch_size": 16, "batch_size": 2, "network": {"features": 4}},
    "stage2": {"patch_size": 16, "batch_size": 2, "network": {"features": 4}},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Use one thread: on a busy machine the spinning threads of torch starve each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def keep(folder, sources, config):
    outputs = output_paths(folder.parent / "out", sources)
    kept = Experiment(folder, outputs, sources, config)
    sink = FileSink(outputs, every_stage=kept.stage_results)
    last = None
    for last in pipeline.run(sources, kept.config, sink=sink):
        kept.observe(last)
    return kept, last


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Run once with seven images, as many as the split by image takes."""
    folder = tmp_path_factory.mktemp("runs") / "baseline"
    images = [sample("nuclei", "horizontal", size=64, seed=seed).noisy for seed in range(7)]
    sources = [as_source(image, name=f"cell{i}") for i, image in enumerate(images)]
    kept, last = keep(folder, sources, Config.parse(SMALL))
    kept.finish(last.model, last.report)
    return folder, last


def test_the_layout_is_the_originals(experiment):
    folder, _ = experiment
    names = {f"cell{i}.tif" for i in range(7)}

    for stage in ("stage1", "stage2"):
        assert {path.name for path in (folder / stage / "results").iterdir()} == names
        assert (folder / stage / "model" / "model.asn2v").exists()
        assert [path.name[:6] for path in (folder / stage / "logs").iterdir()] == ["events"]
    assert {path.name for path in (folder / "final_results").iterdir()} == names
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "split.json", "mask.tif", "autocorrelation.tif", "stage1", "stage2",
        "final_results", "report.json",
    }  # fmt: skip


def test_what_is_kept_is_what_the_run_found(experiment):
    folder, last = experiment
    mask = tifffile.imread(folder / "mask.tif")
    split = json.loads((folder / "split.json").read_text())
    results = [tifffile.imread(folder / part / "cell0.tif") for part in
               ("stage1/results", "stage2/results", "final_results")]  # fmt: skip

    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, last.report["trained_mask"])
    assert tifffile.imread(folder / "autocorrelation.tif").max() == 1
    assert json.loads((folder / "report.json").read_text())["stages"] == last.report["stages"]
    assert {key: len(names) for key, names in split.items()} == {"train": 5, "val": 1, "test": 1}
    assert sorted(itertools.chain(*split.values())) == [f"cell{i}" for i in range(7)]
    np.testing.assert_array_equal(results[1], results[2])
    assert not np.array_equal(results[0], results[1])


def test_each_stage_keeps_the_model_as_it_was_after_it(experiment):
    folder, _ = experiment

    models = [Model.load(folder / stage / "model" / "model.asn2v") for stage in
              ("stage1", "stage2")]  # fmt: skip

    assert [model.stages for model in models] == [("stage1",), ("stage1", "stage2")]


def test_the_next_run_takes_mask_and_stage_1(experiment, tmp_path):
    folder, last = experiment
    config = Config.load(folder / "config.json").model_copy(update={"tensorboard": None})
    values = config.model_dump(mode="json") | {
        "stage1_model": str(folder / "stage1" / "model" / "model.asn2v")
    }
    values["structure"] |= {"mask_source": "file", "mask_file": str(folder / "mask.tif")}
    other = as_source(sample("membranes", "horizontal", size=64, seed=9).noisy)

    _, after = keep(tmp_path / "next", [other], Config.parse(values))

    assert [stage["name"] for stage in after.report["stages"]] == ["stage2"]
    assert after.report["trained_mask"] == last.report["trained_mask"]


def test_a_run_that_fails_before_training_leaves_no_folder(tmp_path):
    _, last = keep(tmp_path / "e", [as_source(np.zeros((32, 32)))], Config.parse(SMALL))

    assert isinstance(last.error, InputError)
    assert not (tmp_path / "e").exists()


def test_an_experiment_is_never_overwritten(experiment, tmp_path):
    folder, _ = experiment
    (tmp_path / "file").write_text("")

    for taken in (folder, tmp_path / "file"):
        with pytest.raises(InputError, match="no empty folder"):
            Experiment(taken, [], [], Config())
