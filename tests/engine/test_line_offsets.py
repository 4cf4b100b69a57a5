"""What whole lines have in common is found, however weak, and only where it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from napari_autostructn2v.engine.noise.flat_tiles import Surface
from napari_autostructn2v.engine.noise.line_offsets import LONG, SHORT, offset_variance
from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.synthetic import NoiseKind, plant, sample

LAG = 20
SCENES = ("vesicles", "nuclei", "membranes", "texture")


def clean(scene: str = "nuclei", size: int = 320, seed: int = 4) -> np.ndarray:
    return sample(scene, "white", size=size, seed=seed).clean


def wandering(rng: np.random.Generator, kept: float = 0.98) -> np.ndarray:
    """Offsets of rows of which a pixel keeps a share of its neighbour's, as of an EMCCD."""
    made = signal.lfilter([1], [1, -kept], rng.standard_normal((512, 1024)), axis=1)[:, 512:]
    return made / made.std()


@pytest.mark.parametrize("scene", SCENES[:-1])
@pytest.mark.parametrize("share", [0.05, 0.15, 0.4])
def test_the_share_of_row_offsets(scene: str, share: float) -> None:
    rng = np.random.default_rng(1)
    rows, white = rng.standard_normal((320, 1)), rng.standard_normal((320, 320))
    rows /= np.sqrt(np.mean(np.diff(rows, axis=0) ** 2) / 2)
    noise = measure([clean(scene) + 150 * ((1 - share) ** 0.5 * white + share**0.5 * rows)], LAG)
    assert noise.column_offset == 0
    found = noise.row_offset * noise.sigma**2 / 150**2
    assert found == pytest.approx(share, rel=0.15, abs=0.01)


def test_columns_are_rows_turned() -> None:
    image = plant(clean(), "row_offsets", 18.0, np.random.default_rng(2))
    upright, turned = measure([image], LAG), measure([image.T], LAG)
    assert turned.column_offset == pytest.approx(upright.row_offset, rel=0.05)
    assert (upright.column_offset, turned.row_offset) == (0, 0)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kind", ["white", "horizontal", "isotropic", "poisson"])
def test_other_noise_has_none(scene: str, kind: NoiseKind) -> None:
    noise = measure([plant(clean(scene), kind, 18.0, np.random.default_rng(3))], LAG)
    assert (noise.row_offset, noise.column_offset) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("share", "kept"), [(0.02, 0.98), (0.06, 0.9)])
def test_weak_offsets_that_wander_along_the_row(share: float, kept: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    wander = wandering(rng, kept)
    made = (1 - share) ** 0.5 * rng.standard_normal((512, 512)) + share**0.5 * wander
    noise = measure([clean(size=512) + 100 * made], LAG)
    assert 0.01 < noise.row_offset < 0.025
    assert noise.column_offset == 0


def test_short_runs_see_more_of_what_wanders() -> None:
    rng = np.random.default_rng(0)
    wander = wandering(rng)
    surfaces = [Surface.of(rng.standard_normal((512, 512)) + wander)]
    (long, _), (short, error) = (offset_variance(surfaces, 1, runs) for runs in (LONG, SHORT))
    assert long < short - 4 * error < short < 1
    assert offset_variance(surfaces, 0, LONG)[0] < 0.02


def test_where_too_little_is_flat_nothing_is_claimed() -> None:
    surfaces = [Surface.of(np.random.default_rng(0).standard_normal((8, 20)))]
    assert offset_variance(surfaces, 1, LONG) == (0.0, np.inf)
