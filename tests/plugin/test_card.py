import copy

import pytest
from qtpy.QtGui import QColor, QPalette

from napari_autostructn2v.plugin.panels.card import QualityCard

DASH = "\N{EN DASH}"
QUALITY = {
    "stages": {
        "stage1": {
            "gain_db": 1.63,
            "gain_range_db": [1.2, 1.94],
            "noise_left_percent": 60.2,
            "detail_kept_percent": 98.0,
            "structure_lost_percent": 1.0,
        },
        "stage2": {
            "gain_db": -0.42,
            "noise_left_percent": 7.04,
            "structure_lost_percent": float("nan"),
            "unexplained_percent": 3.0,
        },
    },
    "recommended": "stage2",
    "check": {"verdict": "fits", "sentence": "What was taken away looks like the noise."},
    "meaning": {
        "gain_db": {"title": "Gain", "meaning": "Decibels nearer to the truth.", "bias": "Low."},
        "noise_left_percent": {"title": "Noise left", "meaning": "In flat places."},
        "detail_kept_percent": {"title": "Detail kept"},
        "structure_lost_percent": {"title": "Signal lost"},
        "absent_percent": {"title": "Absent"},
    },
}


@pytest.fixture
def card(qtbot):
    widget = QualityCard()
    qtbot.addWidget(widget)
    return widget


def without(*path):
    quality = copy.deepcopy(QUALITY)
    place = quality
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return quality


def table(card):
    grid = card.table
    cells = {}
    for index in range(grid.count()):
        row, column, *_ = grid.getItemPosition(index)
        cells[row, column] = grid.itemAt(index).widget()
    return cells


def words(card):
    cells = table(card)
    rows = max((row for row, _ in cells), default=-1) + 1
    return [[cells[r, c].text() if (r, c) in cells else "" for c in range(3)] for r in range(rows)]


def test_the_figures_in_plain_words(card):
    card.show_quality(QUALITY)
    assert words(card) == [
        ["", "Stage 1", "★ Stage 2"],
        ["Gain", "+1.6 dB\n1.2 to 1.9", "-0.4 dB"],
        ["Noise left", "60 %", "7.0 %"],
        ["Detail kept", "98 %", DASH],
        ["Signal lost", "1.0 %", DASH],
        ["★ recommended", "", ""],
    ]
    cells = table(card)
    assert cells[1, 1].toolTip() == "Decibels nearer to the truth.\nLow."
    assert cells[2, 0].toolTip() == "In flat places."
    assert cells[0, 2].toolTip() == "Recommended: result of Stage 2"
    assert cells[0, 2].font().bold()
    assert not cells[0, 1].font().bold()
    assert card.check.text() == "What was taken away looks like the noise."
    assert not card.isHidden()


@pytest.mark.parametrize(
    ("verdict", "sign"), [("fits", "✓"), ("leaks", "⚠"), ("can't tell", "?"), ("new", "⚠")]
)
def test_the_check_has_a_sign_besides_its_colour(card, verdict, sign):
    card.show_quality({"check": {"verdict": verdict, "sentence": "A sentence."}})
    assert sign in card.sign.text()
    assert words(card) == []
    assert not card.isHidden()


def test_the_sign_is_legible_in_both_themes(card):
    card.show_quality(QUALITY)
    drawn = set()
    for ground in ("#262930", "#efebe9"):
        palette = QPalette(QColor(ground))
        palette.setColor(QPalette.ColorRole.Window, QColor(ground))
        card.setPalette(palette)
        drawn.add(card.sign.text())
    assert len(drawn) == 2


@pytest.mark.parametrize(
    ("quality", "rows"),
    [
        ({}, []),
        (without("stages"), []),
        (without("meaning"), []),
        ({"stages": {}, "meaning": {}, "check": None, "recommended": None}, []),
        (without("meaning", "gain_db"), ["Noise left", "Detail kept", "Signal lost"]),
        (without("stages", "stage1"), ["Gain", "Noise left"]),
    ],
)
def test_what_is_missing_or_unknown_is_left_out(card, quality, rows):
    card.show_quality(quality)
    titles = [row[0] for row in words(card)][1:]
    assert [title for title in titles if "recommended" not in title] == rows
    assert card.isHidden() == (not rows and not card.check.text())


@pytest.mark.parametrize("recommended", [None, "stage3"])
def test_nothing_is_marked_where_nothing_is_recommended(card, recommended):
    card.show_quality(QUALITY | {"recommended": recommended})
    assert words(card)[0] == ["", "Stage 1", "Stage 2"]
    assert "recommended" not in words(card)[-1][0]


def test_a_range_that_is_unknown_is_left_out(card):
    card.show_quality(without("stages", "stage1", "gain_range_db"))
    assert words(card)[1][1] == "+1.6 dB"


def test_the_next_run_takes_the_card(card, qtbot):
    card.show_quality(QUALITY)
    old = table(card)[1, 1]
    with qtbot.waitSignal(old.destroyed):
        card.show_quality(without("stages", "stage2"))
    assert words(card)[0] == ["", "Stage 1", ""]
    card.show_quality({})
    assert card.isHidden()
    assert card.table.count() == 0


def test_a_narrow_panel_holds_it(card):
    card.show_quality(QUALITY)
    assert card.minimumSizeHint().width() <= 290
