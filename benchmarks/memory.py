"""Peak memory of denoising a 2000 px and a 20000 px image, each in a separate process."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

from common import head, keep, parser, row
from napari_autostructn2v import Model
from napari_autostructn2v.engine.synthetic import sample


def make_image(path: Path, side: int) -> None:
    """Write a large Zarr array of repeated synthetic blocks."""
    block = sample("nuclei", "horizontal", size=1000, dtype=np.uint16).noisy
    array = zarr.create_array(path, shape=(side, side), chunks=(1000, 1000), dtype="uint16")
    for y in range(0, side, 1000):
        for x in range(0, side, 1000):
            array[y : y + 1000, x : x + 1000] = block


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--sides", type=int, nargs="+", default=[2000, 20000])
    arguments.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        model, image, out = options.child
        Model.load(model).denoise(image, out=out, axes="YX")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    head("side (px)", "input (MiB)", "seconds", "peak resident (MiB)")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_image(place / "train.zarr", 1000)
        train = [sys.executable, "-m", "napari_autostructn2v", "run", str(place / "train.zarr"),
                 "-o", str(place / "t.tif"), "--budget", "20steps", "--axes", "YX",
                 "--save-model", str(place / "m.asn2v")]  # fmt: skip
        subprocess.run(train, check=True, capture_output=True)
        for side in options.sides:
            image, out = place / f"{side}.zarr", place / f"out{side}.zarr"
            make_image(image, side)
            start = time.monotonic()
            child = [sys.executable, __file__, "--child", str(place / "m.asn2v"), str(image),
                     str(out)]  # fmt: skip
            done = subprocess.run(child, check=True, capture_output=True, text=True)
            row(side, side**2 * 2 // 2**20, time.monotonic() - start, float(done.stdout))
    keep(options)


if __name__ == "__main__":
    main()
