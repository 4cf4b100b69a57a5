"""Names that no disk can have, and files that can't be read at once, are refused in a sentence."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.engine.data.io.find import find_files
from napari_autostructn2v.engine.data.opening import open_source
from napari_autostructn2v.engine.data.sink import FileSink, output_paths
from napari_autostructn2v.engine.denoising import Model
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.paths import regular_file, user_path

UNNAMEABLE = ("x" * 256, "\u00e4" * 128, "f/" + "x" * 256 + "/a.tif", "a\0b", "\ud800", "a/" * 2000)
READERS = {
    "image": open_source,
    "images": find_files,
    "config": Config.load,
    "model": Model.load,
    "result": lambda path: FileSink([f"{path}.tif"]),
    "results": lambda path: output_paths(path, []),
    "field": lambda path: Config.parse({"tensorboard": path}),
    "deeper field": lambda path: Config.parse({"structure": {"mask_file": path}}),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("name", UNNAMEABLE, ids=ascii)
def test_a_name_that_no_disk_has(read, name):
    with pytest.raises(InputError) as error:
        read(name)

    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 300


def test_a_tilde_is_the_home_folder_in_quotes_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert user_path("~/a.tif") == tmp_path / "a.tif"
    assert user_path("a/~/b") == Path("a/~/b")
    assert user_path("~nobody-of-this-name/a") == Path("~nobody-of-this-name/a")
    assert Config.parse({"stage1_model": "~/m.asn2v"}).stage1_model == tmp_path / "m.asn2v"
    assert FileSink(["~/a.tif"]).outputs == (tmp_path / "a.tif",)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "loop", "missing"])
@pytest.mark.parametrize("read", [Config.load, Model.load, open_source])
def test_what_is_no_file_is_not_opened(tmp_path, kind, read):
    path = tmp_path / "a.tif"
    bound = socket.socket(socket.AF_UNIX)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        bound.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    try:
        with pytest.raises(InputError):
            read(path)
    finally:
        bound.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_a_config_may_come_from_the_shell():
    reading, writing = os.pipe()
    os.write(writing, b'{"seed": 7}')
    os.close(writing)
    try:
        assert Config.load(f"/dev/fd/{reading}").seed == 7
    finally:
        os.close(reading)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"config .*none\.json does not exist"):
        regular_file(tmp_path / "none.json", "config")
