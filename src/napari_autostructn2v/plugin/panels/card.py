"""The quality card: how good a result is, from the `quality` entry of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_autostructn2v.engine.config import StageName
from napari_autostructn2v.engine.labels import STAGE_TITLES, QualityRow, quality_rows

_RECOMMENDED = "\N{BLACK STAR}"
# Sign of a verdict, and its colours on a dark and a light background.
_FITS = ("\N{CHECK MARK}", "#6cc070", "#2b7a30")
_DOUBT = ("?", "#9fb4c8", "#4a6075")
_WRONG = ("\N{WARNING SIGN}", "#ffb13d", "#a84e00")
_SIGN = {"fits": _FITS, "can't tell": _DOUBT}


class QualityCard(QWidget):
    """A table of figures per stage, below the check of the residual.

    Hidden if there is nothing to show. Figures that the report doesn't contain or explain are
    skipped.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sign: tuple[str, str, str] = _DOUBT
        self.sign = _label()
        self.sign.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.check = _label()
        self.check.setWordWrap(True)
        # Keep long sentences from widening the panel.
        self.check.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.of = _label()
        self.of.setWordWrap(True)
        self.of.setSizePolicy(self.check.sizePolicy())
        self.check.setToolTip(
            "Comparison of what was removed from the image with the measured noise"
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
        layout.addWidget(self.of)
        layout.addLayout(top)
        layout.addLayout(self.table)
        self._shown: tuple[Mapping[str, Any], str] | None = None
        self.show_quality({})

    def show_quality(self, quality: Mapping[str, Any], of: str = "") -> None:
        """Show the report's `quality`: `stages`, `recommended`, `check`, `meaning`.

        `of` names the assessed image.
        """
        if (quality, of) == self._shown:
            return
        self._shown = quality, of
        while (item := self.table.takeAt(0)) is not None:
            item.widget().hide()  # Qt deletes it only later
            item.widget().deleteLater()
        self.of.setText(f"Result of {of}")
        self.of.setVisible(bool(of))
        check = quality.get("check") or {}
        sentence = str(check.get("sentence", ""))
        self._sign = _SIGN.get(str(check.get("verdict")), _WRONG)
        self.check.setText(sentence)
        for label in (self.sign, self.check):
            label.setVisible(bool(sentence))
        self._colour_sign()
        rows = quality_rows(quality)
        if rows:
            stages = [stage for stage in STAGE_TITLES if stage in quality["stages"]]
            self._fill(stages, rows, quality.get("recommended"))
        self.setVisible(bool(sentence or rows))

    def _fill(
        self, stages: Sequence[StageName], rows: Sequence[QualityRow], recommended: str | None
    ) -> None:
        right = Qt.AlignmentFlag.AlignRight
        for column, stage in enumerate(stages, 1):
            title = STAGE_TITLES[stage]
            header = _label(title, f"Result of {title}")
            if stage == recommended:
                font = header.font()
                font.setBold(True)
                header.setFont(font)
                header.setText(f"{_RECOMMENDED} {title}")
                header.setToolTip(f"Recommended: result of {title}")
            self.table.addWidget(header, 0, column, right)
        for line, row in enumerate(rows, 1):
            tooltip = f"{row.meaning}\n{row.bias}".strip()
            name = _label(row.title, tooltip)
            name.setWordWrap(True)
            name.setAlignment(Qt.AlignmentFlag.AlignTop)  # like the figures
            self.table.addWidget(name, line, 0)
            for column, stage in enumerate(stages, 1):
                figure = row.figures.get(stage, ("\N{EN DASH}", ""))
                value = _label("\n".join(figure).rstrip(), tooltip)
                value.setAlignment(right | Qt.AlignmentFlag.AlignTop)
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


def _label(text: str = "", tooltip: str = "") -> QLabel:
    label = QLabel(text)
    label.setToolTip(tooltip)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
