"""Shows how good a result is, in the words and figures that the engine reports as `quality`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

_STAGE = {"stage1": "Stage 1", "stage2": "Stage 2"}
_UNIT = {"db": "dB", "percent": "%"}
_RECOMMENDED = "\N{BLACK STAR}"
# A verdict's sign and its colours on a dark and on a light ground; the sign says it too.
_FITS = ("\N{CHECK MARK}", "#6cc070", "#2b7a30")
_DOUBT = ("?", "#9fb4c8", "#4a6075")
_WRONG = ("\N{WARNING SIGN}", "#ffb13d", "#a84e00")
_SIGN = {"fits": _FITS, "can't tell": _DOUBT}


class QualityCard(QWidget):
    """A table of the stages and their figures, the check of the residual above it.

    Hidden while there is nothing to say. What the report does not have, and figures it does not
    explain, are left out.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sign: tuple[str, str, str] = _DOUBT
        self.sign = _label()
        self.sign.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.check = _label()
        self.check.setWordWrap(True)
        # A long sentence must not widen the panel.
        self.check.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.check.setToolTip(
            "What the result took away, compared with the noise that was measured beforehand"
        )
        top = QGridLayout()
        top.setColumnStretch(1, 1)
        top.addWidget(self.sign, 0, 0)
        top.addWidget(self.check, 0, 1)
        self.table = QGridLayout()
        self.table.setColumnStretch(0, 1)
        self.table.setVerticalSpacing(3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addLayout(self.table)
        self.clear()

    def clear(self) -> None:
        self.show_quality({})

    def show_quality(self, quality: Mapping[str, Any]) -> None:
        """Show the report's `quality`: `stages`, `recommended`, `check`, `meaning`."""
        while (item := self.table.takeAt(0)) is not None:
            item.widget().deleteLater()
        check = _mapping(quality.get("check"))
        sentence = str(check.get("sentence", ""))
        self._sign = _SIGN.get(str(check.get("verdict")), _WRONG)
        self.check.setText(sentence)
        for label in (self.sign, self.check):
            label.setVisible(bool(sentence))
        self._colour_sign()
        rows = _rows(quality)
        if rows:
            stages = [name for name in _mapping(quality.get("stages")) if name in _STAGE]
            self._fill(stages, rows, str(quality.get("recommended")))
        self.setVisible(bool(sentence or rows))

    def _fill(self, stages: list[str], rows: list[_Row], recommended: str) -> None:
        right = Qt.AlignmentFlag.AlignRight
        for column, stage in enumerate(stages, 1):
            header = _label(_STAGE[stage], f"The result of {_STAGE[stage]}")
            font = header.font()
            font.setBold(stage == recommended)
            header.setFont(font)
            if stage == recommended:
                header.setText(f"{_RECOMMENDED} {_STAGE[stage]}")
                header.setToolTip(f"Recommended: the result of {_STAGE[stage]}")
            self.table.addWidget(header, 0, column, right)
        for line, row in enumerate(rows, 1):
            title = _label(row.title, row.tooltip)
            title.setWordWrap(True)
            self.table.addWidget(title, line, 0)
            for column, stage in enumerate(stages, 1):
                value = _label(row.values.get(stage, "\N{EN DASH}"), row.tooltip)
                value.setAlignment(right)
                self.table.addWidget(value, line, column, right)
        if recommended in stages:
            note = _label(f"{_RECOMMENDED} recommended")
            self.table.addWidget(note, len(rows) + 1, 0, 1, len(stages) + 1, right)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.StyleChange):
            self._colour_sign()

    def _colour_sign(self) -> None:
        sign, dark, light = self._sign
        ground = self.palette().color(self.palette().ColorRole.Window)
        colour = QColor(dark if ground.lightnessF() < 0.5 else light).name()
        self.sign.setText(f'<b style="color:{colour}">{sign}</b>')


class _Row:
    """One figure of all stages: its title, its tooltip, and its value in words."""

    def __init__(self, figure: str, meaning: Mapping[str, Any], stages: Mapping[str, Any]) -> None:
        self.title = str(meaning.get("title", ""))
        self.tooltip = "\n".join(str(meaning[key]) for key in ("meaning", "bias") if key in meaning)
        cells = {stage: _cell(figure, _mapping(stages[stage])) for stage in stages}
        self.values = {stage: cell for stage, cell in cells.items() if cell}


def _rows(quality: Mapping[str, Any]) -> list[_Row]:
    meanings = _mapping(quality.get("meaning"))
    stages = _mapping(quality.get("stages"))
    rows = [_Row(figure, _mapping(meanings[figure]), stages) for figure in meanings]
    return [row for row in rows if row.title and row.values]


def _cell(figure: str, figures: Mapping[str, Any]) -> str:
    r"""Write a figure with its unit, which its name ends in, and the range reported for it.

    >>> _cell("gain_db", {"gain_db": 1.63, "gain_range_db": [1.2, 1.9]})
    '+1.6 dB\n1.2 to 1.9'
    >>> _cell("noise_left_percent", {"noise_left_percent": 60.2})
    '60 %'
    """
    value = _number(figures.get(figure))
    if value is None:
        return ""
    name, _, ending = figure.rpartition("_")
    text = f"{_rounded(value)} {_UNIT.get(ending, '')}".rstrip()
    if ending == "db" and value > 0:
        text = f"+{text}"
    ends = figures.get(f"{name}_range_{ending}")
    if isinstance(ends, (list, tuple)) and len(ends) == 2:
        low, high = map(_number, ends)
        if low is not None and high is not None:
            text += f"\n{_rounded(low)} to {_rounded(high)}"
    return text


def _rounded(value: float) -> str:
    text = f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _label(text: str = "", tooltip: str = "") -> QLabel:
    label = QLabel(text)
    label.setToolTip(tooltip)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
