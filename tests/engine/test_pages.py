"""The pages with pictures: nothing overlaps or is cut off, and what is drawn is what was found."""

import doctest
import itertools

import numpy as np
import pytest
import tifffile
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from napari_autostructn2v.engine import labels
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data import sampling
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.data.sink import FileSink
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.denoising import Model, apply, consume
from napari_autostructn2v.engine.labels import mask_words, quality_rows
from napari_autostructn2v.engine.mask import analysis
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.noise.periodic import Wave
from napari_autostructn2v.engine.pipeline import run
from napari_autostructn2v.engine.reporting import report_crops
from napari_autostructn2v.engine.reporting.figure import outline, wrap, zoom
from napari_autostructn2v.engine.reporting.noise_page import noise_page
from napari_autostructn2v.engine.reporting.result_page import result_page
from napari_autostructn2v.engine.synthetic import sample

QUALITY = {
    "stages": {
        "stage1": {"gain_db": 2.1, "gain_range_db": [1.8, 2.5], "left_percent": 61.0},
        "stage2": {"gain_db": 17.3, "gain_range_db": [16.8, 17.9], "left_percent": float("nan")},
    },
    "recommended": "stage2",
    "check": {"verdict": "fits", "sentence": "What was taken away is the noise that was measured."},
    "meaning": {
        "gain_db": {"title": "Estimated gain", "meaning": "How much nearer to the truth. " * 6},
        "left_percent": {"title": "Noise left", "meaning": "Of its variance, in flat places."},
        "structure_lost_percent": {"title": "Signal taken", "meaning": "What nobody measured."},
    },
}


def found(image, axes="YX", **structure):
    source = as_source(image, axes, name="cell")
    config = Config.parse({"structure": structure})
    return source, next(iter(analysis.analyse([source], config))), config.structure


def drawn_texts(figure):
    """Every text that is drawn, with its box."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = list(figure.texts)
    for axes in figure.axes:
        if not axes.axison:
            texts += axes.texts
            continue
        texts += [axes.title, axes._left_title, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [axis.label, axis.get_offset_text()]
            texts += [
                label
                for tick, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
                if low <= tick <= high
            ]
    return [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()))
        for text in texts
        if text.get_visible() and text.get_text().strip()
    ]


def assert_readable(figure: Figure):
    texts = drawn_texts(figure)
    assert len(texts) > 10
    for text, box in texts:
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, f"{text!r} is cut off"
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, f"{text!r} is cut off"
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        apart = min(a.x1, b.x1) - max(a.x0, b.x0) < 1 or min(a.y1, b.y1) - max(a.y0, b.y0) < 1
        assert apart, f"{one!r} lies over {other!r}"


def words(figure):
    return "\n".join(text for text, _ in drawn_texts(figure))


@pytest.mark.parametrize(
    ("scene", "noise", "scale"),
    [
        ("nuclei", "horizontal", 1.0),
        ("filaments", "isotropic", 1.0),  # a disk, and a sentence of two lines
        ("nuclei", "row_offsets", 1.0),  # a full line
        ("nuclei", "periodic", 1.0),  # a circled wave
        ("vesicles", "poisson", 1e6),  # large numbers
        ("texture", "white", 1e-6),  # can't tell, small numbers
    ],
)
def test_the_page_of_an_analysis_can_be_read(scene, noise, scale):
    source, finding, how = found(sample(scene, noise, 256, seed=1, psnr=22).noisy * scale)

    figure = noise_page(source, finding, how).figure

    assert_readable(figure)
    text = words(figure).replace("\n", " ")
    assert f"Noise of cell: {finding.verdict.name}" in text
    for sentence in (finding.verdict.sentence, *finding.remarks()):
        assert sentence in text
    assert mask_words(finding.mask) in text
    assert f"{finding.noise.sigma:.4g}" in text


def outlined(axes: Axes):
    """Corners (x0, y0, x1, y1) of what is outlined."""
    (lines,) = (c for c in axes.collections if isinstance(c, LineCollection))
    points = np.concatenate(lines.get_segments())
    return (*points.min(0), *points.max(0))


@pytest.mark.parametrize("offset", [0, 1e10])
def test_the_measured_places_are_outlined(offset):
    image = sample("nuclei", "horizontal", 256, seed=1).noisy + np.float64(offset)
    source, finding, how = found(image)

    figure = noise_page(source, finding, how).figure
    axes = figure.axes[0]

    assert ("grey value less 1" in words(figure)) == bool(offset)
    ys, xs = finding.noise.places[:, 1], finding.noise.places[:, 2]
    expected = (xs.min(), ys.min(), xs.max() + 32, ys.max() + 32)
    np.testing.assert_allclose(outlined(axes), np.array(expected) - 0.5)


def test_a_region_is_outlined_where_it_lies_and_a_block_around_it_is_shown():
    image = np.random.default_rng(0).normal(size=(1100, 1300)).astype(np.float32)
    source, finding, how = found(image, mask_source="region", region=(1000, 1064, 200, 296))

    axes = noise_page(source, finding, how).figure.axes[0]

    assert axes.images[0].get_array().shape == (1024, 1024)
    left, top = 0, 1100 - 1024
    assert outlined(axes) == (
        200 - left - 0.5,
        1000 - top - 0.5,
        296 - left - 0.5,
        1064 - top - 0.5,
    )
    assert "empty region" in axes.get_title(loc="left")


def test_noise_of_a_dark_frame_is_not_outlined_in_the_image(tmp_path):
    dark = np.random.default_rng(0).normal(100, 5, (64, 64)).astype(np.float32)
    tifffile.imwrite(tmp_path / "dark.tif", dark)
    image = sample("nuclei", "white", 128, seed=1).noisy
    source, finding, how = found(image, mask_source="dark", dark_file=str(tmp_path / "dark.tif"))

    figure = noise_page(source, finding, how).figure

    assert_readable(figure)
    assert not figure.axes[0].collections
    assert "dark.tif" in figure.axes[0].get_title(loc="left")


def report(mask=None):
    _, finding, _ = found(sample("nuclei", "horizontal", 128, seed=1).noisy)
    trained = [
        {"name": name, "steps": 1200, "seconds": 44.2, "loss": 0.1} for name in ("stage1", "stage2")
    ]
    return analysis.report([finding]) | {
        "trained_mask": finding.mask.tolist() if mask is None else mask.tolist(),
        "stages": trained,
        "quality": {},
    }


@pytest.mark.parametrize("shape", [(128, 128), (40, 300), (300, 40)])
@pytest.mark.parametrize("stages", [["stage1"], ["stage1", "stage2"]])
def test_the_page_of_a_run_can_be_read(shape, stages):
    noisy = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    results = dict.fromkeys(stages, noisy * 0.5)

    figure = result_page("cell: noise along x", noisy, results, report()).figure

    assert_readable(figure)
    assert ("Stage 2" in words(figure)) == ("stage2" in stages)
    assert "1200 steps, 44 s" in words(figure)


def test_the_page_of_a_run_shows_the_quality_card():
    noisy = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    results = {"stage1": noisy * 0.9, "stage2": noisy * 0.25}
    full = report(np.ones((1, 127), np.uint8))

    check = QUALITY["check"] | {"autocorrelation": np.eye(19).tolist()}
    full["quality"] = QUALITY | {"check": check}

    figure = result_page("cell", noisy, results, full, truth=noisy * 0.2).figure

    assert_readable(figure)
    text = words(figure)
    for expected in (
        "Stage 2 (best)", "+17.3 dB", "16.8 to 17.9", "Noise left", "61 %", "\N{EN DASH}",
        "Removed by Stage 2", QUALITY["check"]["sentence"],
    ):  # fmt: skip
        assert expected in text
    assert "Signal taken" not in text  # there is no value for it
    dashed = [line for axes in figure.axes for line in axes.lines if line.get_linestyle() == "--"]
    assert [list(line.get_ydata()) for line in dashed] == [[1] + [0] * 9] * 2
    removed = next(a for a in figure.axes if a.get_title(loc="left") == "Removed by Stage 2")
    np.testing.assert_allclose(removed.images[0].get_array(), noisy * 0.75, rtol=1e-5)


def test_what_the_recommended_stage_removed_is_shown():
    noisy = np.ones((64, 64), np.float32)
    quality = QUALITY | {"recommended": "stage1"}

    figure = result_page(
        "cell", noisy, {"stage1": noisy * 0.9, "stage2": noisy * 0}, report() | {"quality": quality}
    ).figure

    assert "Removed by Stage 1" in words(figure)


def test_a_report_from_before_the_renaming_still_has_its_figure():
    about = {"title": "Structure lost", "meaning": "", "bias": ""}
    quality = {"stages": {"stage1": {"eaten_percent": 4.7}}, "meaning": {"eaten_percent": about}}
    (row,) = quality_rows(quality)
    assert (row.title, row.values) == ("Structure lost", {"stage1": "4.7 %"})


def test_quality_rows_have_what_is_known():
    rows = quality_rows(QUALITY)

    assert [row.title for row in rows] == ["Estimated gain", "Noise left"]
    assert rows[1].values == {"stage1": "61 %"}
    assert quality_rows({}) == []
    assert doctest.testmod(labels).attempted == 4
    assert doctest.testmod(labels).failed == 0


def test_a_mask_that_goes_on_is_not_closed_at_the_border():
    figure = Figure()
    cells = np.zeros((5, 5), bool)
    cells[2] = True  # a line over all cells: only the outermost ring is beyond the view

    axes = figure.add_subplot()
    outline(axes, cells, (-2, -2), colors="k")
    axes.set_xlim(-1.5, 1.5)

    closing = [
        segment
        for segment in axes.collections[0].get_segments()
        if segment[0][0] == segment[1][0] and abs(segment[0][0]) < 2
    ]
    assert closing == []


def test_outline_of_one_cell_is_a_square():
    axes = Figure().add_subplot()

    outline(axes, np.ones((1, 1)), (3, 7), colors="k")

    edges = {tuple(map(tuple, segment)) for segment in axes.collections[0].get_segments()}
    assert edges == {
        ((6.5, 2.5), (7.5, 2.5)), ((6.5, 3.5), (7.5, 3.5)),
        ((6.5, 2.5), (6.5, 3.5)), ((7.5, 2.5), (7.5, 3.5)),
    }  # fmt: skip


def test_zoom_finds_where_there_is_most_to_see():
    image = np.zeros((400, 400))
    image[310:330, 60:80] = 1
    image[:50] = np.nan

    y, x = zoom(image)

    assert y.start <= 310
    assert y.stop >= 330
    assert x.start <= 60
    assert x.stop >= 80


def test_wrap_keeps_every_word():
    text = "one two three four five six seven " * 9

    lines = wrap(text, 3.0, 12)

    assert " ".join(lines).split() == text.split()
    assert len(lines) > 3


class Counting:
    """Records the largest region that is read of an array."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.largest = 0

    def __getitem__(self, index):
        block = self.array[index]
        self.largest = max(self.largest, block.size)
        return block


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_the_crops_read_the_same_bounded_part_of_everything(tmp_path, monkeypatch, suffix):
    image = np.stack([sample("nuclei", "horizontal", 192, seed=s).noisy for s in range(2)])
    config = Config.parse({"budget": "4steps", "device": "cpu", "result": "stage2"})
    out = tmp_path / f"out{suffix}"
    done = consume(run(as_source(image, "ZYX"), config, sink=FileSink([out])))
    monkeypatch.setattr(report_crops, "_LONGEST", 32)
    for bound in ("_SAMPLE_PIXELS", "_LEAST_PIXELS"):  # of where defects are looked for
        monkeypatch.setattr(sampling, bound, 32**2)
    counted = Counting(image)

    noisy, results = report_crops.middle_crops(as_source(counted, "ZYX"), out, done.model, "stage2")

    part = np.s_[80:112, 80:112]
    np.testing.assert_array_equal(noisy, image[0][part])
    assert list(results) == ["stage1", "stage2"]
    with open_source(out) as written:
        np.testing.assert_array_equal(
            results["stage2"], written.read(0, slice(80, 112), slice(80, 112))
        )
    assert results["stage1"].shape == (32, 32)
    assert np.isfinite(results["stage1"]).all()
    reach = done.model.units[0].network("stage1").footprint.halo
    assert counted.largest <= (32 + 2 * reach + 8) ** 2


ROWS, COLUMNS = np.indices((96, 96))
NUCLEI = sample("nuclei", "white", 96).noisy
AWKWARD = {  # images that networks see otherwise than they are stored
    "wave": NUCLEI + np.ptp(NUCLEI) * np.sin(2 * np.pi * (ROWS + COLUMNS) / 6),
    "border": np.where(COLUMNS < 30, 0, NUCLEI),
    "hot pixels": np.where((ROWS % 31 == 5) & (COLUMNS % 29 == 7), 60000, NUCLEI),
    "offset": 1e9 + NUCLEI.astype(float) / 1000,
    "integers with an offset": 10**12 + np.rint(NUCLEI).astype(np.int64),
    "missing": np.where(ROWS < 20, np.nan, NUCLEI),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_a_stage_that_was_not_written_is_computed_as_it_would_have_been(name, tmp_path):
    wave = Wave(6.0, 6.0) if name == "wave" else None
    image = AWKWARD[name]
    config = Config.parse({"stage1": {"network": {"features": 4, "depth": 1}}})
    networks = {stage: UNet(config.stage1.network).eval() for stage in ("stage1", "stage2")}
    known = Normalisation((float(np.nanmean(image)),), (float(np.nanstd(image)),))
    model = Model(config, known, (ChannelModel(networks),), waves=(wave,))
    out = tmp_path / "out.tif"
    written = {}
    for stage in model.stages:
        consume(apply(model, image, sink=FileSink([out], overwrite=True), stage=stage))
        written[stage] = open_source(out).stored(0, slice(None), slice(None))
    seen, results = report_crops.middle_crops(as_source(image), out, model, "stage2")
    np.testing.assert_array_equal(seen, image)
    near = 0.51 if image.dtype.kind == "i" else 1e-3 * np.nanstd(image)
    for stage in model.stages:
        np.testing.assert_allclose(results[stage], written[stage], rtol=0, atol=near)
