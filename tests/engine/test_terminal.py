"""What is printed is not the result: a terminal that fails or knows few letters ends nothing."""

from __future__ import annotations

import doctest
import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import tifffile

from napari_autostructn2v.cli import display, main, terminal
from napari_autostructn2v.cli.terminal import complain, plain
from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.normalise import Normalisation
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.model.model import ChannelModel
from napari_autostructn2v.engine.networks.unet import UNet
from napari_autostructn2v.engine.synthetic import sample

STAGE = {"patch_size": 16, "batch_size": 2, "network": {"features": 4, "depth": 1}}
SMALL = {
    "budget": "2steps",
    "device": "cpu",
    "stage1": STAGE,
    "stage2": STAGE,
}
COMMANDS = {  # and what they write
    "run noisy.tif -o o.tif --config c.json --report r.json --save-model n.asn2v": (
        "o.tif r.json r.png n.asn2v"
    ),
    "run noisy.tif -o out --each --config c.json": "out/noisy.tif",
    "analyse noisy.tif --report r.json --mask-out m.tif --plot p.png": "r.json m.tif p.png",
    "denoise m.asn2v noisy.tif -o o.tif": "o.tif",
    "info m.asn2v": "",
}


class Broken(io.StringIO):
    """A stream that can't be written: its reader has gone, or the disk is full."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


BROKEN = {
    "closed pipe": BrokenPipeError(errno.EPIPE, "Broken pipe"),
    "full disk": OSError(errno.ENOSPC, "No space left on device"),
    "closed terminal": OSError(errno.EIO, "Input/output error"),
    "closed file": ValueError("I/O operation on closed file"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("noisy.tif", sample("nuclei", "horizontal", size=64, dtype=np.uint16).noisy)
    (tmp_path / "c.json").write_text(json.dumps(SMALL))
    tiny_model().save("m.asn2v")
    return tmp_path


def tiny_model(**provenance):
    config = Config.parse(SMALL)
    unit = ChannelModel({"stage1": UNet(config.stage1.network).eval()}, sigma=20.0)
    return Model(config, Normalisation((900.0,), (300.0,)), (unit,), provenance)


def end_of(line):
    with pytest.raises(SystemExit) as end:
        main(line.split())
    return end.value.code


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_does_its_work_though_nobody_listens(folder, monkeypatch, line):
    error = BROKEN["closed pipe"] if "--report" in line else BROKEN["full disk"]
    monkeypatch.setattr(sys, "stdout", Broken(error))
    monkeypatch.setattr(sys, "stderr", Broken(error))

    assert end_of(line) == 0
    assert all((folder / name).exists() for name in COMMANDS[line].split())


@pytest.mark.parametrize("broken", [*BROKEN, None])
def test_whatever_is_wrong_with_the_stream(folder, monkeypatch, broken):
    stream = None if broken is None else Broken(BROKEN[broken])
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)

    assert end_of("analyse noisy.tif --mask-out m.tif") == 0
    assert end_of("analyse none.tif") == 2
    assert (folder / "m.tif").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
@pytest.mark.parametrize("redirection", [">/dev/full 2>&1", ">&- 2>&-", "| true"])
def test_a_process_ends_well_though_nobody_listens(folder, redirection):
    line = f"{sys.executable} -m napari_autostructn2v analyse noisy.tif --mask-out m.tif"
    line = f"set -o pipefail; {line} {redirection}"

    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert tifffile.imread(folder / "m.tif").ndim == 2


GREEK, CHINESE, FRENCH, BYTES = "\u03b1-tubulin", "\u7d30\u80de", "caf\u00e9", "n\udcff"


@pytest.mark.parametrize(
    ("name", "encoding", "more"),
    [
        (GREEK, "ascii", " --plot p.png"),
        (CHINESE, "cp1252", " --plot p.png"),
        (BYTES, "utf-8", " --plot p.png"),
        (FRENCH, "latin-1", ""),
        (FRENCH, "ascii", ""),
        (GREEK, "latin-1", ""),
        (BYTES, "ascii", ""),
        (CHINESE, "utf-8", ""),
    ],
)
def test_a_name_that_the_terminal_cannot_write(folder, monkeypatch, name, encoding, more):
    (folder / "noisy.tif").rename(f"{name}.tif")
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding)
    monkeypatch.setattr(sys, "stdout", stream)

    assert end_of(f"analyse {name}.tif --mask-out {name}-mask.tif{more}") == 0
    assert (folder / f"{name}-mask.tif").exists()
    assert (folder / "p.png").exists() == bool(more)
    told = written.getvalue().decode(encoding)
    assert f"{name}-mask".encode(encoding, "backslashreplace").decode(encoding) in told


EVIL = {
    "colour": "a\x1b[31m",
    "title": "a\x1b]0;b\x07",
    "eight bits": "a\x9b2J",
    "line": "a\nb\r",
    "direction": "a\u202eb\u2066",
    "line separator": "a\u2028",
    "null": "a\x00",
}


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)
def test_what_would_move_the_cursor_is_shown_as_an_escape(text):
    assert plain(text).isprintable()
    assert plain(text).encode().decode("unicode_escape") == text


def test_a_stranger_s_text_moves_no_cursor(folder, capsys):
    text = "".join(EVIL.values())
    name = text.replace("\x00", "")
    (folder / "noisy.tif").rename(f"{name}.tif")
    tiny_model(device=text, **{text: text}).save(f"{name}.asn2v")
    for line in (
        ["analyse", f"{name}.tif"],
        ["analyse", f"none {name}"],
        ["info", f"{name}.asn2v"],
        ["denoise", f"{name}.asn2v", f"{name}.tif", "-o", f"o {name}.tif"],
        ["run", f"{name}.tif", "-o", "o.tif", "--config", "c.json", "--report", f"{name}.json"],
        ["run", f"{name}.tif", "-o", "p.tif", "--preset", text],
        [text],
    ):
        with pytest.raises(SystemExit):
            main(line)
        told = capsys.readouterr()
        assert all(c.isprintable() or c == "\n" for c in told.out + told.err)
        assert len(told.err.splitlines()) <= 1
        assert plain(name)[:2] in told.out + told.err


def test_what_is_checked_is_told(capsys):
    with display.Display() as shown:
        shown.show(events.Checked("stage2", "leaks", "Noise \x1bcomes back.", True, repaired=True))
        shown.show(events.Checked("stage2", "fits", "It is the noise.", False, channel=1))
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "check: Noise \\x1bcomes back.; Stage 2 starts again with a wider mask",
        "check, channel 1: It is the noise.",
    ]


def test_a_complaint_is_one_line_however_long_its_cause(capsys):
    assert complain("x" * 10**6) == 2
    told = capsys.readouterr().err
    assert len(told) < 3000
    assert len(told.splitlines()) == 1


def test_only_our_own_warnings_are_told(capsys):
    with terminal.outlets():
        logging.getLogger("tifffile").error("<TiffPage 0> is corrupt")
        logging.getLogger("napari_autostructn2v.engine.training.tensorboard").warning(
            "no more logs"
        )
    assert capsys.readouterr().err == "autostructn2v: no more logs\n"


def test_only_our_own_lines_are_told_of_a_thread(capsys):
    with terminal.outlets():
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        warnings.warn("divide by zero", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == ""


def test_the_examples_are_true():
    assert doctest.testmod(terminal).failed == 0
