"""Says how good a result is without knowing the truth: figures, what they mean, how they err."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from napari_autostructn2v.engine.evaluation.sure_estimate import (
    Denoise,
    Probe,
    Risk,
    complete,
    detail,
    estimate,
    probe,
)
from napari_autostructn2v.engine.noise.measure import measure
from napari_autostructn2v.engine.noise.noise import Noise
from napari_autostructn2v.engine.types import Array

_SCALES = (0.75, 1.25)  # of the measured covariance: what is found must survive them
_DETAIL = 2  # octaves: structures a few pixels in size
# A residual may stand in for the noise if none of its correlations is lower than this, and if
# less of the noise than this (in percent) is left in the result.
_CLEAN, _LITTLE = -0.15, 30
Name = TypeVar("Name", bound=str)  # of a stage, or of whatever is compared

_MARGIN = 0.3  # dB; two stages nearer to each other than this are alike


@dataclass(frozen=True)
class Card:
    """The figures of one stage, as `MEANING` explains them; None where they can't be told.

    Attributes
    ----------
    gain_range_db
        The gain with the covariance of the noise 0.75 and 1.25 times that measured, lower first.
    """

    gain_db: float | None
    gain_range_db: tuple[float, float] | None
    noise_left_percent: float | None
    detail_kept_percent: float | None
    structure_lost_percent: float | None
    repeats_gain_db: float | None = None

    @property
    def told(self) -> bool:
        """Whether it says how good the result is."""
        return bool(_gains(self))

    def report(self) -> dict[str, Any]:
        """What is known, as plain values."""
        return {
            name: [round(end, 2) for end in value] if isinstance(value, tuple) else round(value, 2)
            for name, value in asdict(self).items()
            if value is not None
        }


MEANING: Mapping[str, Mapping[str, str]] = {
    "gain_db": {
        "title": "Estimated gain (PSNR)",
        "meaning": "How much closer to the noise-free image the result is than the noisy one, "
        "estimated on parts that {apart}.",
        "bias": "It relies on the measured noise; where noise is smooth in all directions, a blur "
        "looks better than it is: read it beside the detail kept.",
    },
    "repeats_gain_db": {
        "title": "Gain against repeats (PSNR)",
        "meaning": "The same gain, measured against further frames of the scene.",
        "bias": "What all frames share, such as a fixed pattern, counts as signal; motion between "
        "them counts as error.",
    },
    "noise_left_percent": {
        "title": "Noise left",
        "meaning": "Share of the noise variance that is still in the result where the image is "
        "flat.",
        "bias": "A blur leaves little noise too: read it beside the detail kept.",
    },
    "detail_kept_percent": {
        "title": "Detail kept",
        "meaning": "How much of the contrast of structures a few pixels in size the result keeps.",
        "bias": "Bright structures count most; faint ones may fare worse.",
    },
    "structure_lost_percent": {
        "title": "Structure lost",
        "meaning": "What was taken away beyond noise where there is structure, in percent of the "
        "noise variance.",
        "bias": "Noise that grows with brightness in another way than measured adds to it.",
    },
}


def meaning(apart: bool) -> dict[str, dict[str, str]]:
    """`MEANING` for figures of parts that were not trained on (`apart`), or were."""
    where = "were not trained on" if apart else "were trained on too, as none was held out"
    return {
        figure: {key: text.replace("{apart}", where) for key, text in texts.items()}
        for figure, texts in MEANING.items()
    }


def assess(
    denoise: Denoise,
    blocks: Sequence[Array],
    noise: Noise,
    rng: np.random.Generator,
    repeats: Sequence[Sequence[Array]] = (),
    noises: Sequence[Noise] = (),
) -> Card:
    """Judge a denoiser on blocks it was not trained on.

    Parameters
    ----------
    denoise
        Gives the result for a (H, W) float32 block in grey values; called up to 19 times on each.
    blocks
        (H, W) each, in grey values; NaN where there is no value. The caller bounds their size.
    repeats
        Further frames of the scene, each with the same blocks.
    noises
        That of each block's own image, where `noise` is what several have on average.
    """
    known = noise if noise.doubt <= 1 else _noise_of_residual(denoise, blocks, noise)
    gain = _against_repeats(denoise, blocks, repeats) if repeats else None
    own = noises if noises and known is noise else [known or noise] * len(blocks)
    seen = probe(denoise, blocks, own, rng)
    if seen is None:
        return Card(None, None, None, None, None, gain)
    left = _noise_left(seen)
    trusted = noise.doubt <= 1 or (known is not None and left < _LITTLE)
    risk = estimate(seen)
    low, _, high = sorted([risk.gain, *(estimate(seen, scale).gain for scale in _SCALES)])
    return Card(
        gain_db=risk.gain if trusted else None,
        gain_range_db=(low, high) if trusted else None,
        noise_left_percent=left,
        detail_kept_percent=_detail_kept(seen, risk),
        structure_lost_percent=_structure_lost(seen, risk),
        repeats_gain_db=gain,
    )


def _noise_of_residual(denoise: Denoise, blocks: Sequence[Array], noise: Noise) -> Noise | None:
    """Noise as the residual shows it, where the image itself holds too much structure to tell.

    Not so where the mask was too narrow: that leaves negative correlations.
    """
    residual = [block - denoise(complete(block)) for block in blocks]
    values = [block[np.isfinite(block)] for block in residual]
    if not any(found.size and np.ptp(found) > 0 for found in values):
        return None
    seen = measure(residual, noise.short.shape[0] // 2)
    return seen if seen.doubt <= 1 and float(seen.short.min()) > _CLEAN else None


def _noise_left(seen: Probe) -> float:
    flat, _ = _by_contrast(seen)
    return float(100 * seen.left[flat].mean() / seen.variance[flat].mean())


def _detail_kept(seen: Probe, risk: Risk) -> float | None:
    common, signal, visible = (part[:_DETAIL] for part in detail(seen, risk.level))
    return float(100 * common[visible].sum() / signal[visible].sum()) if visible.any() else None


def _structure_lost(seen: Probe, risk: Risk) -> float:
    flat, structured = (
        float(risk.excess[tiles].mean() / (risk.level * seen.variance)[tiles].mean())
        for tiles in _by_contrast(seen)
    )
    return 100 * max(structured - flat, 0)


def _by_contrast(seen: Probe) -> tuple[Array, Array]:
    """Indices of the flattest third of the tiles, and of the most structured."""
    order = np.argsort(seen.contrast)
    third = math.ceil(len(order) / 3)
    return order[:third], order[-third:]


def _against_repeats(
    denoise: Denoise, blocks: Sequence[Array], repeats: Sequence[Sequence[Array]]
) -> float | None:
    """Gain by the unbiased uMSE of Marcos-Morales et al. (ICML 2023).

    A further frame a has noise of its own: (a - f(y))^2 is on average the error plus the noise
    variance, which the differences of all frames give, y among them.
    """
    error = noise = 0.0
    for index, block in enumerate(blocks):
        others = np.stack([frame[index] for frame in repeats]).astype(float)
        frames = np.concatenate([others, block[None]])
        finite = np.isfinite(frames).all(0)
        distance = ((others - denoise(complete(block))) ** 2).mean(0)[finite]
        variance = frames.var(0, ddof=1)[finite]
        error += float((distance - variance).sum())
        noise += float(variance.sum())
    return 10 * math.log10(noise / error) if min(error, noise) > 0 else None


def recommend(cards: Mapping[Name, Card]) -> Name:
    """Choose the best stage by its gain, an earlier one unless a later one is clearly better.

    It must be so with the measured covariance of the noise scaled, too. Repeats count for more
    than estimates; where there is neither for every stage, the last one is chosen.
    """
    gains = {stage: _gains(card) for stage, card in cards.items()}
    best, *later = gains
    if len({len(found) for found in gains.values()}) > 1 or not gains[best]:
        return later[-1] if later else best
    for stage in later:
        pairs = zip(gains[stage], gains[best], strict=True)
        if all(new > old + _MARGIN for new, old in pairs):
            best = stage
    return best


def _gains(card: Card) -> tuple[float, ...]:
    if card.repeats_gain_db is not None:
        return (card.repeats_gain_db,)
    if card.gain_db is None or card.gain_range_db is None:
        return ()
    return (card.gain_db, *card.gain_range_db)
