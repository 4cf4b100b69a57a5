import json
import logging

import pytest
from qtpy.QtCore import QStandardPaths

from napari_autostructn2v.engine.config import Config
from napari_autostructn2v.plugin.runs.settings import FORMAT, Settings, load, save, settings_file

SETTINGS = Settings(
    config=Config.parse({"budget": "2min", "stage2": {"patch_size": 96}, "tensorboard": "/logs"}),
    folders={"batch": "/data/in"},
    panels={"advanced": True},
)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "new" / "settings.json"


def test_what_is_saved_is_loaded(file):
    save(SETTINGS, file)
    assert load(file) == SETTINGS
    assert [path.name for path in file.parent.iterdir()] == ["settings.json"]


def test_nothing_is_remembered_at_first(file):
    assert load(file) == Settings()
    assert not file.parent.exists()


@pytest.mark.parametrize(
    "of_one_image",
    [
        {"mask_source": "array", "mask": [[1, 1, 1]]},
        {"mask_source": "region", "region": [0, 32, 0, 32]},
    ],
)
def test_what_belongs_to_one_image_is_not_remembered(file, of_one_image):
    config = Config.parse({"axes": "TYX", "structure": {**of_one_image, "max_lag": 9}})
    save(Settings(config=config), file)
    assert load(file).config == Config.parse({"structure": {"max_lag": 9}})


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1]",
        lambda text: "\x00\xff" * 9,
        lambda text: text.replace('"patch_size": 96', '"patch_size": 4'),
        lambda text: text.replace('"patch_size"', '"patchsize"'),
        lambda text: text.replace('"format": 1', '"format": "one"'),
        lambda text: text.replace('"folders"', '"files"'),
        lambda text: json.dumps({**json.loads(text), "format": FORMAT + 1}),
    ],
)
def test_a_damaged_file_or_one_of_a_newer_version_gives_defaults(file, damage):
    save(SETTINGS, file)
    whole = file.read_text()
    assert damage(whole) != whole
    file.write_bytes(damage(whole).encode("latin-1"))
    assert load(file) == Settings()
    save(SETTINGS, file)
    assert load(file) == SETTINGS


def test_a_place_that_cannot_be_written_or_read_hurts_no_one(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.json").mkdir()
    for path in (tmp_path / "file" / "settings.json", tmp_path / "folder.json"):
        with caplog.at_level(logging.WARNING):
            save(SETTINGS, path)
        assert str(path) in caplog.text
        assert load(path) == Settings()
    assert (tmp_path / "file").read_text() == ""


def test_the_file_is_in_the_user_s_folder_for_settings():
    QStandardPaths.setTestModeEnabled(True)
    try:
        tested = settings_file()
    finally:
        QStandardPaths.setTestModeEnabled(False)
    assert tested.parts[-2:] == ("napari-autostructn2v", "settings.json")
    assert tested != settings_file()
