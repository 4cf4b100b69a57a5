"""Every choice of a run, with its bounds, unit and help, written here and nowhere else.

The command line, the napari form, the JSON file and the reference page read these fields.
"""

from napari_autostructn2v.engine.config.budget import Budget
from napari_autostructn2v.engine.config.network import NetworkConfig, NetworkOptions, UNetConfig
from napari_autostructn2v.engine.config.presets import DEFAULT_PRESET, PRESETS
from napari_autostructn2v.engine.config.run import Config, Result
from napari_autostructn2v.engine.config.stage import Augmentation, Replacement, Stage, StageName
from napari_autostructn2v.engine.config.structure import (
    LEAST_REGION,
    LONGEST_SIDE,
    MaskSource,
    Ring,
    Structure,
)
from napari_autostructn2v.engine.config.training import Training

__all__ = [
    "DEFAULT_PRESET", "LEAST_REGION", "LONGEST_SIDE", "PRESETS", "Augmentation", "Budget",
    "Config", "MaskSource", "NetworkConfig", "NetworkOptions", "Replacement", "Result", "Ring",
    "Stage", "StageName", "Structure", "Training", "UNetConfig",
]  # fmt: skip
