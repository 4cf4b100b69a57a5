"""An image can be opened again in another process, as it is seen here."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_autostructn2v.engine.data.levels import levelled
from napari_autostructn2v.engine.data.opening import open_source, open_sources, reopen
from napari_autostructn2v.engine.data.source import Source, as_source
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.inference.mended import mended
from napari_autostructn2v.engine.noise.periodic import Wave

NOISE = np.random.default_rng(0).normal(1000, 20, (3, 2, 40, 50)).astype(np.float32)
NOISE[1, 0, 7, 9] = 9000  # a hot pixel
FAR = NOISE.astype(np.float64) + 1e9  # float32 would lose the noise

WHOLE = slice(None)
# Reads each image that comes in, in a process that knows nothing of this one.
READER = """
import pickle, sys
from napari_autostructn2v.engine.data.opening import reopen
seen = []
for spec in pickle.load(sys.stdin.buffer):
    source = reopen(spec)
    planes = [source.read(p, slice(None), slice(None)) for p in range(source.planes)]
    about = (source.name, source.axes, source.metadata, source.path, source.scene, source.offset)
    seen.append((about, planes))
sys.stdout.buffer.write(pickle.dumps(seen))
"""


def tiff(folder: Path) -> Source:
    path = folder / "a.tif"
    tifffile.imwrite(path, NOISE, ome=True, metadata={
        "axes": "TCYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Channel": {"Name": ["a", "b"]},
    })  # fmt: skip
    return open_source(path)


def scene(folder: Path) -> Source:
    path = folder / "scenes.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        for number in (0, 1):
            file.write(NOISE[number, 0], metadata={"axes": "YX", "Name": f"field {number}"})
    return open_sources(path)[1]


def zarr_array(folder: Path) -> Source:
    path = folder / "a.zarr"
    stored = zarr.create_array(
        store=str(path), shape=NOISE.shape, chunks=(1, 1, 16, 16), dtype="f4"
    )
    stored[:] = NOISE
    return open_source(path, "TCYX")


def plain(folder: Path) -> Source:
    return as_source(NOISE, "TCYX", "cells")


KINDS: dict[str, Callable[[Path], Source]] = {
    "tiff": tiff,
    "one scene": scene,
    "zarr": zarr_array,
    "array": plain,
    "dask": lambda folder: as_source(da.from_array(NOISE, chunks=16), "ZCXY"),
    "crop": lambda folder: plain(folder).crop(T=slice(1, 3), C=slice(1, 2), X=slice(7, 31)),
    "crop of a crop of a file": lambda folder: (
        tiff(folder).crop(C=slice(1, 2), X=slice(5, None)).crop(X=slice(2, 9), T=slice(2, 3))
    ),
    "less an offset": lambda folder: levelled([as_source(FAR, "TCYX")])[0],
    "mended": lambda folder: mended([plain(folder)])[0].seen(()),
    "mended, less a wave, a part": lambda folder: (
        mended([tiff(folder).crop(Y=slice(4, 40))])[0]
        .seen((Wave(5.0, 7.0), None))
        .crop(T=slice(1, 2))
    ),
}


def test_every_kind_of_source_opens_in_another_process(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number, _ in enumerate(KINDS)]
    for folder in folders:
        folder.mkdir()
    sources = [make(folder) for make, folder in zip(KINDS.values(), folders, strict=True)]
    specs = pickle.dumps([source.spec() for source in sources])
    found = subprocess.run([sys.executable, "-c", READER], input=specs, capture_output=True)
    assert found.returncode == 0, found.stderr.decode()
    for source, (about, planes) in zip(sources, pickle.loads(found.stdout), strict=True):
        assert about == (
            source.name, source.axes, source.metadata, source.path, source.scene, source.offset,
        )  # fmt: skip
        here = [source.read(plane, WHOLE, WHOLE) for plane in range(source.planes)]
        np.testing.assert_array_equal(here, planes)


def test_what_is_seen_is_not_what_is_stored() -> None:
    """Or the test above would say nothing of views."""
    mended_ = mended([as_source(NOISE, "TCYX")])[0].seen((Wave(5.0, 7.0), None))
    assert mended_.read(2, WHOLE, WHOLE)[7, 9] < 2000
    assert not np.array_equal(mended_.read(0, WHOLE, WHOLE), NOISE[0, 0])


def test_a_large_array_says_that_it_cannot_be_sent() -> None:
    class Huge:
        shape, dtype = (50, 4000, 4000), np.dtype("uint16")

        def __getitem__(self, index: object) -> np.ndarray:
            raise AssertionError("it was read")

    source = as_source(Huge(), name="movie")
    with pytest.raises(InputError, match=r"movie is an array of 1526 MiB.*save it to a file"):
        source.crop(T=slice(0, 1)).spec()


def test_a_file_that_has_changed_is_refused(tmp_path: Path) -> None:
    spec = scene(tmp_path).spec()
    tifffile.imwrite(tmp_path / "scenes.ome.tif", NOISE[0, 0], ome=True)
    with pytest.raises(InputError, match=r"scenes\.ome\.tif has changed"):
        reopen(spec)
    (tmp_path / "scenes.ome.tif").unlink()
    with pytest.raises(InputError, match="there is no file"):
        reopen(spec)
