"""The command line as scripts meet it: real processes, exit codes, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile

from napari_autostructn2v.engine.synthetic import sample

COMMAND = [sys.executable, "-m", "napari_autostructn2v"]
QUICK = "--budget 4steps --device cpu"
# On a busy machine the spinning threads of several processes starve each other.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def cli(folder, line):
    return subprocess.run(
        [*COMMAND, *line.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env=ENVIRONMENT,
    )


def noisy(seed=0, kind="horizontal", size=96):
    return sample("nuclei", kind, size=size, seed=seed, dtype=np.uint16).noisy


def tree(folder):
    return {
        path.relative_to(folder): path.is_file() and (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Everything that is not a good input, in one folder."""
    folder = tmp_path_factory.mktemp("bad")
    tifffile.imwrite(folder / "good.tif", noisy())
    tifffile.imwrite(folder / "constant.tif", np.full((64, 64), 7, np.uint8))
    tifffile.imwrite(folder / "nan.tif", np.full((64, 64), np.nan, np.float32))
    tifffile.imwrite(folder / "rgb.tif", np.zeros((64, 64, 3), np.uint8), photometric="rgb")
    whole = (folder / "good.tif").read_bytes()
    (folder / "truncated.tif").write_bytes(whole[: len(whole) // 2])
    (folder / "text.tif").write_text("this is no image")
    (folder / "notes.txt").write_text("this is no image")
    tifffile.imwrite(folder / "even.tif", np.ones((1, 4), np.uint8))
    hole = np.ones((1, 5), np.uint8)
    hole[0, 2] = 0
    tifffile.imwrite(folder / "hole.tif", hole)
    (folder / "unknown.json").write_text('{"stage1": {"patchsize": 64}}')
    (folder / "range.json").write_text('{"stage1": {"patch_size": 4}}')
    (folder / "syntax.json").write_text("{")
    (folder / "fake.asn2v").write_text("this is no model")
    (folder / "empty").mkdir()
    return folder


BAD = {  # arguments: what the line on stderr names
    "": "Missing command",
    "dance": "dance",
    "run good.tif": "--output",
    "run good.tif -o out.tif --budget soon": "budget 'soon'",
    "run good.tif -o out.tif --budget -1s": "budget '-1s'",
    "run good.tif -o out.tif --seed -3": "seed",
    "run good.tif -o out.tif --preset slow": "preset 'slow'",
    "run good.tif -o out.tif --device abacus": "abacus",
    "run good.tif -o out.tif --config unknown.json": "stage1.patchsize",
    "run good.tif -o out.tif --config range.json": "stage1.patch_size",
    "run good.tif -o out.tif --config syntax.json": "JSON",
    "run good.tif -o out.tif --config none.json": "none.json",
    "run missing.tif -o out.tif": "missing.tif",
    "run empty -o out": "empty",
    "run notes.txt -o out.tif": "notes.txt",
    "run text.tif -o out.tif": "text.tif",
    "run truncated.tif -o out.tif": "truncated.tif",
    "run rgb.tif -o out.tif": "rgb",
    "run good.tif -o out.tif --axes TYX": "TYX",
    "run good.tif -o out.tif --axes QX": "Q",
    "run good.tif -o out.jpg": "out.jpg",
    "run good.tif -o good.tif --overwrite": "good.tif",
    "run good.tif -o constant.tif": "constant.tif exists",
    "run good.tif -o out.tif --report notes.txt": "notes.txt exists",
    "run constant.tif -o new/out.tif --report new/r.json --save-model new/m.asn2v": "constant",
    "run good.tif -o out.tif --save-model empty": "empty is a folder",
    "run good.tif -o notes.txt/out.tif": "cannot be written",
    "run good.tif -o out.tif --report notes.txt/r.json": "cannot be written",
    "run good.tif -o out.tif --experiment empty/../notes.txt": "notes.txt",
    "run constant.tif -o out.tif": "constant",
    "run nan.tif -o out.tif": "NaN",
    "run good.tif -o out.tif --mask even.tif": "odd",
    "run good.tif -o out.tif --mask hole.tif": "central pixel",
    "run good.tif -o out.tif --mask missing.tif": "missing.tif",
    "analyse constant.tif": "constant",
    "analyse good.tif --plot notes.txt": "notes.txt exists",
    "info fake.asn2v": "fake.asn2v",
    "info missing.asn2v": "missing.asn2v",
    "denoise fake.asn2v good.tif -o out.tif": "fake.asn2v",
}


@pytest.fixture(scope="module")
def refusals(bad):
    """Run every bad command line, several at a time, and list the folder before and after."""
    before = tree(bad)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = dict(zip(BAD, pool.map(lambda line: cli(bad, line), BAD), strict=True))
    return done, before, tree(bad)


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_told_in_one_line(refusals, line):
    done = refusals[0][line]

    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("autostructn2v: ")
    assert len(done.stderr.splitlines()) == 1
    assert BAD[line] in done.stderr


def test_bad_input_leaves_nothing_behind(refusals):
    _, before, after = refusals

    assert after == before


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Do a quick run and keep everything that can be kept of it."""
    folder = tmp_path_factory.mktemp("trained")
    tifffile.imwrite(folder / "noisy.tif", noisy())
    done = cli(
        folder,
        f"run noisy.tif -o clean.tif --report r.json --save-model m.asn2v --seed 3 {QUICK}",
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_run_writes_image_report_and_model(trained):
    folder, done = trained
    clean = tifffile.imread(folder / "clean.tif")
    report = json.loads((folder / "r.json").read_text())

    assert (clean.shape, clean.dtype) == ((96, 96), np.uint16)
    assert 0.3 * noisy().mean() < clean.mean() < 3 * noisy().mean()  # grey values, not z-scores
    assert {
        "verdict", "leak", "noise_sigma", "autocorrelation", "mask", "images", "stages", "quality",
        "seconds", "device", "versions", "config",
    } <= set(report)  # fmt: skip
    assert report["config"]["seed"] == 3
    assert sum(stage["steps"] for stage in report["stages"]) == 4
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []
    for line in ("Stage 1", "Stage 2", "mask:", "wrote clean.tif"):
        assert line in done.stdout
    assert "\x1b" not in done.stdout  # a log file is no terminal


def test_the_model_denoises_like_the_run(trained):
    folder, _ = trained

    done = cli(folder, "denoise m.asn2v noisy.tif -o again.tif --tile 64")

    assert done.returncode == 0, done.stderr
    again, clean = (tifffile.imread(folder / f"{name}.tif") for name in ("again", "clean"))
    assert np.abs(again.astype(int) - clean).max() <= 1  # rounding


def test_info_names_what_the_model_holds(trained):
    folder, _ = trained

    done = cli(folder, "info m.asn2v")

    assert done.returncode == 0, done.stderr
    assert "noisy" in done.stdout
    assert "seed" in done.stdout


def test_options_override_the_config_which_overrides_the_preset(tmp_path):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=64))
    config = {"budget": "3steps", "seed": 5, "stage1": {"learning_rate": 2e-3}}
    (tmp_path / "c.json").write_text(json.dumps(config))

    done = cli(
        tmp_path,
        "run noisy.tif -o out.zarr --preset best --config c.json --seed 6 --report r.json "
        "--dtype float32 --device cpu",
    )

    assert done.returncode == 0, done.stderr
    used = json.loads((tmp_path / "r.json").read_text())["config"]
    assert (used["budget"], used["seed"]) == ("3steps", 6)
    assert used["stage1"]["learning_rate"] == 2e-3
    assert used["stage1"]["network"]["features"] == 32  # the preset's
    assert (tmp_path / "out.zarr" / "zarr.json").exists()


def test_a_given_mask_is_used_and_overwrite_replaces(tmp_path):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=64))
    tifffile.imwrite(tmp_path / "mask.tif", np.full((3, 1), 255, np.uint8))
    (tmp_path / "out.tif").write_text("old")

    done = cli(
        tmp_path, f"run noisy.tif -o out.tif --mask mask.tif --report r.json --overwrite {QUICK}"
    )

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["trained_mask"] == [[1], [1], [1]]
    assert tifffile.imread(tmp_path / "out.tif").shape == (64, 64)


def test_each_goes_on_after_a_bad_file(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    tifffile.imwrite(data / "a.tif", noisy(0, size=64))
    (data / "b.tif").write_text("this is no image")
    tifffile.imwrite(data / "c.tif", np.full((64, 64), 7, np.uint8))
    tifffile.imwrite(data / "d.tif", noisy(1, size=64))

    done = cli(tmp_path, f"run data -o out --each --report reports --save-model models {QUICK}")

    assert done.returncode == 2, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "d.tif"]
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["a.json", "d.json"]
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["a.asn2v", "d.asn2v"]
    assert "2 of 4 inputs failed" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_experiment_is_kept_beside_the_results(tmp_path):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=64))

    done = cli(tmp_path, f"run noisy.tif -o clean.tif --experiment e {QUICK}")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "e" / "final_results" / "clean.tif").exists()
    assert (tmp_path / "e" / "stage1" / "results" / "clean.tif").exists()


def test_analyse_says_what_the_noise_is(tmp_path):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=256))

    done = cli(tmp_path, "analyse noisy.tif --report r.json --mask-out m.tif --plot p.png")

    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    mask = tifffile.imread(tmp_path / "m.tif")
    assert report["verdict"] == "along x"
    assert "along x" in done.stdout
    np.testing.assert_array_equal(mask, report["mask"])
    assert set(np.unique(mask)) == {1}
    assert mask.shape[0] == 1
    assert mask.shape[1] >= 7
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert len(report["images"][0]["channels"]) == 1


def test_demo_writes_its_sample_and_its_picture(tmp_path):
    done = cli(tmp_path, f"demo -o out {QUICK}")

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "autostructn2v-demo.png").read_bytes().startswith(b"\x89PNG")
    assert tifffile.imread(tmp_path / "out" / "autostructn2v-demo-noisy.tif").shape == (512, 512)
    assert "18.00 dB" in done.stdout
    assert "along x" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_its_model(tmp_path, number):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=256))
    process = start(tmp_path, "run noisy.tif -o clean.tif --budget 50000steps")
    wait_for_line(process, "noisy: noise along x")
    time.sleep(2)  # Stage 1 trains

    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert (tmp_path / "clean.stopped.asn2v").exists()
    assert not (tmp_path / "clean.tif").exists()
    assert "autostructn2v denoise clean.stopped.asn2v noisy.tif -o clean.tif" in out
    assert "Traceback" not in err
    assert cli(tmp_path, "info clean.stopped.asn2v").returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_stop_ends_a_batch_at_once(tmp_path):
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, noisy(size=256))
    process = start(tmp_path, "run a.tif b.tif -o out --each --budget 50000steps")
    wait_for_line(process, "a: noise along x")
    time.sleep(2)  # Stage 1 trains

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "b: noise" not in out
    assert (tmp_path / "out" / "a.stopped.asn2v").exists()


def start(folder, line):
    return subprocess.Popen(
        [*COMMAND, *line.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def wait_for_line(process, start):
    """Read on until a line starts so; a process that hangs is killed."""
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            if line.startswith(start):
                return
    finally:
        watchdog.cancel()
    raise AssertionError(f"no line {start!r}: {process.stderr.read()}")


IMPORTS = """
import sys
{code}
names = {{name.split(".")[0] for name in sys.modules}}
print(*sorted(names & {{"torch", "napari", "qtpy", "PyQt6", "PySide6", "superqt", "magicgui"}}))
"""


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import napari_autostructn2v", []),
        ("import napari_autostructn2v.cli", []),
        ("from napari_autostructn2v import Config, InputError, events", []),
        ("from napari_autostructn2v import denoise, run, Model", ["torch"]),
        (
            "import importlib, pkgutil, napari_autostructn2v.engine as engine\n"
            "for found in pkgutil.walk_packages(engine.__path__, engine.__name__ + '.'):\n"
            "    importlib.import_module(found.name)",
            ["torch"],
        ),
    ],
)
def test_imports_stay_on_their_floor(code, loaded):
    """In a fresh process: the engine knows no Qt, and the package alone no torch."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(code=code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert done.stdout.split() == loaded


def test_help_names_every_command():
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)

    for command in ("demo", "run", "analyse", "denoise", "info"):
        assert command in done.stdout
