"""Bad usage and bad input, command by command: one line on the standard error, and nothing done."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from napari_autostructn2v.cli import main
from napari_autostructn2v.engine.synthetic import sample

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


def tree(folder):
    return {
        path.relative_to(folder): path.is_file() and (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Everything that is not a good input, in one folder."""
    folder = tmp_path_factory.mktemp("bad")
    tifffile.imwrite(
        folder / "good.tif", sample("nuclei", "horizontal", size=96, dtype=np.uint16).noisy
    )
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
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "deeper.json").write_text('{"stage1":' * 900 + "1" + "}" * 900)
    (folder / "many.json").write_text(json.dumps({f"key{i}": 1 for i in range(2000)}))
    (folder / "long.json").write_text(json.dumps({"seed": "7" * 100_000, "x" * 100_000: 1}))
    (folder / "digits.json").write_text('{"seed": ' + "9" * 10_000 + "}")
    (folder / "preset.json").write_text('{"preset": ["fast"]}')
    (folder / "logs.json").write_text('{"budget": "2steps", "tensorboard": "notes.txt/logs"}')
    (folder / "nan.json").write_text('{"stage1": {"learning_rate": NaN}}')
    (folder / "null.json").write_text('{"stage1_model": "a\\u0000b"}')
    (folder / "bytes.json").write_text('{"stage1_model": "a\\udcffb"}')
    (folder / "original.json").write_text('{"input_dir": "", "num_epochs": [[]], "stage1": 3}')
    (folder / "loop.tif").symlink_to("loop.tif")
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "zero.tif").symlink_to("/dev/zero")
    (folder / "zero.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.tif")
    os.mkfifo(folder / "pipe.json")
    os.mkfifo(folder / "pipe.asn2v")
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
    "run good.tif -o out.tif --mask good.tif --source raw": "leave out --source",
    "analyse constant.tif": "constant",
    "analyse good.tif --source rows": "mask_source",
    "analyse good.tif --source region": "region is not set",
    "analyse good.tif --region 0,900,0,64": "good",
    "analyse good.tif --source frames": "good",
    "analyse good.tif --dark missing.tif": "missing.tif",
    "analyse good.tif --score hole.tif": "central pixel",
    "analyse good.tif --plot notes.txt": "notes.txt exists",
    "info fake.asn2v": "fake.asn2v",
    "info missing.asn2v": "missing.asn2v",
    "denoise fake.asn2v good.tif -o out.tif": "fake.asn2v",
    "run good.tif -o out.tif --stage third": "config: result",
    "run good.tif -o out.tif --budget infs": "budget 'infs'",
    "run good.tif -o out.tif --budget nans": "budget 'nans'",
    f"run good.tif -o out.tif --budget {'9' * 400}s": "is more than 1e+09 seconds",
    f"run good.tif -o out.tif --budget {'9' * 400}steps": "is more than 1e+09 steps",
    f"run good.tif -o out.tif --seed {'9' * 400}": "seed",
    "run good.tif -o out.tif --device cuda:99999999999999999999": "device",
    "run good.tif -o out.tif --device cuda:255": "device",
    "run good.tif -o out.tif --config deep.json": "nested too deeply",
    "run good.tif -o out.tif --config deeper.json": "unknown key",
    "run good.tif -o out.tif --config many.json": "and 1995 more",
    "run good.tif -o out.tif --config long.json": "config",
    "run good.tif -o out.tif --config digits.json": "digits.json",
    "run good.tif -o out.tif --config preset.json": "preset ['fast']",
    "run good.tif -o out.tif --config logs.json": "notes.txt/logs cannot be written",
    "run good.tif -o out.tif --config nan.json": "learning_rate",
    "run good.tif -o out.tif --config null.json": "is not a valid file name",
    "run good.tif -o out.tif --config bytes.json": "is not UTF-8",
    "run good.tif -o out.tif --config original.json": "stage1 must be an object",
    "run good.tif -o out.tif --config empty": "config empty is a folder",
    "run good.tif -o out.tif --config loop.json": "loop.json",
    "run good.tif -o out.tif --config pipe.json": "pipe.json is a pipe",
    "run good.tif -o out.tif --config zero.json": "zero.json is a pipe, a socket or a device",
    "run pipe.tif -o out.tif": "pipe.tif",
    "run loop.tif -o out.tif": "loop.tif",
    "run zero.tif -o out.tif": "zero.tif",
    "run good.tif -o loop.tif --overwrite": "loop.tif is not a file",
    "run good.tif -o out.tif --mask pipe.tif": "pipe.tif",
    "run good.tif -o out.tif --dark zero.tif": "zero.tif",
    "run good.tif -o out.tif --report .": "holds the input good.tif",
    "run good.tif -o out.tif --report empty": "empty is a folder",
    "run good.tif -o out.tif --report out.tif": "two outputs would be written to out.tif",
    "run good.tif -o good2/ --report good.json --save-model good.png": "two outputs",
    "run good.tif -o out.tif --report good.tif --overwrite": "would replace the input good.tif",
    "run good.tif -o out.tif --save-model hole.tif --mask hole.tif --overwrite": "the input hole",
    "run good.tif -o out.tif --report syntax.json --config range.json --overwrite": "patch_size",
    "run good.tif constant.tif -o out --each --save-model good.tif": "lie in the input",
    "analyse good.tif --plot good.tif --overwrite": "would replace the input good.tif",
    "analyse good.tif --mask-out m.tif --plot m.tif": "two outputs would be written to m.tif",
    "analyse good.tif --dark constant.tif --report constant.tif --overwrite": "the input constant",
    f"analyse {'x' * 300}.tif": "304 bytes",
    f"analyse good.tif --report {'x' * 300}": "300 bytes",
    f"analyse good.tif --config {'x' * 300}": "300 bytes",
    f"analyse good.tif --score {'x' * 300}": "300 bytes",
    f"run good.tif -o out.tif --mask {'x' * 300}": "300 bytes",
    f"run good.tif -o out.tif --experiment {'x' * 250}": "7 bytes too long",
    f"run good.tif -o out.tif --report {'x' * 244}": "1 bytes too long",
    f"run good.tif -o {'x' * 300}/out.tif": "300 bytes",
    f"info {'x' * 300}": "300 bytes",
    "info pipe.asn2v": "pipe.asn2v is a pipe",
    "info empty": "empty is a folder",
    "denoise pipe.asn2v good.tif -o out.tif": "pipe.asn2v is a pipe",
    "demo -o notes.txt": "cannot be written",
    "demo -o out --budget never": "budget 'never'",
}


@pytest.fixture(scope="module")
def refusals(bad):
    """Every bad command line, its exit code and standard error; the folder before and after."""
    before, done = tree(bad), {}
    with contextlib.chdir(bad):
        for line in BAD:
            told = io.StringIO()
            with contextlib.redirect_stderr(told), pytest.raises(SystemExit) as end:
                main(line.split())
            done[line] = end.value.code, told.getvalue()
    return done, before, tree(bad)


@pytest.mark.parametrize("line", BAD, ids=lambda line: line[:60])
def test_bad_input_is_told_in_one_line(refusals, line):
    code, told = refusals[0][line]

    assert code == 2, told
    assert told.startswith("autostructn2v: ")
    assert len(told.splitlines()) == 1
    assert len(told) < 1000
    assert BAD[line] in told


def test_bad_input_ends_the_process_with_2(bad):
    done = subprocess.run(
        [sys.executable, "-m", "napari_autostructn2v", "analyse", "truncated.tif"],
        cwd=bad, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.startswith("autostructn2v: truncated.tif is damaged")
    assert len(done.stderr.splitlines()) == 1


def test_bad_input_leaves_nothing_behind(refusals):
    _, before, after = refusals

    assert after == before
