"""The files of a batch and their status, for a table view."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt

from napari_autostructn2v.engine.batch import BatchItem, FileDone
from napari_autostructn2v.engine.events import TileDone

_COLUMNS = ("Image", "Status")


@dataclass
class _Row:
    item: BatchItem
    status: str = "waiting"
    share: float = 0.0
    message: str = ""


class FileTable(QAbstractTableModel):
    """One row per item. For the GUI thread."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[_Row] = []

    @property
    def items(self) -> list[BatchItem]:
        return [row.item for row in self._rows]

    @property
    def share(self) -> float:
        """Fraction of all files done, 0 to 1."""
        return sum(row.share for row in self._rows) / max(len(self._rows), 1)

    def set_items(self, items: Sequence[BatchItem]) -> None:
        """Show items, all waiting."""
        self.beginResetModel()
        self._rows = [_Row(item) for item in items]
        self.endResetModel()

    def show_event(self, event: TileDone | FileDone) -> None:
        row = self._rows[event.image]
        if isinstance(event, TileDone):
            row.share = event.done / event.total
            row.status = f"{row.share:.0%}"
        else:
            sign = " \N{WARNING SIGN}" if event.warnings else ""
            row.share, row.status = 1.0, f"{event.outcome}{sign}"
            row.message = "\n".join([event.message, *event.warnings])
        first, last = (self.index(event.image, column) for column in (0, 1))
        self.dataChanged.emit(first, last)

    def message(self, row: int) -> str:
        """Return a sentence about a file, or its path if there is nothing to say."""
        path, text = str(self._rows[row].item.image), self._rows[row].message
        if not text:
            return path
        text = text.replace(path, "this file")  # its row says which; long paths do not wrap
        return text[:1].upper() + text[1:]

    def summary(self) -> str:
        """Count the files by their outcome: "3 done, 1 failed"."""
        counts = Counter(row.status for row in self._rows if row.message)
        return ", ".join(f"{count} {status}" for status, count in counts.items())

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(_COLUMNS)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self._rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return (row.item.image.name, row.status)[index.column()]
        if role == Qt.ItemDataRole.ToolTipRole:
            return self.message(index.row())
        return None

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _COLUMNS[section]
        return None
