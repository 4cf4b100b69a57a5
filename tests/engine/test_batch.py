import doctest

import numpy as np
import pytest
import tifffile

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.batch import BatchItem, FileDone, denoise_files, plan
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data import naming
from napari_autostructn2v.engine.data.naming import distinct
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.synthetic import sample

NOISY = sample("nuclei", "horizontal", size=64, seed=1).noisy


@pytest.fixture(scope="module")
def model():
    """A network that has learned nothing: it is applied just as well."""
    config = Config.parse({"stage1": {"network": {"features": 4}}})
    network = UNet(config.stage1.network).eval()
    unit = ChannelModel({"stage1": network}, sigma=20.0)
    return Model(config, Normalisation((float(NOISY.mean()),), (float(NOISY.std()),)), (unit,))


@pytest.fixture
def folder(tmp_path):
    """Three images, one of which is damaged."""
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "a1.tif", NOISY)
    tifffile.imwrite(folder / "a10.tif", np.stack([NOISY, NOISY + 1]))
    (folder / "a2.tif").write_text("this is no image")
    return folder


def names(items):
    return [(item.image.name, item.output.name) for item in items]


def outcomes(stream):
    return [(e.image, e.outcome) for e in stream if isinstance(e, FileDone)]


def test_results_are_named_for_their_files_in_natural_order(folder):
    assert names(plan(folder, folder / "out")) == [
        ("a1.tif", "a1.tif"),
        ("a2.tif", "a2.tif"),
        ("a10.tif", "a10.tif"),
    ]
    assert names(plan(f"{folder}/*1*.tif", folder / "out")) == [
        ("a1.tif", "a1.tif"),
        ("a10.tif", "a10.tif"),
    ]


def test_two_files_never_have_one_result(folder):
    (folder / "A1.png").touch()
    (folder / "a1.ome.tif").touch()
    np.save(folder / "a2.npy", NOISY)
    results = [item.output.name for item in plan(folder, folder / "out")]
    assert len({name.casefold() for name in results}) == len(results) == 6
    assert set(results) >= {"a2.tif", "a2-2.tif"}


def test_many_files_of_one_name_are_soon_numbered():
    names = list(distinct(["img.tif"] * 20_000))
    assert (names[0], names[-1]) == ("img.tif", "img-20000.tif")
    assert doctest.testmod(naming).attempted == 2
    assert doctest.testmod(naming).failed == 0


def test_results_of_earlier_runs_are_no_images(folder):
    (folder / "out").mkdir()
    tifffile.imwrite(folder / "out" / "a1.tif", NOISY)
    assert len(plan(f"{folder}/**/*.tif", folder / "out")) == 3
    with pytest.raises(InputError, match="is the folder of the images"):
        plan(folder, folder / "." / "out" / "..")


def test_a_file_that_is_missing_is_named(folder):
    with pytest.raises(InputError, match=r"no file or folder .*a3\.tif"):
        plan([folder / "a1.tif", folder / "a3.tif"], folder / "out")


def test_each_file_has_its_tiles_and_its_outcome_and_a_bad_one_ends_nothing(model, folder):
    items = plan(folder, folder / "out")
    told = list(denoise_files(model, items, device="cpu"))
    assert isinstance(told[0], events.Started)
    assert told[0].images == ("a1.tif", "a2.tif", "a10.tif")
    assert outcomes(told) == [(0, "done"), (1, "failed"), (2, "done")]
    (failed,) = (e for e in told if isinstance(e, FileDone) and e.outcome == "failed")
    assert "a2.tif" in failed.message
    tiles = [(e.image, e.done, e.total) for e in told if isinstance(e, events.TileDone)]
    assert tiles == [(0, 1, 1), (2, 1, 2), (2, 2, 2)]
    assert told[-1] == events.Finished(model, stopped=False)
    np.testing.assert_allclose(
        tifffile.imread(folder / "out" / "a1.tif"), model.denoise(NOISY), rtol=1e-4, atol=1e-2
    )


def test_a_result_that_exists_is_replaced_only_on_request(model, folder):
    items = plan(folder / "a1.tif", folder / "out")
    (folder / "out").mkdir()
    items[0].output.write_text("precious")
    assert outcomes(denoise_files(model, items, device="cpu")) == [(0, "skipped")]
    assert items[0].output.read_text() == "precious"
    assert outcomes(denoise_files(model, items, device="cpu", overwrite=True)) == [(0, "done")]
    assert tifffile.imread(items[0].output).shape == NOISY.shape


class AfterTiles:
    """A stop that is set once some tiles have been written."""

    def __init__(self):
        self.left = 1

    def is_set(self):
        return self.left <= 0


def test_a_stop_ends_within_a_tile_and_begins_no_other_file(model, folder):
    image = folder / "a10.tif"
    items = [BatchItem(image, folder / "out" / f"{i}.tif") for i in range(3)]
    stop, told = AfterTiles(), []
    for event in denoise_files(model, items, device="cpu", tile=32, stop=stop):
        told.append(event)
        if isinstance(event, events.TileDone):
            stop.left -= 1
    assert sum(isinstance(event, events.TileDone) for event in told) == 1
    assert outcomes(told) == [(0, "stopped")]
    assert told[-2].message.endswith("0.partial.tif holds the unfinished result")
    assert told[-1].stopped
    assert [path.name for path in (folder / "out").iterdir()] == ["0.partial.tif"]


def test_no_image_of_a_batch_is_replaced(model, folder):
    before = (folder / "a10.tif").read_bytes()
    items = [
        BatchItem(folder / "a1.tif", folder / "a10.tif"),
        BatchItem(folder / "a10.tif", folder / "b.tif"),
    ]
    (last,) = denoise_files(model, items, device="cpu", overwrite=True)
    assert "would replace the input" in last.message
    assert (folder / "a10.tif").read_bytes() == before


def test_a_stage_that_the_model_lacks_is_told_before_any_file(model, folder):
    (last,) = denoise_files(model, plan(folder, folder / "out"), device="cpu", stage="stage2")
    assert last.message == "the model has no stage2; it has stage1"


def test_the_options_reach_every_file(model, folder):
    items = plan(folder / "a1.tif", folder / "out")
    told = list(denoise_files(model, items, device="cpu", tile=32, dtype="uint16"))
    assert sum(isinstance(event, events.TileDone) for event in told) == 4
    assert tifffile.imread(items[0].output).dtype == np.uint16


def test_without_a_model_nothing_begins(folder, tmp_path):
    (last,) = denoise_files(tmp_path / "none.asn2v", plan(folder, folder / "out"))
    assert isinstance(last, events.Failed)
    assert "none.asn2v" in last.message
    assert not (folder / "out").exists()


def test_a_model_file_will_do(model, folder, tmp_path):
    file = model.save(tmp_path / "m.asn2v")
    told = list(denoise_files(file, plan(folder / "a1.tif", folder / "out"), device="cpu"))
    assert outcomes(told) == [(0, "done")]
    assert isinstance(told[-1].model, Model)


def test_a_bug_on_one_file_ends_nothing(model, folder, monkeypatch, caplog):
    def broken(path, axes=None):
        raise TypeError("bug")

    monkeypatch.setattr("napari_autostructn2v.engine.batch.open_sources", broken)
    told = list(denoise_files(model, plan(folder, folder / "out"), device="cpu"))
    assert outcomes(told) == [(0, "failed"), (1, "failed"), (2, "failed")]
    assert "TypeError: bug" in caplog.text


def test_each_image_of_a_file_has_its_result(model, tmp_path):
    with tifffile.TiffWriter(tmp_path / "two.ome.tif", ome=True) as file:
        for name, image in (("a", NOISY), ("b/c", NOISY[:48])):
            file.write(image, metadata={"Name": name})
    told = list(denoise_files(model, plan(tmp_path / "two.ome.tif", tmp_path / "out")))
    assert outcomes(told) == [(0, "done")]
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["two_a.tif", "two_b_c.tif"]
    assert tifffile.imread(tmp_path / "out" / "two_b_c.tif").shape == NOISY[:48].shape


def test_a_set_in_several_files_is_denoised_once(model, tmp_path):
    images = tmp_path / "in"
    images.mkdir()
    data = "".join(
        f'<TiffData FirstT="{t}" IFD="0" PlaneCount="1"><UUID FileName="t{t}.ome.tif">{t}</UUID>'
        "</TiffData>"
        for t in range(2)
    )
    for t in range(2):
        text = (
            f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{t}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="float" '
            'SizeX="64" SizeY="64" SizeZ="1" SizeC="1" SizeT="2">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
        )
        tifffile.imwrite(
            images / f"t{t}.ome.tif", NOISY.astype("f4"), description=text.encode(), metadata=None
        )
    told = list(denoise_files(model, plan(images, tmp_path / "out")))
    assert outcomes(told) == [(0, "done"), (1, "skipped")]
    assert [event.message for event in told if isinstance(event, FileDone)][1].endswith(
        f"belongs to the set opened with {images / 't0.ome.tif'}"
    )
    (written,) = (tmp_path / "out").iterdir()
    assert tifffile.imread(written).shape == (2, *NOISY.shape)
