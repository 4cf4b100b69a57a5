"""Every image and channel is measured on what the config says, and a bounded part of it is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.piece import Piece
from napari_autostructn2v.engine.data.sampling import sample_blocks, sample_pieces
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import NoiseMeasured
from napari_autostructn2v.engine.mask.analysis import (
    NoiseAnalysis,
    analyse,
    combine,
    find_in,
    neighbours,
    report,
)
from napari_autostructn2v.engine.synthetic import NoiseKind, plant, sample

LAG = 20


def found(image: Any, axes: str | None = None, **structure: Any) -> NoiseAnalysis:
    """The finding for an image of one channel."""
    (finding,) = analyse([as_source(image, axes)], Config.parse({"structure": structure}))
    return finding


def noisy(kind: NoiseKind = "horizontal", seed: int = 5, size: int = 256) -> np.ndarray:
    return sample("vesicles", kind, size=size, seed=seed, psnr=18.0).noisy


def stack(kind: NoiseKind, count: int = 4, scene: str = "nuclei", psnr: float = 18.0) -> np.ndarray:
    """Frames of one scene."""
    clean = sample(scene, "white", size=256, seed=5).clean
    rngs = np.random.default_rng(5).spawn(count)
    return np.stack([plant(clean, kind, psnr, rng) for rng in rngs]).astype(np.float32)


def fixed_pattern(strength: float) -> np.ndarray:
    return strength * np.random.default_rng(9).standard_normal((256, 256)).astype(np.float32)


class Huge:
    """100 GB of noise that is drawn as it is read, and counted."""

    dtype = np.dtype(np.float32)

    def __init__(self, *shape: int) -> None:
        self.shape, self.ndim, self.read = shape, len(shape), 0

    def __getitem__(self, index: tuple[int | slice, ...]) -> np.ndarray:
        assert len(index) == self.ndim
        size = [
            len(range(*part.indices(length)))
            for part, length in zip(index, self.shape, strict=True)
            if isinstance(part, slice)
        ]
        self.read += int(np.prod(size))
        return np.random.default_rng(0).standard_normal(size, np.float32)


# What is read


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((25, 2, 22_000, 22_000), "TCYX"),
        ((160_000, 160_000), "YX"),
        ((1_000_000, 160, 160), "TYX"),
        ((12_500_000_000, 2), "YX"),
    ],
)
def test_samples_of_a_huge_image_are_bounded(shape: tuple[int, ...], axes: str) -> None:
    data = Huge(*shape)
    blocks = sample_blocks(as_source(data, axes), 0, np.random.default_rng(0))
    assert data.read == sum(block.size for block in blocks) <= 2**21
    assert all(min(block.shape) == min(1024, *shape[-2:]) for block in blocks)


def test_analysing_a_huge_movie_reads_little_of_it() -> None:
    data = Huge(25, 32_000, 32_000)
    finding = found(data, "TYX")
    assert finding.verdict.name == "unstructured"
    assert data.read <= 4 * 2**21  # neighbouring frames are looked at too
    assert set(finding.noise.places[:, 0]) <= set(range(len(finding.blocks)))


def test_many_images_share_the_bound() -> None:
    data = Huge(40, 20_000, 20_000)
    sample_blocks(as_source(data, "TYX"), 0, np.random.default_rng(0), images=16)
    assert 2**16 <= data.read <= 2**17


def test_blocks_are_of_the_channel_and_keep_the_phases_of_a_colour_camera() -> None:
    source = as_source(Huge(10, 3, 5_001, 7_003), "TCYX")
    chosen = sample_pieces(source, 1, np.random.default_rng(0), images=5)
    assert {piece.channel for piece in chosen} == {1}
    assert all(start % 2 == 0 for piece in chosen for start, _ in piece.region)
    whole = sample_pieces(as_source(np.zeros((3, 64, 80))), 0, np.random.default_rng(0))
    assert [piece.region for piece in whole] == [((0, 64), (0, 80))] * 3


def test_few_blocks_come_from_anywhere() -> None:
    source = as_source(Huge(40, 20_000, 20_000), "TYX")
    chosen = [
        piece
        for seed in range(20)
        for piece in sample_pieces(source, 0, np.random.default_rng(seed))
    ]
    assert len(chosen) == 40
    for places in zip(*((p.plane, p.region[0][0], p.region[1][0]) for p in chosen), strict=True):
        assert len(set(places)) > 8


def test_planes_are_spread_over_time() -> None:
    chosen = sample_pieces(as_source(np.zeros((200, 256, 256))), 0, np.random.default_rng(0))
    planes = [piece.plane for piece in chosen]
    assert len(planes) == 32
    assert np.ptp(np.diff(planes)) <= 1
    assert (planes[0], planes[-1]) == (0, 199)


def test_the_seed_decides_what_is_read_and_found() -> None:
    image = as_source(Huge(50, 4_000, 4_000), "TYX")
    one, same, other = (sample_pieces(image, 0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same != other
    first, second = found(noisy()), found(noisy())
    np.testing.assert_array_equal(first.noise.rho, second.noise.rho)
    assert first.report() == second.report()


# What it is measured on


def test_a_region_is_measured_alone() -> None:
    image = np.concatenate([noisy("white"), noisy("vertical")], axis=1)
    white = 50 * np.random.default_rng(0).standard_normal((64, 65))
    image[:64, :64] = white[:, 1:] + white[:, :-1]
    image[:64, 256:320] = white[:, 1:]
    left = found(image, mask_source="region", region=(0, 64, 0, 64))
    right = found(image, mask_source="region", region=(0, 64, 256, 320))
    assert (left.verdict.name, right.verdict.name) == ("along x", "unstructured")
    assert right.mask.tolist() == [[1]]
    assert right.noise.sigma == pytest.approx(50, rel=0.05)


def test_a_region_outside_is_refused() -> None:
    with pytest.raises(InputError, match=r"region \(0, 64, 200, 300\) is not inside .* 256 x 256"):
        found(noisy(), mask_source="region", region=(0, 64, 200, 300))


@pytest.mark.parametrize("region", [(0, 8, 0, 64), (-1, 64, 0, 64), (64, 0, 0, 64)])
def test_a_region_that_is_none_is_refused(region: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="at least 16 px each way"):
        found(noisy(), mask_source="region", region=region)


@pytest.mark.parametrize("source", ["region", "dark", "file", "array"])
def test_a_source_without_what_it_needs_is_refused(source: str) -> None:
    with pytest.raises(InputError, match=f"mask_source is '{source}' but .* is not set"):
        found(noisy(), mask_source=source)


def test_a_constant_region_is_refused() -> None:
    image = noisy().copy()
    image[:32, :32] = 7
    with pytest.raises(InputError, match=r"constant \(every pixel is 7\)"):
        found(image, mask_source="region", region=(0, 32, 0, 32))


def test_frames_are_measured_by_their_differences() -> None:
    frames = stack("white", scene="texture", psnr=24.0)
    assert found(frames, "TYX").verdict.name == "can't tell"
    finding = found(frames, "TYX", mask_source="frames")
    assert finding.verdict.name == "unstructured"
    assert finding.mask.tolist() == [[1]]


@pytest.mark.parametrize("axes", ["TYX", "TZYX", "TCYX"])
def test_frames_are_paired_along_t_whatever_else_there_is(axes: str) -> None:
    frames = stack("horizontal")
    if axes != "TYX":  # another scene in every second plane
        frames = np.stack([frames, 500 + frames[:, ::-1]], axis=1)
    structure = {"structure": {"mask_source": "frames"}}
    for finding in analyse([as_source(frames, axes)], Config.parse(structure)):
        assert finding.verdict.name == "along x"
        assert finding.noise.rho[LAG, LAG + 1] == pytest.approx(225 / 289 * 16 / 19, abs=0.02)


def test_no_frame_is_in_two_pairs() -> None:
    source = as_source(np.zeros((7, 2, 8, 8)), "TZYX")
    every = [Piece(source, plane, ((0, 8), (0, 8))) for plane in range(source.planes)]
    along_t = [(one.plane, other.plane) for one, other in neighbours(every, "T")]
    along_z = [(one.plane, other.plane) for one, other in neighbours(every, "Z")]
    assert along_t == [(0, 2), (1, 3), (4, 6), (5, 7)]
    assert along_z == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert neighbours(every[12:], "T") == []
    assert neighbours(every, "C") == []


@pytest.mark.parametrize(("shape", "axes"), [((256, 256), "YX"), ((4, 256, 256), "ZYX")])
def test_frames_without_time_are_refused(shape: tuple[int, ...], axes: str) -> None:
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with pytest.raises(InputError, match=f"with axes {axes} has no two frames along T"):
        found(image, axes, mask_source="frames")


def test_a_single_frame_is_refused() -> None:
    with pytest.raises(InputError, match="no two frames along T"):
        found(noisy()[None], "TYX", mask_source="frames")


def test_frames_that_move_are_refused() -> None:
    clean = sample("nuclei", "white", size=256, seed=5).clean
    rngs = np.random.default_rng(5).spawn(4)
    moving = [plant(np.roll(clean, 2 * i, 1), "white", 18.0, rng) for i, rng in enumerate(rngs)]
    with pytest.raises(InputError, match="do not repeat one scene"):
        found(np.stack(moving), "TYX", mask_source="frames")


def test_a_dark_frame(tmp_path: Path) -> None:
    rows = 20 * np.random.default_rng(1).standard_normal((256, 1))
    dark = 100 + rows + 20 * np.random.default_rng(2).standard_normal((256, 256))
    tifffile.imwrite(tmp_path / "dark.tif", dark.astype(np.float32))
    finding = found(noisy("white"), mask_source="dark", dark_file=tmp_path / "dark.tif")
    assert finding.verdict.name == "row offsets"
    assert finding.noise.sigma == pytest.approx(28, rel=0.1)


def test_a_dark_frame_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.tif"):
        found(noisy(), mask_source="dark", dark_file=tmp_path / "missing.tif")
    tifffile.imwrite(tmp_path / "flat.tif", np.full((64, 64), 100, np.uint16))
    with pytest.raises(InputError, match=r"constant \(every pixel is 100\)"):
        found(noisy(), mask_source="dark", dark_file=tmp_path / "flat.tif")


def test_a_given_mask_does_not_change_what_is_measured() -> None:
    given = found(noisy(), mask_source="array", mask=[[1, 1, 1]])
    np.testing.assert_array_equal(given.noise.rho, found(noisy()).noise.rho)


def test_the_ring_rule_has_its_own_mask() -> None:
    ring, leak = found(noisy(), extractor="ring"), found(noisy())
    assert ring.verdict == leak.verdict
    assert ring.mask.shape == (11, 11)
    assert leak.mask.shape[0] == 1


# What repeats from plane to plane


def test_a_fixed_pattern_is_seen_from_frame_to_frame_alone() -> None:
    frames = stack("white")
    strength = float((frames[0] - frames[1]).std() / np.sqrt(2))
    finding = found(frames + fixed_pattern(strength), "TYX", mask_source="frames")
    assert finding.noise.sigma == pytest.approx(strength, rel=0.05)
    assert finding.verdict.name == "unstructured"
    assert finding.between["T"] == pytest.approx(0.5, abs=0.06)
    assert any("same in the next frame: a fixed pattern" in said for said in finding.remarks())


def test_independent_frames_share_nothing() -> None:
    finding = found(stack("horizontal"), "TYX")
    assert finding.between["T"] == pytest.approx(0, abs=0.05)
    assert finding.remarks() == []


def test_slices_of_a_resampled_volume_share_their_noise() -> None:
    slices = stack("white", count=5)
    blended = (slices[1:] + slices[:-1]) / 2
    finding = found(blended, "ZYX")
    assert finding.between["Z"] == pytest.approx(0.5, abs=0.06)
    assert "T" not in finding.between
    assert any("in the next slice of the volume" in said for said in finding.remarks())


def test_one_plane_has_no_neighbour() -> None:
    assert found(noisy()).between == {}


# What is said


def test_remarks_name_photons_and_colour_cameras() -> None:
    light = np.linspace(20, 400, 256) * np.ones((256, 1))
    counts = np.random.default_rng(0).poisson(light).astype(np.float32)
    (photons,) = found(counts).remarks()
    assert re.match(r"It grows with the signal, by (0\.9\d+|1\.\d*) grey values", photons)
    pattern = np.tile([[0.8, 1.0], [1.0, 1.2]], (128, 128))
    (colour,) = found(pattern * np.random.default_rng(0).standard_normal((256, 256))).remarks()
    assert "of each 2 x 2 square, as in a colour camera" in colour


def test_channels_and_images_are_reported_apart() -> None:
    two = np.stack([noisy("horizontal"), noisy("vertical")])
    sources = [as_source(two, "CYX", name="two"), as_source(noisy("white"), "YX", name="one")]
    findings = list(analyse(sources, Config()))
    where = [(f.image, f.channel, f.name, f.verdict.name) for f in findings]
    assert where == [
        (0, 0, "two", "along x"),
        (0, 1, "two", "along y"),
        (1, 0, "one", "unstructured"),
    ]
    told = report(findings)
    assert [len(image["channels"]) for image in told["images"]] == [2, 1]
    assert told["verdict"] == told["images"][0]["channels"][0]["verdict"] == "along x"
    detail = told["images"][0]["channels"][1]["noise"]
    assert detail["sentence"].startswith("Neighbours along y share noise")
    assert len(detail["autocorrelation_error"]) == 2 * LAG + 1


def test_the_largest_sample_weighs_most() -> None:
    config = Config()
    many, few = find_in([noisy("horizontal", size=512)], config), find_in([noisy("white")], config)
    both = combine([many, few], config)
    assert both.noise.tiles == many.noise.tiles + few.noise.tiles
    assert both.verdict.name == "along x"
    rhos = [finding.noise.rho[LAG, LAG + 1] for finding in (few, both, many)]
    assert rhos == sorted(rhos)
    assert combine([few], config) is few


def test_the_event_carries_what_is_shown() -> None:
    event = NoiseMeasured.of(found(noisy()))
    assert (event.verdict, event.image, event.channel) == ("along x", 0, 0)
    assert event.sentence.startswith("Neighbours along x share noise")
    assert not event.rho.flags.writeable


@pytest.mark.parametrize("value", [1e20, -1e30, 1e300, float(np.finfo(np.float32).max)])
@pytest.mark.parametrize("share", [0.001, 0.5, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_too_large_to_measure_are_refused(value: float, share: float, dtype: str) -> None:
    image = noisy().astype(dtype)
    value = min(value, float(np.finfo(dtype).max))
    image[np.random.default_rng(0).random(image.shape) < share] = value
    with pytest.raises(InputError, match=r"grey values reach [\de.+]+, too large or too small"):
        found(image)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["rows", "columns", "half", "scattered"])
def test_what_is_not_finite_is_not_measured(value: float, where: str) -> None:
    image = noisy()
    y, x = np.indices(image.shape)
    random = np.random.default_rng(0).random(image.shape)
    gone = {"rows": y % 2, "columns": x % 2, "half": x > 128, "scattered": random < 0.2}[where]
    finding = found(np.where(gone, value, image).astype(np.float32))
    assert np.isfinite(finding.noise.phases).all()
    assert finding.noise.phases.min() > 0
    assert finding.noise.sigma == pytest.approx(found(image).noise.sigma, rel=0.2)


def test_why_none_of_several_images_can_be_measured_is_said_of_each() -> None:
    images = {"a": np.zeros((32, 32)), "b": np.full((32, 32), np.nan), "c": np.zeros((32, 32))}
    sources = [as_source(image, name=name) for name, image in images.items()]
    with pytest.raises(InputError, match=r"^a, c: the image is constant .*; b: .* no finite"):
        list(analyse(sources, Config()))
    many = [as_source(np.full((8, 8), value), name=str(value)) for value in range(1, 8)]
    with pytest.raises(InputError, match=r"^1: .*; 2: .*; 3: .*; and others of 7$"):
        list(analyse(many, Config()))


@pytest.mark.parametrize("value", [np.nan, 3.0])
def test_images_without_noise_are_refused(value: float) -> None:
    with pytest.raises(InputError, match="the image"):
        found(np.full((64, 64), value, np.float32))
