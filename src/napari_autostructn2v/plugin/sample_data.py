"""Synthetic noisy images for napari's File > Open Sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.synthetic import NoiseKind, Scene, plant, sample

LayerData = tuple[npt.NDArray[Any], dict[str, Any], str]

_FRAMES, _FRAME = 8, 256  # px
_PSNR = 18.0  # dB, of each frame


def horizontal() -> list[LayerData]:
    return _layers("filaments", "horizontal", "filaments")


def isotropic() -> list[LayerData]:
    return _layers("nuclei", "isotropic", "nuclei")


def rows() -> list[LayerData]:
    return _layers("vesicles", "row_offsets", "vesicles")


def white() -> list[LayerData]:
    return _layers("membranes", "white", "membranes")


def frames() -> list[LayerData]:
    """Return repeated frames of one scene."""
    made = sample("nuclei", "horizontal", _FRAME, dtype=np.uint16)
    clean = made.clean.astype(np.float32)
    noisy = [plant(clean, made.noise, _PSNR, np.random.default_rng(i)) for i in range(_FRAMES)]
    movie = np.stack(noisy).round().clip(0).astype(np.uint16)
    return _shown(made.clean, movie, "nuclei", axis_labels=("t", "y", "x"))


def _layers(scene: Scene, noise: NoiseKind, name: str) -> list[LayerData]:
    made = sample(scene, noise, 512)
    return _shown(made.clean, made.noisy, name)


def _shown(
    clean: npt.NDArray[Any], noisy: npt.NDArray[Any], name: str, **look: Any
) -> list[LayerData]:
    """Return the noisy image above the hidden truth, with the same contrast limits."""
    limits = tuple(float(value) for value in np.percentile(noisy, (0.5, 99.9)))
    truth = {"name": f"{name} (truth)", "contrast_limits": limits, "visible": False}
    return [
        (clean, truth, "image"),
        (noisy, {"name": name, "contrast_limits": limits, **look}, "image"),
    ]
