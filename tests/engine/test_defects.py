"""What is no data does not change what is measured of the rest."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.defects import Defects, constant, measurable
from napari_autostructn2v.engine.data.source import as_source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis, analyse
from napari_autostructn2v.engine.mask.verdict import judge
from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.synthetic import NoiseKind, Scene, sample

SIZE = 192
Y, X = np.indices((SIZE, SIZE))
RANDOM = np.random.default_rng(7).random((SIZE, SIZE))

WHERE = {
    "border": X < 50,
    "corner": X + Y < 90,
    "frame": np.maximum(np.abs(X - 95.5), np.abs(Y - 95.5)) > 82,
    "round field": np.hypot(X - 95.5, Y - 95.5) > 85,
    "block": (np.abs(Y - 100) < 20) & (np.abs(X - 60) < 25),
    "dead columns": X % 31 == 11,
    "dead rows": Y % 31 == 11,
    "scale bar": (Y > 170) & (Y < 180) & (X > 80) & (X < 170),
    "lettering": (Y > 170) & (Y < 182) & (X % 6 < 2) & (X > 40),
}


def find(image: np.ndarray) -> NoiseAnalysis:
    (finding,) = analyse([as_source(image)], Config())
    return finding


def noisy(kind: NoiseKind, dtype: str) -> np.ndarray:
    image = sample("nuclei", kind, SIZE, seed=31).noisy
    return np.rint(image).astype(dtype) if np.dtype(dtype).kind == "u" else image.astype(dtype)


def measured(image: np.ndarray) -> tuple[str, float]:
    """Give the verdict and the strength, without a mask."""
    noise = measure(measurable([image.astype(np.float32)])[0], 20)
    return judge(noise, 0.02, 64).name, noise.sigma


def agree(image: np.ndarray, plain: np.ndarray, tolerance: float = 0.1) -> bool:
    (name, sigma), (wanted, strength) = measured(image), measured(plain)
    return name == wanted and abs(sigma / strength - 1) < tolerance


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("white", "uint16"), ("horizontal", "float32"), ("isotropic", "uint16"),
     ("poisson", "float32")],
)  # fmt: skip
def test_areas_of_one_value_change_neither_verdict_nor_strength(
    kind: NoiseKind, dtype: str
) -> None:
    image = noisy(kind, dtype)
    verdict, strength = measured(image)
    for name, where in WHERE.items():
        # Lettering in a grey value that occurs is a structure as any other.
        for value in (0, 65535) if name == "lettering" else (65535, int(image.mean())):
            found, sigma = measured(np.where(where, image.dtype.type(value), image))
            assert found == verdict, (name, value)
            assert sigma == pytest.approx(strength, rel=0.1), (name, value)


@pytest.mark.parametrize("kind", ["white", "horizontal", "row_offsets"])
@pytest.mark.parametrize("share", [0.001, 0.003, 0.01])
@pytest.mark.parametrize("value", [0, 65535])
def test_hot_and_dead_pixels_are_told_and_not_measured(
    kind: NoiseKind, share: float, value: int
) -> None:
    image = noisy(kind, "uint16")
    outlying = np.where(share > RANDOM, value, image).astype(np.uint16)
    assert agree(outlying, image, 0.15)
    if value == 0:  # so near to the noise that not all of them are told from it
        return
    found = find(outlying)
    assert found.outliers == pytest.approx(np.mean(share > RANDOM), rel=0.5)
    assert any("hot or dead" in remark for remark in found.remarks())


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_values_missing_here_and_there_are_not_measured(share: float) -> None:
    image = noisy("horizontal", "float32")
    assert agree(np.where(share > RANDOM, np.nan, image), image)


@pytest.mark.parametrize("background", [np.nan, 0.0])
@pytest.mark.parametrize("radius", [4, 8, 12, 20])
@pytest.mark.parametrize(
    ("kind", "verdict"), [("white", "unstructured"), ("horizontal", "along x")]
)
def test_little_data_gives_a_small_mask(
    background: float, radius: int, kind: NoiseKind, verdict: str
) -> None:
    made = sample("nuclei", kind, SIZE, seed=3)
    step = 3 * radius
    inside = np.hypot(Y % step - step / 2, X % step - step / 2) < radius
    found = find(np.where(inside, 1500 + made.noisy - made.clean, background).astype(np.float32))
    assert found.verdict.name in (verdict, "can't tell")
    assert found.mask.sum() <= 11
    assert found.noise.scarce == (radius == 4)


@pytest.mark.parametrize("scene", get_args(Scene))
@pytest.mark.parametrize("dtype", ["float32", "uint16", "uint8"])
def test_ordinary_images_are_all_data(scene: Scene, dtype: str) -> None:
    for kind in get_args(NoiseKind):
        image = sample(scene, kind, SIZE, seed=41).noisy
        if dtype == "uint8":
            image = image / 20
        if dtype != "float32":
            image = np.rint(image).clip(0, np.iinfo(dtype).max)
        blocks, outliers = measurable([image.astype(np.float32)])
        assert np.isfinite(blocks[0]).all(), kind
        assert outliers < 5e-4, kind
        assert not Defects.of([image]).blank, kind


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2, 0.5, 1.0, 3.0])
def test_rare_photons_are_data(rate: float) -> None:
    counts = np.random.default_rng(0).poisson(rate, (SIZE, SIZE)).astype(np.float32)
    blocks, outliers = measurable([counts])
    assert not constant(counts)[0].any()
    assert np.isfinite(blocks[0]).all()
    assert outliers == 0


@pytest.mark.parametrize("background", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("grey", [1, 40])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_the_dark_between_photons_of_bright_objects_is_data(
    background: float, grey: int, dtype: str
) -> None:
    spots = np.exp(-((Y % 48 - 24) ** 2 + (X % 48 - 24) ** 2) / 18)
    counts = np.random.default_rng(3).poisson(5 * spots + background)
    image = (grey * counts).astype(dtype).astype(np.float32)
    assert np.isfinite(measurable([image])[0][0]).all()
    assert not Defects.of([image]).any


@pytest.mark.parametrize("sigma", [0.8, 1.0, 2.0])
def test_small_bright_objects_are_no_outliers(sigma: float) -> None:
    image = 100 + 5 * np.random.default_rng(0).standard_normal((SIZE, SIZE))
    for y, x in np.random.default_rng(1).uniform(5, SIZE - 5, (20, 2)):
        image += 5000 * np.exp(-((Y - y) ** 2 + (X - x) ** 2) / (2 * sigma**2))
    assert not Defects.of([image.astype(np.float32)]).any


@pytest.mark.parametrize("value", [0.1, np.nan])
def test_nothing_but_areas_of_one_value_is_refused(value: float) -> None:
    image = np.full((64, 64), value, np.float32)
    image[:32] = 0.3
    with pytest.raises(InputError, match=r"one value|constant"):
        find(image)
