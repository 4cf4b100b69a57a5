"""What is loaded when: the package alone loads no torch, `analyse` draws only when asked."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tifffile

# What each step may load of WATCHED besides what the steps before it did.
WATCHED = {
    "torch",
    "sympy",
    "zarr",
    "matplotlib",
    "napari",
    "qtpy",
    "PyQt6",
    "PySide6",
    "superqt",
    "magicgui",
}
STEPS = {
    "import napari_autostructn2v": set(),
    "import napari_autostructn2v.cli": set(),
    "from napari_autostructn2v import Config, InputError, events": set(),
    "import napari_autostructn2v.engine.evaluation.quality": set(),
    "napari_autostructn2v.cli.main(['analyse', 'noisy.tif'])": set(),
    "from napari_autostructn2v import denoise, run, Model": {"torch"},
    "from napari_autostructn2v.engine.networks import registry": set(),
    "registry.footprint(Config().stage1.network)": set(),  # sympy: torch's compiler, for seconds
    "for found in pkgutil.walk_packages(napari_autostructn2v.engine.__path__, "
    "'napari_autostructn2v.engine.'): importlib.import_module(found.name)": {"zarr", "matplotlib"},
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Take the steps in one fresh process: what each loads."""
    folder = tmp_path_factory.mktemp("imports")
    rng = np.random.default_rng(0)
    tifffile.imwrite(folder / "noisy.tif", rng.normal(100, 5, (96, 96)).astype(np.float32))
    code = f"""
import contextlib, importlib, io, pkgutil, sys
before = set()
for step in {list(STEPS)!r}:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(step)
    except SystemExit as end:
        assert not end.code
    now = {WATCHED!r} & set(sys.modules)
    print(*sorted(now - before))
    before = now
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(STEPS, map(str.split, done.stdout.split("\n")), strict=False))


@pytest.mark.parametrize("step", STEPS)
def test_imports_stay_on_their_floor(loaded, step):
    assert set(loaded[step]) <= STEPS[step]
    assert "torch" in loaded["from napari_autostructn2v import denoise, run, Model"]
