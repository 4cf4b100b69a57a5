"""The real engine through the real window: the one test here that trains."""

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from napari_autostructn2v.engine.synthetic import sample
from napari_autostructn2v.plugin import dock as room


@pytest.fixture
def planted():
    return sample("filaments", "horizontal", 96, dtype=np.uint16)


def test_a_real_image_is_denoised(open_dock, qtbot, planted):
    viewer, dock = open_dock(
        room.engine, planted.noisy, scale=(0.1, 0.1), units=("um", "um"), name="cells"
    )
    told = len(notification_manager.records)
    dock.budget.setEditText("80steps")
    dock.denoise.click()
    qtbot.waitUntil(lambda: not dock.is_running, timeout=120_000)
    assert dock.message.text() == ""
    assert dock.verdict.text() != ""
    assert dock.progress.text.text() == "Done"
    assert {layer.name for layer in viewer.layers} == {
        "cells",
        "cells autocorrelation",
        "cells mask",
        "cells Stage 1",
        "cells Stage 2",
    }
    mask = viewer.layers["cells mask"].data
    row, column = (side // 2 for side in mask.shape)
    assert mask[row, column - 1 : column + 2].all(), "the planted noise is horizontal"
    result = viewer.layers["cells Stage 2"]
    assert result.data.dtype == np.uint16
    assert result.units == viewer.layers["cells"].units

    def error(image):
        return np.mean((image.astype(float) - planted.clean) ** 2)

    assert error(result.data) < error(planted.noisy)
    assert len(notification_manager.records) == told, "nothing pops up"


def test_a_stopped_training_still_denoises(open_dock, qtbot, planted):
    viewer, dock = open_dock(room.engine, planted.noisy, name="cells")
    dock.budget.setEditText("100000 steps")
    dock.denoise.click()
    qtbot.waitUntil(lambda: dock.progress.text.text().startswith("Training"), timeout=60_000)
    dock.stop.click()
    qtbot.waitUntil(lambda: not dock.is_running, timeout=60_000)
    assert dock.message.text() == ""
    assert dock.progress.text.text().startswith("Stopped")
    assert np.all(viewer.layers["cells Stage 1"].data > 0)
