"""Real frames against the average of 50: removes isotropic noise, and is no worse on white."""

from __future__ import annotations

import numpy as np
import tifffile

from common import DATA, have_data, head, keep, parser, row, train
from napari_autostructn2v.engine.synthetic import psnr

SETS = ("fmd_widefield_BPAE_G", "fmd_confocal_MICE")


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--budget", default="60s")
    arguments.add_argument("--frames", type=int, default=1, help="frames trained on, of 4")
    options = arguments.parse_args()
    head("set", "frames", "verdict", "mask px", "noisy", "ours", "gain", "plain N2V")
    for name in SETS:
        if not have_data(name):
            continue
        frames = tifffile.imread(DATA / name / "noisy.tif")[: options.frames].astype(np.float32)
        truth = tifffile.imread(DATA / name / "gt_avg50.tif").astype(np.float32)
        results, last = train(frames, budget=options.budget, axes="TYX")
        plain, _ = train(frames, budget=options.budget, axes="TYX", run_stage2=False)
        final = results.get("stage2", results["stage1"])
        before, after = psnr(truth, frames[0]), psnr(truth, final[0])
        mask = int(last.model.units[0].mask.sum())
        row(name, len(frames), last.report["verdict"], mask, before, after, after - before,
            psnr(truth, plain["stage1"][0]))  # fmt: skip
    keep(options)


if __name__ == "__main__":
    main()
