"""Synthetic images with planted noise for napari's File > Open Sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine.synthetic import NoiseKind, Scene, sample

LayerData = tuple[npt.NDArray[Any], dict[str, Any], str]


def horizontal() -> list[LayerData]:
    return _layers("filaments", "horizontal", "filaments")


def isotropic() -> list[LayerData]:
    return _layers("nuclei", "isotropic", "nuclei")


def white() -> list[LayerData]:
    return _layers("membranes", "white", "membranes")


def _layers(scene: Scene, noise: NoiseKind, name: str) -> list[LayerData]:
    """Put the noisy image over the hidden truth; both have the same contrast limits."""
    made = sample(scene, noise, 512)
    limits = tuple(float(value) for value in np.percentile(made.noisy, (0.5, 99.9)))
    clean: LayerData = (
        made.clean,
        {"name": f"{name} (truth)", "contrast_limits": limits, "visible": False},
        "image",
    )
    noisy: LayerData = (made.noisy, {"name": name, "contrast_limits": limits}, "image")
    return [clean, noisy]
