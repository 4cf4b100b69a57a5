"""However a command fails: one line, the right exit code, and a traceback in a file alone."""

from __future__ import annotations

import errno
import tempfile

import numpy as np
import pytest
import tifffile
import torch

from napari_autostructn2v.cli import main
from napari_autostructn2v.cli.failures import tell, worst
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.mask import analysis
from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.engine.training import loop

ERRORS = {
    "input": (InputError("a.tif is damaged"), 2, "a.tif is damaged"),
    "memory": (MemoryError(), 2, "out of memory"),
    "allocator": (RuntimeError("[enforce fail] can't allocate memory"), 2, "out of memory"),
    "device": (torch.OutOfMemoryError("CUDA out of memory.\nTried"), 2, "out of memory"),
    "disk": (OSError(errno.ENOSPC, "No space left on device", "o.tif"), 2, "o.tif: No space left"),
    "server": (OSError(errno.EIO, "Input/output error"), 2, "Input/output error"),
    "name": (OSError(errno.ENAMETOOLONG, "File name too long", "a"), 2, "a: File name too long"),
    "bug": (KeyError("nothing\nto see"), 1, "this is a bug, please report it with "),
    "recursion": (RecursionError("maximum recursion depth exceeded"), 1, "this is a bug"),
    "interrupt": (KeyboardInterrupt(), 130, ""),
}


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_one_line(capsys, temporary, kind):
    error, code, told = ERRORS[kind]

    assert tell(error) == code
    line = capsys.readouterr().err
    assert told in line
    assert len(line.splitlines()) == bool(told)
    assert "Traceback" not in line
    assert len(list(temporary.iterdir())) == (code == 1)


def test_a_bug_s_traceback_is_in_a_file_that_is_named(capsys, temporary):
    try:
        raise KeyError("lost")
    except KeyError as error:
        tell(error, "a.tif")
    (file,) = temporary.iterdir()
    assert capsys.readouterr().err.startswith(
        f"autostructn2v: a.tif: this is a bug, please report it with {file}: KeyError: 'lost'"
    )
    text = file.read_text("utf-8")
    assert "test_a_bug_s_traceback_is_in_a_file_that_is_named" in text
    assert "napari-autostructn2v" in text


def test_a_bug_hides_behind_nothing():
    assert worst([2, 1, 2]) == 1
    assert worst([2, 2]) == 2


def fail(error):
    def raises(*_, **__):
        raise error

    return raises


OWN = {  # what breaks in a command, and what is said of it
    "analyse a.tif": (analysis, "analyse"),
    "run a.tif -o o.tif --budget 2steps": (loop.Task, "loss"),
    "run a.tif a.tif b.tif -o o --each --budget 2steps": (loop.Task, "loss"),
    "info m.asn2v": (Model, "load"),
}


@pytest.mark.parametrize("line", OWN)
@pytest.mark.parametrize("kind", ["memory", "bug", "server"])
def test_every_command_tells_it_so(tmp_path, capsys, monkeypatch, line, kind):
    monkeypatch.chdir(tmp_path)
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(name, sample("nuclei", size=64, dtype=np.uint16).noisy)
    error, code, told = ERRORS[kind]
    monkeypatch.setattr(*OWN[line], fail(error))

    with pytest.raises(SystemExit) as end:
        main(line.split())

    lines = capsys.readouterr().err.splitlines()
    assert end.value.code == code
    assert len(lines) == (3 if "--each" in line else 1)
    assert told in lines[0]
