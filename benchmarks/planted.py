"""Planted horizontal noise: automatic against true mask, Stage 2 against Stage 1.

The noise is white noise filtered with a [1 2 3 2 1] kernel along x plus white noise (sigma 15 to
8), at 18 dB; its correlation exceeds .05 up to lag 3. The true mask spans all nonzero lags, 9
pixels.
"""

from __future__ import annotations

import numpy as np
import tifffile

from common import DATA, have_data, head, keep, parser, row, train
from napari_autostructn2v.engine.synthetic import plant, psnr, sample

SCENES = ("filaments", "nuclei", "membranes", "vesicles", "texture")
TRUE_MASK = np.ones((1, 9), int).tolist()


def images(size: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return clean and noisy images by name, synthetic ones first."""
    made = {}
    for scene in SCENES:
        drawn = sample(scene, "horizontal", size=size, seed=seed, psnr=18.0)
        made[scene] = drawn.clean, drawn.noisy
    real = {name: f"clean/{name}.tif" for name in ("BPAE_actin", "maize_clsm", "neuron")}
    if have_data(*real.values()):
        for name, path in real.items():
            clean = tifffile.imread(DATA / path)[:size, :size].astype(np.float32)
            rng = np.random.default_rng(seed)
            made[name] = clean, plant(clean, "horizontal", 18.0, rng).astype(np.float32)
    return made


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--budget", default="800steps")
    arguments.add_argument("--size", type=int, default=384)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    head("image", "verdict", "mask", "noisy", "Stage 1", "Stage 2", "true mask", "auto - true")
    for name, (clean, noisy) in images(options.size, options.seed).items():
        results, last = train(noisy, budget=options.budget)
        given, _ = train(
            noisy,
            budget=options.budget,
            structure={"mask_source": "array", "mask": TRUE_MASK},
        )
        final = results.get("stage2", results["stage1"])
        automatic, true = psnr(clean, final), psnr(clean, given["stage2"])
        height, width = last.model.units[0].mask.shape
        row(
            name, last.report["verdict"], f"{height}x{width}", psnr(clean, noisy),
            psnr(clean, results["stage1"]), automatic, true, automatic - true,
        )  # fmt: skip
    keep(options)


if __name__ == "__main__":
    main()
