"""The quality card: how good a result is, estimated without the clean image."""

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

_SCALES = (0.75, 1.25)  # of the measured covariance: gives the range of the gain
_DETAIL = 2  # octaves: structures a few pixels in size
# The residual is used as a measurement of the noise if all its correlations are above this, and
# if less than this percentage of the noise is left in the result.
_CLEAN, _LITTLE = -0.15, 30
Name = TypeVar("Name", bound=str)  # a stage, or another name of what is compared

_MARGIN = 0.3  # dB; stages that differ by less are considered equal


@dataclass(frozen=True)
class Card:
    """The figures of one stage, as explained in `MEANING`; None if they can't be estimated.

    Attributes
    ----------
    gain_range_db
        Range of the gain if the covariance of the noise is 0.75 to 1.25 times the measured one.
    """

    gain_db: float | None
    gain_range_db: tuple[float, float] | None
    noise_left_percent: float | None
    detail_kept_percent: float | None
    structure_lost_percent: float | None
    repeats_gain_db: float | None = None

    @property
    def told(self) -> bool:
        """Whether the gain is known."""
        return bool(_gains(self))

    def report(self) -> dict[str, Any]:
        """Return the known figures as plain values."""
        return {
            name: [round(end, 2) for end in value] if isinstance(value, tuple) else round(value, 2)
            for name, value in asdict(self).items()
            if value is not None
        }


MEANING: Mapping[str, Mapping[str, str]] = {
    "gain_db": {
        "title": "Estimated gain (PSNR)",
        "meaning": "How much closer the result is to the noise-free image than the input is, "
        "estimated on parts that {apart}.",
        "bias": "It relies on the measured noise. If the noise is smooth in all directions, it "
        "overrates blurred results, so check the detail kept as well.",
    },
    "repeats_gain_db": {
        "title": "Gain against repeats (PSNR)",
        "meaning": "The same gain, measured against other frames of the same scene.",
        "bias": "Anything that all frames share, such as a fixed pattern, counts as signal; motion "
        "between frames counts as error.",
    },
    "noise_left_percent": {
        "title": "Noise left",
        "meaning": "Share of the noise variance that remains in flat areas of the result.",
        "bias": "Blurring removes noise too, so check the detail kept as well.",
    },
    "detail_kept_percent": {
        "title": "Detail kept",
        "meaning": "How much of the contrast of structures a few pixels in size the result keeps.",
        "bias": "Bright structures count most; faint ones may lose more.",
    },
    "structure_lost_percent": {
        "title": "Structure lost",
        "meaning": "Signal removed along with the noise in structured areas, in percent of the "
        "noise variance.",
        "bias": "It is too high if the noise grows with brightness differently than measured.",
    },
}


def meaning(apart: bool) -> dict[str, dict[str, str]]:
    """Return `MEANING` for figures of held-out parts (`apart`) or of training data."""
    where = "were not trained on" if apart else "were trained on too, as none were held out"
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
        Returns the result of a (H, W) float32 block in grey values; called up to 19 times per
        block.
    blocks
        (H, W) each, in grey values; NaN for missing values. The caller limits their size.
    noise
        The noise of the blocks, averaged over their images.
    repeats
        Other frames of the same scene, each with the same blocks.
    noises
        The noise of each block's own image, if there are several images.
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
    """Measure the noise in the residual, for an image with too much structure to measure it.

    Return None if there is still too much structure, or if the residual has the negative
    correlations of a mask that is too narrow.
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
    """Return the indices of the flattest third of the tiles and of the most structured third."""
    order = np.argsort(seen.contrast)
    third = math.ceil(len(order) / 3)
    return order[:third], order[-third:]


def _against_repeats(
    denoise: Denoise, blocks: Sequence[Array], repeats: Sequence[Sequence[Array]]
) -> float | None:
    """Return the gain by the unbiased uMSE of Marcos-Morales et al. (ICML 2023).

    The noise of another frame a is independent, so (a - f(y))^2 is on average the squared error
    plus the noise variance. The variance over all frames, including y, estimates the latter.
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
    """Return the stage with the best gain, preferring earlier stages.

    A later stage must be clearly better, also if the noise covariance is scaled. The gain against
    repeats is used instead of the estimate if there is one; if any stage's gain is unknown, the
    last stage is returned.
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
