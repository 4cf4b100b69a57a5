import subprocess
import sys
from pathlib import Path

import pytest
from npe2 import PluginManifest

import napari_autostructn2v

PACKAGE = Path(napari_autostructn2v.__file__).parent


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_file(PACKAGE / "napari.yaml")


def test_manifest_leads_to_what_exists(manifest):
    manifest.validate_imports()
    assert [widget.display_name for widget in manifest.contributions.widgets] == ["Denoise"]
    for sample in manifest.contributions.sample_data:
        command = manifest.contributions.commands[
            [c.id for c in manifest.contributions.commands].index(sample.command)
        ]
        module, name = command.python_name.split(":")
        layers = getattr(__import__(module, fromlist=[name]), name)()
        truth, noisy = layers
        assert truth[0].shape == noisy[0].shape[-2:]
        assert (noisy[0].ndim == 3) == (sample.key == "frames")
        assert not truth[1]["visible"]
        assert noisy[2] == "image"
        assert truth[0].std() < noisy[0].std()


def test_the_manifest_at_the_top_is_the_package_s():
    top = PACKAGE.parents[1] / "napari.yaml"
    assert top.read_bytes() == (PACKAGE / "napari.yaml").read_bytes()


def test_opening_the_plugin_imports_no_torch():
    code = (
        "import sys, napari_autostructn2v.plugin.dock, napari_autostructn2v.plugin.sample_data;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
