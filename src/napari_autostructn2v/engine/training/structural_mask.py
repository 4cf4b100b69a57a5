"""The structural mask of a training: given, measured, or derived from the result of Stage 1."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.sampling import sample_blocks
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.inference.predict import on_device, run_block
from napari_autostructn2v.engine.mask import analysis
from napari_autostructn2v.engine.mask.analysis import NoiseAnalysis
from napari_autostructn2v.engine.mask.mask_file import read_mask
from napari_autostructn2v.engine.mask.shapes import check_mask
from napari_autostructn2v.engine.networks.network import Network
from napari_autostructn2v.engine.networks.registry import footprint
from napari_autostructn2v.engine.noise.correlation import Correlation
from napari_autostructn2v.engine.training.learned import Learned, TrainingInputs
from napari_autostructn2v.engine.training.plan import trains_stage1
from napari_autostructn2v.engine.types import Array


def mask_before_training(
    inputs: TrainingInputs, found: NoiseAnalysis, start: Learned
) -> Array | None:
    """Return the mask, or None if it is to be derived from the result of Stage 1.

    Raises
    ------
    InputError
        If the mask hides everything that the network sees, if its file can't be read, or if it
        depends on Stage 1 and there is none.
    """
    config, structure = inputs.config, inputs.config.structure
    kept = inputs.same_structure and "stage2" in start.unit.networks
    if structure.mask_source == "stage1" and not kept:
        if not has_stage1(config, start):
            raise InputError(
                "mask_source is 'stage1' but there is no Stage 1: set run_stage1, or start from a "
                "model that has one"
            )
        return None
    mask = start.unit.mask if kept else found.mask
    if structure.mask_source == "file":
        assert structure.mask_file is not None
        mask = read_mask(structure.mask_file)
    elif structure.mask_source == "array":
        mask = check_mask(np.array(structure.mask))
    if config.run_stage2:
        _check_sight(mask, config)
    return mask


def has_stage1(config: Config, learned: Learned) -> bool:
    return trains_stage1(config) or "stage1" in learned.unit.networks


def is_needless(mask: Array, config: Config, learned: Learned) -> bool:
    """Return whether Stage 2 would only repeat Stage 1, since its mask is a single pixel."""
    return mask.size == 1 and has_stage1(config, learned)


def with_noise(
    inputs: TrainingInputs, learned: Learned, found: NoiseAnalysis, mask: Array | None
) -> Learned:
    """Set noise and mask; keep the mask of a Stage 2 that isn't trained."""
    kept = "stage2" in learned.unit.networks and not inputs.config.run_stage2
    if mask is None or kept:
        mask = learned.unit.mask
    elif is_needless(mask, inputs.config, learned):
        learned = learned.upto_mask()
    return learned.with_noise(found, mask, inputs.channel)


def find_in_result(inputs: TrainingInputs, network: Network, found: NoiseAnalysis) -> NoiseAnalysis:
    """Measure the noise that remains in the result of Stage 1, as autoStructN2V does.

    The measured results are normalised, so sigma is taken from the noise of the image.
    """
    ready, blocks = on_device(network, inputs.runtime.device), []
    for source in inputs.sources:
        for channel in range(source.channels):
            if inputs.channel in (None, channel):
                rng = np.random.default_rng((inputs.config.seed, channel))
                for block in sample_blocks(source, channel, rng, images=len(inputs.sources)):
                    image = inputs.normalisation.apply(block, channel)
                    blocks.append(run_block(ready, image, inputs.runtime.device))
    left = analysis.find_in(blocks, inputs.config)
    noise = replace(left.noise, sigma=found.noise.sigma)
    return replace(left, noise=noise, channel=found.channel)


def mask_found(inputs: TrainingInputs, found: NoiseAnalysis, mask: Array) -> events.MaskFound:
    leak = Correlation(found.noise, inputs.config.stage2.patch_size).leak(mask)[0]
    rho = events.read_only(found.noise.rho)
    name = found.verdict.name
    return events.MaskFound(events.read_only(mask), rho, name, leak, inputs.channel)


def _check_sight(mask: Array, config: Config) -> None:
    """Raise an InputError if the mask hides everything that the network could see."""
    reach = footprint(config.stage2.network).halo
    centre = [n // 2 for n in mask.shape]
    inside = tuple(slice(max(c - reach, 0), c + reach + 1) for c in centre)
    if min(centre) >= reach and mask[inside].all():
        height, width = mask.shape
        raise InputError(
            f"the mask of {height} x {width} px hides all {2 * reach + 1} px that the network "
            "sees around a pixel; use a smaller mask or a deeper network"
        )
