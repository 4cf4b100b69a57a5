import contextlib
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_autostructn2v import Config, Model, run
from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.data.sink import ArraySink
from napari_autostructn2v.engine.denoising import consume
from napari_autostructn2v.engine.reporting.script import NO_FILE, as_command, as_script
from napari_autostructn2v.engine.synthetic import sample

CONFIG = Config.parse(
    {
        "budget": "5steps",
        "seed": 3,
        "device": "cpu",
        "axes": "YX",
        "dtype": "float32",
        "stage1": {"patch_size": 32, "learning_rate": 3e-3, "network": {"features": 4}},
        "stage2": {"patch_size": 32, "network": {"features": 4}},
        "structure": {"mask_source": "array", "mask": [[1, 1, 1]]},
    }
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """An image in an awkwardly named folder, and the direct run on it: (image, model, result)."""
    folder = tmp_path_factory.mktemp("it's a $HOME [1]")
    image = folder / "a b.tif"
    tifffile.imwrite(image, sample("nuclei", "horizontal", size=64, seed=1).noisy)
    sink = ArraySink()
    with open_source(image, CONFIG.axes) as source:
        model = consume(run(source, CONFIG, sink=sink)).model
    model.save(folder / "m 1.asn2v")
    return image, folder / "m 1.asn2v", sink.final[0]


def same(path, result):
    return np.testing.assert_allclose(tifffile.imread(path), result, rtol=1e-3, atol=1e-3)


def run_script(text, folder):
    (folder / "script.py").write_text(text)
    with contextlib.chdir(folder):
        runpy.run_path("script.py")


def test_the_script_gives_the_result_of_the_run(done, tmp_path):
    image, _, result = done
    run_script(as_script(CONFIG, [image], tmp_path / "out.tif"), tmp_path)
    same(tmp_path / "out.tif", result)


@pytest.mark.skipif(shutil.which("sh") is None, reason="for a POSIX shell")
def test_the_command_gives_the_result_of_the_run(done, tmp_path):
    image, _, result = done
    programs = Path(sys.executable).parent
    ended = subprocess.run(
        as_command(CONFIG, [image], tmp_path / "out.tif"), shell=True, cwd=tmp_path, check=False,
        capture_output=True, text=True,
        env={**os.environ, "PATH": os.pathsep.join([str(programs), os.environ["PATH"]])},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    same(tmp_path / "out.tif", result)


def test_a_model_is_applied_by_script_and_command(done, tmp_path, cli):
    image, model, result = done
    run_script(as_script(CONFIG, [image], tmp_path / "s.tif", model), tmp_path)
    same(tmp_path / "s.tif", result)
    config = CONFIG.model_copy(update={"tile": 64})
    command = as_command(config, [image], tmp_path / "c.tif", model)
    ended = cli(tmp_path, command.removeprefix("autostructn2v "))
    assert ended.code == 0, ended.err
    same(tmp_path / "c.tif", result)
    assert Model.load(model).stages == ("stage1", "stage2")


def test_a_script_says_only_what_differs_from_the_defaults():
    assert as_script(Config(), [Path("a.tif"), None], Path("out")).partition("\n\n")[2] == (
        f"""\
from napari_autostructn2v import Config, FileSink, consume, find_sources, output_paths, run

config = Config()
images = [
    'a.tif',
    '{NO_FILE}',  # this image is only in memory: save it and put its path here
]
sources = find_sources(images, config.axes)
sink = FileSink(output_paths('out', sources))
consume(run(sources, config, sink=sink))
"""
    )
    text = as_script(CONFIG, [Path("a.tif")], Path("out.tif"))
    (line,) = (line for line in text.splitlines() if "learning_rate" in line)
    assert line == "        'learning_rate': 0.003,"
    assert text.count("patch_size") == 2
    assert "batch_size" not in text


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ({}, ""),
        ({"budget": "2min", "seed": 4}, " --budget 120s --seed 4"),
        ({"structure": {"mask_source": "file", "mask_file": "m 1.tif"}}, " --mask 'm 1.tif'"),
        (
            {"dtype": "float32", "stage1": {"patch_size": 32}},
            " --dtype float32 --config /dev/stdin <<'END'\n"
            '{\n "stage1": {\n  "patch_size": 32\n }\n}\nEND',
        ),
    ],
)
def test_a_command_uses_options_where_there_are_any(values, options):
    command = as_command(Config.parse(values), [Path("a.tif"), Path("-b.tif"), None], Path("out"))
    assert command == f"autostructn2v run a.tif ./-b.tif {NO_FILE} -o out{options}"
    applied = as_command(
        Config.parse({**values, "tile": 64}), [Path("a.tif")], Path("out"), Path("m.asn2v")
    )
    assert applied.startswith("autostructn2v denoise m.asn2v a.tif -o out --tile 64")
    assert "budget" not in applied
    assert "END" not in applied


def test_the_stage_that_was_asked_for_is_written_down(tmp_path):
    config = Config.parse({"result": "stage1"})
    image, out, model = (tmp_path / name for name in ("a.tif", "o.tif", "m.asn2v"))
    assert as_command(config, [image], out).endswith("--stage stage1")
    assert as_command(config, [image], out, model).endswith("--stage stage1")
    assert "'result': 'stage1'" in as_script(config, [image], out)
    assert "sink=sink, stage='stage1')" in as_script(config, [image], out, model)
