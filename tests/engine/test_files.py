"""Files are whole or not there, and what a dead process left goes with the next that is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_autostructn2v.engine.data import files
from napari_autostructn2v.engine.data.files import (
    beside,
    free_name,
    hidden,
    replace,
    write_json,
    write_tiff,
)
from napari_autostructn2v.engine.errors import InputError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", ["r.json", "r.png", "x" * 251 + ".tif"])
def test_two_that_write_one_file_never_meet(tmp_path, name):
    with beside(tmp_path / name) as one:
        one.write_text("one")
        with beside(tmp_path / name) as two:
            two.write_text("two")
        assert one.read_text() == "one"
        assert (tmp_path / name).read_text() == "two"
    assert (tmp_path / name).read_text() == "one"  # the last wins
    assert names(tmp_path) == [name]


def test_what_fails_leaves_the_old_file(tmp_path):
    (tmp_path / "r.json").write_text("old")
    with pytest.raises(TypeError):
        write_json(tmp_path / "r.json", {"value": object()})
    assert (tmp_path / "r.json").read_text() == "old"
    assert names(tmp_path) == ["r.json"]


@pytest.mark.parametrize("write", [write_json, lambda path, _: write_tiff(path, np.ones((2, 2)))])
def test_what_cannot_be_written_is_told(tmp_path, write):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/r cannot be written: [NF]"):
        write(tmp_path / "file" / "r", {})


def left_by(code, folder):
    """The hidden name that a process made and died without clearing."""
    return Path(
        subprocess.run(
            [sys.executable, "-c", f"from pathlib import Path\n{code}"],
            cwd=folder, capture_output=True, text=True, check=True, timeout=60,
        ).stdout.strip()
    )  # fmt: skip


@pytest.mark.parametrize("make", ["write_text('half')", "mkdir()"])
def test_the_dead_are_cleared_by_the_next(tmp_path, make):
    left = left_by(
        "from napari_autostructn2v.engine.data.files import hidden\n"
        f"part = hidden(Path('a.tif').absolute()); part.{make}; print(part)",
        tmp_path,
    )
    assert left.exists()

    write_json(tmp_path / "r.json", {})

    assert names(tmp_path) == ["r.json"]


def test_what_may_be_alive_stays(tmp_path, monkeypatch):
    mine = hidden(tmp_path / "a.tif")
    pid, parent = f"-{os.getpid()}-", f"-{os.getppid()}-"
    of_parent = mine.with_name(mine.name.replace(pid, parent))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(files.platform, "node", lambda: "another computer")
        foreign = hidden(tmp_path / "a.tif")
    foreign = foreign.with_name(foreign.name.replace(pid, "-4194999-"))  # no such process here
    strange = tmp_path / ".autostructn2v-mine.part"
    for path in (mine, of_parent, foreign, strange):
        path.touch()

    hidden(tmp_path / "b.tif")

    assert all(path.exists() for path in (mine, of_parent, foreign, strange))


def test_a_number_that_was_a_dead_process_s_before_tells_nothing(tmp_path):
    mine = hidden(tmp_path / "a.tif")
    before = mine.with_name(mine.name.replace(files._PROCESS, "00000000"))
    before.touch()

    hidden(tmp_path / "a.tif")

    assert names(tmp_path) == []


def test_a_folder_takes_the_place_of_another(tmp_path):
    for name in ("new", "a.zarr"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)

    replace(tmp_path / "new", tmp_path / "a.zarr")

    assert (tmp_path / "a.zarr" / "content").read_text() == "new"
    assert names(tmp_path) == ["a.zarr"]


def test_a_file_takes_the_place_of_no_folder(tmp_path):
    (tmp_path / "r.json").mkdir()
    with pytest.raises(InputError, match=r"r\.json cannot be written: Is a directory"):
        write_json(tmp_path / "r.json", {})
    assert names(tmp_path) == ["r.json"]


def test_an_old_folder_can_be_seen_while_there_is_no_new_one(tmp_path, monkeypatch):
    for name in ("new", "a.zarr"):
        (tmp_path / name).mkdir()
    real, seen = os.replace, []

    def watch(old, new):
        real(old, new)
        seen.append(names(tmp_path))

    monkeypatch.setattr(os, "replace", watch)
    replace(tmp_path / "new", tmp_path / "a.zarr")

    assert seen[0] == ["a.old.zarr", "new"]


def test_a_free_name_is_that_of_nothing(tmp_path):
    path = tmp_path / "a.ome.tif"
    assert free_name(path) == path
    path.touch()
    (tmp_path / "a.ome-2.tif").symlink_to("nowhere")
    assert free_name(path).name == "a.ome-3.tif"
    assert free_name(path, ".partial").name == "a.ome.partial.tif"
