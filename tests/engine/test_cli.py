"""The command line as scripts meet it: exit codes, what is said, and what is left behind."""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_autostructn2v.cli.display import Display, say_quality
from napari_autostructn2v.cli.jobs import stop_flag
from napari_autostructn2v.cli.options import Measuring
from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.synthetic import sample

COMMAND = [sys.executable, "-m", "napari_autostructn2v"]
SMALL = Path(__file__).with_name("small.json")  # two networks that take a step in no time
QUICK = f"--budget 4steps --device cpu --config {shlex.quote(str(SMALL))}"
UNBUFFERED = {**os.environ, "PYTHONUNBUFFERED": "1"}


def noisy(seed=0, kind="horizontal", size=96):
    return sample("nuclei", kind, size=size, seed=seed, dtype=np.uint16).noisy


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cli):
    """Do a quick run and keep everything that can be kept of it."""
    folder = tmp_path_factory.mktemp("trained")
    tifffile.imwrite(folder / "noisy.tif", noisy())
    done = cli(
        folder,
        f"run noisy.tif -o clean.tif --report r.json --save-model m.asn2v --seed 3 {QUICK}",
    )
    assert done.code == 0, done.err
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
        assert line in done.out
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")
    assert "\x1b" not in done.out  # a log file is no terminal


def test_the_model_denoises_like_the_run(trained, cli):
    folder, _ = trained

    done = cli(folder, "denoise m.asn2v noisy.tif -o again.tif --tile 64")

    assert done.code == 0, done.err
    again, clean = (tifffile.imread(folder / f"{name}.tif") for name in ("again", "clean"))
    assert np.abs(again.astype(int) - clean).max() <= 1  # rounding


def test_info_names_what_the_model_holds(trained, cli):
    folder, _ = trained

    done = cli(folder, "info m.asn2v")

    assert done.code == 0, done.err
    assert "noisy" in done.out
    assert "seed" in done.out


def test_options_override_the_config_which_overrides_the_preset(tmp_path, cli):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(kind="white", size=64))  # one stage
    small = {"patch_size": 16, "batch_size": 2}
    config = {"budget": "3steps", "seed": 5, "stage1": {"learning_rate": 2e-3} | small}
    (tmp_path / "c.json").write_text(json.dumps(config))

    done = cli(
        tmp_path,
        "run noisy.tif -o out.zarr --preset best --config c.json --seed 6 --report r.json "
        "--dtype float32 --device cpu",
    )

    assert done.code == 0, done.err
    used = json.loads((tmp_path / "r.json").read_text())["config"]
    assert (used["budget"], used["seed"]) == ("3steps", 6)
    assert used["stage1"]["learning_rate"] == 2e-3
    assert used["stage1"]["network"]["features"] == 32  # the preset's
    assert (tmp_path / "out.zarr" / "zarr.json").exists()


def test_a_given_mask_is_used_and_overwrite_replaces(tmp_path, cli):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=64))
    tifffile.imwrite(tmp_path / "mask.tif", np.full((3, 1), 255, np.uint8))
    (tmp_path / "out.tif").write_text("old")

    done = cli(
        tmp_path, f"run noisy.tif -o out.tif --mask mask.tif --report r.json --overwrite {QUICK}"
    )

    assert done.code == 0, done.err
    assert json.loads((tmp_path / "r.json").read_text())["trained_mask"] == [[1], [1], [1]]
    assert tifffile.imread(tmp_path / "out.tif").shape == (64, 64)


def test_each_goes_on_after_a_bad_file(tmp_path, cli):
    data = tmp_path / "data"
    data.mkdir()
    tifffile.imwrite(data / "a.tif", noisy(0, size=64))
    (data / "b.tif").write_text("this is no image")
    tifffile.imwrite(data / "c.tif", np.full((64, 64), 7, np.uint8))
    tifffile.imwrite(data / "d.tif", noisy(1, size=64))

    done = cli(tmp_path, f"run data -o out --each --report reports --save-model models {QUICK}")

    assert done.code == 2, done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "d.tif"]
    reports = sorted(path.name for path in (tmp_path / "reports").iterdir())
    assert reports == ["a.json", "a.png", "d.json", "d.png"]
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["a.asn2v", "d.asn2v"]
    assert "2 of 4 inputs failed" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_each_of_two_inputs_of_one_name_keeps_its_report(tmp_path, cli):
    tifffile.imwrite(tmp_path / "a.tif", noisy(size=64))
    zarr.create_array(tmp_path / "a.zarr", data=noisy(size=64))

    done = cli(tmp_path, f"run a.tif a.zarr -o out --each --report r --save-model r {QUICK}")

    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == [
        "a-2.asn2v", "a-2.json", "a-2.png", "a.asn2v", "a.json", "a.png",
    ]  # fmt: skip


def test_an_experiment_is_kept_beside_the_results(tmp_path, cli):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=64))

    done = cli(tmp_path, f"run noisy.tif -o clean.tif --experiment e {QUICK}")

    assert done.code == 0, done.err
    assert (tmp_path / "e" / "final_results" / "clean.tif").exists()
    assert (tmp_path / "e" / "stage1" / "results" / "clean.tif").exists()


def test_analyse_says_what_the_noise_is(tmp_path, cli):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=256))

    done = cli(tmp_path, "analyse noisy.tif --report r.json --mask-out m.tif --plot p.png")

    assert done.code == 0, done.err
    report = json.loads((tmp_path / "r.json").read_text())
    mask = tifffile.imread(tmp_path / "m.tif")
    assert report["verdict"] == "along x"
    assert "along x" in done.out
    np.testing.assert_array_equal(mask, report["mask"])
    assert set(np.unique(mask)) == {1}
    assert mask.shape[0] == 1
    assert mask.shape[1] >= 7
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert len(report["images"][0]["channels"]) == 1


def test_analyse_measures_where_it_is_told(tmp_path, cli):
    rng = np.random.default_rng(0)
    image = rng.normal(100, 2, (128, 128)).astype(np.float32)
    image[:, 64:] = 20 * np.cumsum(rng.normal(size=(128, 64)), 1)
    tifffile.imwrite(tmp_path / "half.tif", image)
    tifffile.imwrite(tmp_path / "dark.tif", np.float32(rng.normal(0, 7, (96, 96))))
    frames = np.float32(sample("texture", "white", 96).clean + rng.normal(0, 3, (4, 96, 96)))
    tifffile.imwrite(tmp_path / "frames.tif", frames, photometric="minisblack")

    for line, sigma in (
        ("half.tif --region 0,128,0,64", 2),
        ("half.tif --dark dark.tif", 7),
        ("frames.tif --source frames --axes TYX", 3),
    ):
        done = cli(tmp_path, f"analyse {line} --report r.json --overwrite")
        assert done.code == 0, done.err
        report = json.loads((tmp_path / "r.json").read_text())
        assert report["verdict"] == "unstructured"
        assert report["noise_sigma"] == pytest.approx(sigma, rel=0.05)
        assert report["config"]["structure"]["mask_source"] in line


def test_analyse_scores_a_mask(tmp_path, cli):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=256))
    tifffile.imwrite(tmp_path / "one.tif", np.ones((1, 1), np.uint8))
    tifffile.imwrite(tmp_path / "nine.tif", np.ones((1, 9), np.uint8))

    narrow, wide = (cli(tmp_path, f"analyse noisy.tif --score {n}.tif") for n in ("one", "nine"))

    assert "one.tif for noisy: 1 px hidden, leak 6" in narrow.out
    assert "more pixels to the left and right would help" in narrow.out
    assert "nine.tif for noisy: 9 px hidden, leak 0.0%" in wide.out


def test_a_mask_found_on_one_data_set_trains_another(tmp_path, cli):
    tifffile.imwrite(tmp_path / "day1.tif", noisy(seed=1, kind="row_offsets", size=256))
    tifffile.imwrite(tmp_path / "day2.tif", noisy(seed=2, kind="white", size=64))

    assert cli(tmp_path, "analyse day1.tif --mask-out mask.tif").code == 0
    done = cli(
        tmp_path,
        f"run day2.tif -o out.tif --mask mask.tif --report r.json --save-model m.asn2v {QUICK}",
    )

    assert done.code == 0, done.err
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["mask"] == [[1]]
    assert report["trained_mask"] == [[1] * 127]
    assert "mask: 127 px in 1 x 127" in done.out
    assert Model.load(tmp_path / "m.asn2v").units[0].mask.shape == (1, 127)


def test_the_quality_card_is_told_at_the_end(capsys):
    say_quality(
        {
            "stages": {"stage1": {"gain_db": 1.0}, "stage2": {"gain_db": 7.25}},
            "recommended": "stage2",
            "check": {"sentence": "What was taken away is the noise."},
            "meaning": {"gain_db": {"title": "Estimated gain"}},
        }
    )
    text = capsys.readouterr().out

    assert "Estimated gain" in text
    assert "7.2 dB" in text
    assert "recommended: Stage 2" in text
    assert "check: What was taken away is the noise." in text


def test_nothing_is_said_of_a_quality_that_is_not_known(capsys):
    say_quality({})

    assert capsys.readouterr().out == ""


def test_options_for_the_source_exclude_each_other():
    for given in ({"source": "raw", "region": "0,64,0,64"}, {"region": "0,64,0,64", "dark": "d"}):
        with pytest.raises(InputError, match="give one of them"):
            Measuring(**given).fields()
    with pytest.raises(InputError, match="'1,2,3' is not understood"):
        Measuring(region="1,2,3").fields()
    assert Measuring(region="0, 64, 8, 72").fields() == {
        "mask_source": "region",
        "region": [0, 64, 8, 72],
    }


def test_demo_writes_its_sample_and_its_picture(tmp_path, cli):
    done = cli(tmp_path, "demo -o out --budget 4steps --device cpu")

    assert done.code == 0, done.err
    assert (tmp_path / "out" / "autostructn2v-demo.png").read_bytes().startswith(b"\x89PNG")
    assert tifffile.imread(tmp_path / "out" / "autostructn2v-demo-noisy.tif").shape == (512, 512)
    assert "18.00 dB" in done.out
    assert "along x" in done.out


def test_mask_and_page_are_of_the_first_image_that_has_noise(tmp_path, cli):
    tifffile.imwrite(tmp_path / "blank.tif", np.zeros((64, 64), np.uint16))
    tifffile.imwrite(tmp_path / "good.tif", noisy(size=128))
    for line in (
        "analyse blank.tif good.tif --mask-out m.tif --plot p.png",
        f"run blank.tif good.tif -o o --report r.json {QUICK}",
    ):
        done = cli(tmp_path, line)
        assert done.code == 0, done.err
    assert tifffile.imread(tmp_path / "m.tif").size > 1
    assert (tmp_path / "p.png").exists()
    assert (tmp_path / "r.png").exists()


@pytest.fixture
def interrupt(monkeypatch):
    """Let a signal arrive when the first step is shown, as if someone pressed Ctrl-C then."""

    def at_the_first_step(number):
        due, show = [number], Display.show

        def watched(self, event):
            show(self, event)
            if due and isinstance(event, events.Progress):
                signal.raise_signal(due.pop())

        monkeypatch.setattr(Display, "show", watched)

    hang_up = getattr(signal, "SIGHUP", None)
    before = hang_up and signal.signal(hang_up, signal.SIG_DFL)  # nohup would ignore it
    yield at_the_first_step
    if hang_up:
        signal.signal(hang_up, before)


LONG = QUICK.replace("4steps", "50000steps")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_stopped_run_keeps_its_model(tmp_path, cli, interrupt, number):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy())
    interrupt(getattr(signal, number))

    done = cli(tmp_path, f"run noisy.tif -o clean.tif {LONG}")

    assert done.code == 130, done.err
    assert (tmp_path / "clean.stopped.asn2v").exists()
    assert not (tmp_path / "clean.tif").exists()
    assert "autostructn2v denoise clean.stopped.asn2v noisy.tif -o clean.tif" in done.out
    assert cli(tmp_path, "info clean.stopped.asn2v").code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("number", ["SIGINT", "SIGHUP"])
def test_a_process_that_is_stopped_keeps_its_model(tmp_path, number):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy())
    # Stage 1 is soon done, and Stage 2 trains on and on.
    config = json.loads(SMALL.read_text()) | {"training": {"stage1_share": 0.0001}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    process = start(tmp_path, "run noisy.tif -o clean.tif --config c.json --budget 50000steps")
    wait_for_line(process, "Stage 1")

    process.send_signal(getattr(signal, number))
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert (tmp_path / "clean.stopped.asn2v").exists()
    assert "autostructn2v denoise clean.stopped.asn2v noisy.tif -o clean.tif" in out
    assert "Traceback" not in err


def test_a_model_stopped_before_its_last_channel_is_not_said_to_denoise(tmp_path, cli, interrupt):
    image = np.stack([noisy()] * 2)
    tifffile.imwrite(tmp_path / "noisy.tif", image, imagej=True, metadata={"axes": "CYX"})
    config = json.loads(SMALL.read_text()) | {"network_per_channel": True}
    (tmp_path / "c.json").write_text(json.dumps(config))
    interrupt(signal.SIGINT)

    done = cli(tmp_path, "run noisy.tif -o clean.tif --config c.json --budget 50000steps")

    assert done.code == 130, done.err
    assert "clean.stopped.asn2v; the model has no network for channel 1" in done.out
    assert "autostructn2v denoise" not in done.out


def test_stop_ends_a_batch_at_once(tmp_path, cli, interrupt):
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(tmp_path / name, noisy())
    interrupt(signal.SIGINT)

    done = cli(tmp_path, f"run a.tif b.tif -o out --each {LONG}")

    assert done.code == 130, done.err
    assert "b: noise" not in done.out
    assert (tmp_path / "out" / "a.stopped.asn2v").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_under_nohup_a_terminal_may_close():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stop_flag() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_fails_beside_a_result_costs_only_itself(tmp_path, monkeypatch, cli):
    """A report that can't be written, an observer that breaks: image and model are there."""
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=64))

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "there")

    monkeypatch.setattr("napari_autostructn2v.cli.jobs.write_json", fail)
    monkeypatch.setattr("napari_autostructn2v.engine.reporting.experiment.Experiment.observe", fail)
    monkeypatch.setattr("napari_autostructn2v.cli.display.Display.show", fail)
    line = f"run noisy.tif -o o.tif --report r.json --save-model m.asn2v --experiment e {QUICK}"

    done = cli(tmp_path, line)

    assert done.code == 2
    assert done.err.splitlines() == ["autostructn2v: there: No space left on device"] * 3
    assert "wrote o.tif, m.asn2v, e, r.png" in done.out
    assert all((tmp_path / name).exists() for name in ("o.tif", "m.asn2v", "r.png"))


def test_the_stage_that_is_asked_for_is_written_and_named(tmp_path, cli):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(size=64))
    named = "the result is from Stage 1"
    for stage in ("stage1", "stage2"):
        done = cli(
            tmp_path,
            f"run noisy.tif -o {stage}.tif --stage {stage} --report {stage}.json "
            f"--save-model {stage}.asn2v --experiment {stage} {QUICK}",
        )
        assert done.code == 0, done.err
        report = json.loads((tmp_path / f"{stage}.json").read_text())
        assert report["result"] == report["config"]["result"] == stage
        assert (named in done.out) == (stage == "stage1")
        result = tifffile.imread(tmp_path / f"{stage}.tif")
        for kept in (f"{stage}/results", "final_results"):
            np.testing.assert_array_equal(
                tifffile.imread(tmp_path / stage / kept / f"{stage}.tif"), result
            )
        for other in ("stage1", "stage2"):
            done = cli(
                tmp_path, f"denoise {stage}.asn2v noisy.tif -o d.tif --stage {other} --overwrite"
            )
            assert np.array_equal(tifffile.imread(tmp_path / "d.tif"), result) == (other == stage)
            assert (named in done.out) == (other == "stage1")


def start(folder, line):
    return subprocess.Popen(
        [*COMMAND, *line.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=UNBUFFERED,
        # Under nohup a child would ignore a terminal that closes.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
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


def test_help_names_every_command(tmp_path, cli):
    done = cli(tmp_path, "--help")

    for command in ("demo", "run", "analyse", "denoise", "info"):
        assert command in done.out
