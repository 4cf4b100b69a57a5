"""A stage that is only an entry in the table of titles appears wherever stages are shown."""

import pytest

from napari_autostructn2v.engine.events import Finished, Progress, StageDone, TileDone
from napari_autostructn2v.engine.labels import STAGE_TITLES
from napari_autostructn2v.plugin.panels.card import QualityCard
from napari_autostructn2v.plugin.panels.progress import ProgressPanel, states_after, status_of
from napari_autostructn2v.plugin.widgets.curves import LossCurves

TRAINING = Progress("refine", 1, 4, 0.1, 83.0)


@pytest.fixture(autouse=True)
def _third(monkeypatch):
    monkeypatch.setitem(STAGE_TITLES, "refine", "Refinement")


def test_a_third_stage_has_its_place_in_the_progress(qtbot):
    panel = ProgressPanel()
    qtbot.addWidget(panel)
    assert panel.stages["refine"].text().endswith("Refinement")
    states = states_after({}, Progress("stage1", 1, 4, 0.1, 83.0))
    assert states == {"stage1": "running", "stage2": "waiting", "refine": "waiting"}
    states = states_after(states_after(states, TRAINING), StageDone("refine", 4, 1.0, 0.1))
    assert states_after(states, Finished(None, stopped=False))["refine"] == "done"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (TRAINING, "Training Refinement"),
        (StageDone("refine", 4, 1.0, 0.1), "Refinement is trained"),
        (TileDone("refine", 0, 0, ((0, 8), (0, 8)), 3, 4), "Denoising with Refinement"),
    ],
)
def test_it_is_called_by_its_title(event, text):
    assert status_of(event).text == text


def test_it_has_a_curve_and_a_column_of_the_card(qtbot):
    curves, card = LossCurves(), QualityCard()
    qtbot.addWidget(curves)
    qtbot.addWidget(card)
    curves.add(TRAINING)
    assert [stretch.title for stretch in curves.stretches] == ["Refinement"]
    figures = {"noise_left_percent": 7.0}
    card.show_quality(
        {
            "stages": {"refine": figures, "stage1": figures},
            "recommended": "refine",
            "meaning": {
                "noise_left_percent": {"title": "Noise left", "meaning": "In flat places."}
            },
        }
    )
    heads = [card.table.itemAtPosition(0, column).widget().text() for column in (1, 2)]
    assert heads == ["Stage 1", "\N{BLACK STAR} Refinement"]
