"""Any configuration within its bounds, on any small image, finishes or is refused in a sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.pipeline import run

_SIDES = (1, 2, 3, 7, 8, 15, 16, 17, 24, 31, 40, 64, 77)
_TYPES = ("uint8", "uint16", "int16", "float32", "float64")


class Draw:
    """Random choices that repeat with their seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def of(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def flag(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def image(self) -> tuple[np.ndarray, str]:
        axes = self.of("YX", "YX", "TYX", "CYX", "ZYX", "TCYX", "XY")
        shape = [self.of(*_SIDES) if axis in "YX" else self.of(1, 2, 3) for axis in axes]
        image = self.rng.normal(100, 10, shape)
        if self.flag(0.3) and shape[-1] > 1:  # along a line
            image[..., 1:] += image[..., :-1] - 100
        dtype = np.dtype(self.of(*_TYPES))
        if dtype.kind == "f" and self.flag(0.3):
            image[self.rng.random(shape) < 0.05] = self.of(np.nan, np.inf)
        return image.astype(dtype), axes

    def stage(self) -> dict[str, Any]:
        return {
            "network": {
                "features": self.of(4, 5, 8),
                "depth": self.of(1, 2, 3, 4, 5),
                "batch_norm": self.flag(),
                "blur_pool": self.flag(),
                "top_skip": self.flag(),
                "residual": self.flag(0.2),
                "gradient_checkpointing": self.flag(0.2),
            },
            "patch_size": self.of(8, 9, 16, 17, 33, 64),
            "batch_size": self.of(1, 2, 5),
            "learning_rate": 10 ** self.between(-5, -1 if self.flag(0.8) else 0),
            "patches_per_image": self.of(1, 2, 5),
            "mask_percentage": self.of(0.01, 0.5, 2, 15, 40, 60),
            "mask_center_size": self.of(1, 1, 3, 15),
            "replacement": self.of(
                "local_mean", "zeros", "random_visible", "uniform", "median", "noise"
            ),
            "augmentation": self.of("none", "symmetric", "all"),
            "use_roi": self.flag(0.1),
            "roi_threshold": self.of(0, 0.1, 0.5, 0.9, 1),
            "scale_factor": self.of(0.001, 0.1, 0.25, 1),
            "select_background": self.flag(),
        }

    def structure(self, axes: str) -> dict[str, Any]:
        rows, columns = self.of(1, 3, 5, 127), self.of(1, 3, 9)
        source = self.of("raw", "raw", "stage1", "array", "frames" if "T" in axes else "raw")
        return {
            "mask_source": source,
            "mask": np.ones((rows, columns), int).tolist() if source == "array" else None,
            "extractor": self.of("leak", "leak", "ring"),
            "subtract_wave": self.flag(0.2),
            "leak_threshold": self.of(0.001, 0.02, 1),
            "score_tolerance": self.of(0, 0.1, 10),
            "max_lag": self.of(2, 5, 20),
            "ring": {
                "center_size": self.of(3, 4, 11, 101),
                "max_true_pixels": self.of(None, 1, 25),
            },
        }

    def training(self) -> dict[str, Any]:
        return {
            "optimizer": self.of("adam", "adamw"),
            "weight_decay": self.of(0, 0.1, 1),
            "schedule": self.of("cosine", "plateau"),
            "ema": self.of(0, 0.5, 0.98, 0.9999),
            "early_stopping": self.flag(0.3),
            "patience": self.of(1, 2),
            "validate_every": self.of(1, 2, 50),
            "precision": self.of("auto", "float32", "bfloat16"),
            "stage1_share": self.of(0.001, 0.25, 0.999),
            "self_check": self.flag(),
            "warm_start": self.flag(0.3),
        }

    def config(self, axes: str) -> Config:
        shares = self.rng.dirichlet((self.of(0.1, 1),) * 3)
        training, validation = max(float(shares[0]), 1e-3), float(shares[1])
        validation = min(validation, 1 - training)
        only = self.of("both", "both", "first", "second")
        values = {
            "budget": self.of("1steps", "2steps", "3steps", "1epochs", "converged"),
            "seed": self.of(0, 1, 2**63 - 1),
            "device": "cpu",
            "axes": axes,
            "run_stage1": only != "second",
            "run_stage2": only != "first",
            "stage1": self.stage(),
            "stage2": self.stage(),
            "structure": self.structure(axes),
            "training": self.training(),
            "split_ratio": (training, validation, 1 - training - validation),
            "network_per_channel": self.flag(0.3),
            "pool_size": self.of(1, 256),
            "tile": self.of(None, 16, 33),
            "result": self.of("recommended", "recommended", "stage1", "stage2"),
            "dtype": self.of("auto", "same", "float32", "uint8", "uint16"),
        }
        if values["budget"] == "converged":  # which has an end only where it is impatient
            values["training"] |= {"validate_every": 1, "patience": 1, "min_improvement": 0.9}
        return Config.parse(values)


def try_one(seed: int) -> None:
    draw = Draw(seed)
    image, axes = draw.image()
    images = [image] * draw.of(1, 1, 1, 3, 8)
    config, sink = draw.config(axes), ArraySink()
    last = list(run(images, config, sink=sink))[-1]
    if isinstance(last, events.Failed):
        assert isinstance(last.error, InputError), repr(last.error)
        assert "\n" not in last.message
        return
    assert isinstance(last, events.Finished)
    assert all(math.isfinite(stage["loss"]) for stage in last.report["stages"])
    for result in sink.final.values():
        assert result.shape == image.shape
        assert np.array_equal(np.isfinite(result), np.isfinite(image)) or result.dtype.kind != "f"


@pytest.mark.parametrize("seed", range(20))
def test_random_configurations(seed: int) -> None:
    try_one(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_random_configurations(seed: int) -> None:
    try_one(seed)
