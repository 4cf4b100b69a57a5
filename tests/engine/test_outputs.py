"""What is read and written is compared before any work: nothing replaces what it should not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from napari_autostructn2v.engine.data.outputs import check_outputs, refuse_clashes
from napari_autostructn2v.engine.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two images, links to one, a Zarr, an experiment's folder, and things that are no files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.tif").write_text("an image")
    (tmp_path / "old.json").write_text("{}")
    (tmp_path / "stack.zarr" / "0").mkdir(parents=True)
    (tmp_path / "stack.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("precious")
    os.symlink("in.tif", "link.tif")
    os.link("in.tif", "hard.tif")
    os.symlink("loop.tif", "loop.tif")
    os.symlink(tmp_path, "here")
    os.mkfifo("fifo.json")
    return tmp_path


LONG = "x" * 240
CLASHES = {  # results, files, experiments, folders; what is read; what the sentence says
    "input": ("in.tif", "", "", "", "in.tif", "in.tif would replace the input in.tif"),
    "side": ("o.tif", "in.tif", "", "", "in.tif", "in.tif would replace the input"),
    "other spelling": ("o.tif", "./full/../in.tif", "", "", "in.tif", "would replace the input"),
    "link": ("link.tif", "", "", "", "in.tif", "would replace the input in.tif"),
    "hard link": ("hard.tif", "", "", "", "in.tif", "would replace the input in.tif"),
    "linked folder": ("here/in.tif", "", "", "", "in.tif", "would replace the input in.tif"),
    "read by a link": ("in.tif", "", "", "", "link.tif", "would replace the input link.tif"),
    "in a Zarr": ("o.tif", "stack.zarr/r.json", "", "", "stack.zarr", "lie in the input"),
    "deep in a Zarr": ("stack.zarr/0/o.zarr", "", "", "", "stack.zarr", "lie in the input"),
    "experiment in a Zarr": ("o.tif", "", "stack.zarr/e", "", "stack.zarr", "lie in the input"),
    "logs in a Zarr": ("o.tif", "", "", "stack.zarr/e", "stack.zarr", "lie in the input"),
    "around an input": ("stack.zarr", "", "", "", "stack.zarr/zarr.json", "holds the input"),
    "twice": ("o.tif", "o.tif", "", "", "", "two outputs would be written to o.tif"),
    "twice, by a link": ("o.tif", "here/o.tif", "", "", "", "two outputs would be written to"),
    "letter case": ("o.tif", "O.TIF", "", "", "", "two outputs would be written to O.TIF"),
    "one sign, two codes": ("\u00fc.tif", "u\u0308.tif", "", "", "", "two outputs"),
    "in an output": ("o.zarr", "o.zarr/r.json", "", "", "", "would lie in o.zarr"),
    "in an experiment": ("e/o.tif", "", "e", "", "", "e/o.tif would lie in e"),
    "experiment in a file": ("o.tif", "", "o.tif/e", "", "", "o.tif/e would lie in o.tif"),
    "logs for a file": ("o.tif", "", "", "o.tif", "", "o.tif would lie in o.tif"),
    "exists": ("o.tif", "in.tif", "", "", "", "in.tif exists"),
    "suffix": ("o.png", "", "", "", "", "as .tif or .zarr"),
    "a folder": ("o.tif", "full", "", "", "", "full is a folder"),
    "loop": ("loop.tif", "", "", "", "", "loop.tif exists"),
    "a folder that is full": ("o.tif", "", "full", "", "", "not an empty folder"),
    "a file for logs": ("o.tif", "", "", "in.tif", "", "in.tif is not a folder"),
    "logs in a file": ("o.tif", "", "", "in.tif/logs", "", "cannot be written: Not a directory"),
    "long": (f"{LONG}.tif", "", "", "", "", "1 bytes too long"),
    "long in bytes": ("\u00fc" * 120 + ".tif", "", "", "", "", "1 bytes too long"),
    "too long": (f"{LONG * 2}.tif", "", "", "", "", "484 bytes, more than the 255 allowed"),
    "long folder": (f"{LONG * 2}/o.tif", "", "", "", "", "480 bytes, more than the 255 allowed"),
    "deep": ("a/" * 2000 + "o.tif", "", "", "", "", "is too long; choose a shorter one"),
}


def paths(text):
    return [Path(word) for word in text.split()]


@pytest.mark.parametrize("case", CLASHES)
def test_a_clash_is_refused_in_one_sentence(folder, case):
    *given, reads, told = CLASHES[case]
    before = sorted(folder.rglob("*"))

    with pytest.raises(InputError) as error:
        check_outputs(*map(paths, given), reads=paths(reads))

    assert told in str(error.value)
    assert len(str(error.value)) < 300
    assert sorted(folder.rglob("*")) == before


REPLACED = {  # with overwrite
    "input": ("in.tif", "", "in.tif", "would replace the input"),
    "page": ("o.tif", "in.tif", "in.tif", "would replace the input"),
    "Zarr": ("stack.zarr", "", "stack.zarr", "would replace the input"),
    "loop": ("loop.tif", "", "", "is not a file and is not overwritten"),
    "pipe": ("o.tif", "fifo.json", "", "fifo.json is not a file and is not overwritten"),
    "file for a Zarr": ("o.tif full", "", "", "as .tif or .zarr"),
}


@pytest.mark.parametrize("case", REPLACED)
def test_overwrite_replaces_only_results(folder, case):
    results, files, reads, told = REPLACED[case]

    with pytest.raises(InputError, match=told):
        check_outputs(paths(results), paths(files), reads=paths(reads), overwrite=True)


def test_what_is_apart_is_let_through(folder):
    check_outputs(
        results=paths("o.tif o.zarr new/o.tif"),
        files=paths("o.json o.png"),
        experiments=paths("e new/e"),
        folders=paths("full new logs"),
        reads=paths("in.tif stack.zarr old.json"),
    )
    check_outputs(paths("stack.zarr"), paths("old.json"), reads=paths("in.tif"), overwrite=True)
    check_outputs(paths("x" * 239 + ".tif"))


def test_thousands_of_outputs_are_compared_with_thousands_of_inputs(folder):
    refuse_clashes(
        [Path(f"o{i}.tif") for i in range(3000)], [Path(f"{i}.tif") for i in range(3000)]
    )
