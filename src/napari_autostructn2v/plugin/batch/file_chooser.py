"""The choice of files for a batch (a folder with a pattern, or single files) and of the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QToolButton,
    QWidget,
)

from napari_autostructn2v.engine.batch import BatchItem, plan
from napari_autostructn2v.engine.data.io.readers import is_zarr
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.widgets.debounced import Debounced
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel

_TYPING_MS = 300
_SUBFOLDER = "denoised"  # of the images' folder, for results that are given none


@dataclass(frozen=True)
class _Request:
    """The user's choice: a folder with a pattern, or files; and the output folder."""

    folder: str
    pattern: str
    files: tuple[str, ...]
    results: str

    def find(self) -> list[BatchItem]:
        place = Path(self.folder).expanduser()
        is_image = place.is_file() or is_zarr(place)
        images: list[str | Path] = [place]
        if self.files:
            images = list(self.files)
        elif self.pattern and not is_image:
            images = [str(Path(escape(str(place)), self.pattern))]
        beside = (place.parent if is_image else place) / _SUBFOLDER
        return plan(images, Path(self.results).expanduser() if self.results else beside)


class FileChooser(QWidget):
    """Emits `found` with the items whenever the choice changes; without items during the search.

    The search runs in the background, as a folder on a server may be slow.
    """

    found = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._files: tuple[str, ...] = ()
        self.images, choose_images = _line(
            "The folder of the images, or one image", "Choose a folder or files"
        )
        menu = QMenu(choose_images)
        menu.addAction("Choose a &folder…", self._choose_folder)
        menu.addAction("Choose f&iles…", self._choose_files)
        choose_images.setMenu(menu)
        choose_images.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        choose_images.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.pattern = QLineEdit()
        self.pattern.setToolTip(
            "Which files of the folder: *.tif or day1*; **/*.tif includes subfolders; "
            "empty: every image"
        )
        self.results, choose_results = _line(
            "The folder for the results; empty: the folder 'denoised' beside the images",
            "Choose a folder",
        )
        self.results.setPlaceholderText(_SUBFOLDER)
        self.note = MessageLabel("found")
        self._typing = QTimer(self)
        self._typing.setSingleShot(True)
        self._typing.setInterval(_TYPING_MS)

        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        rows = (
            ("Images", self.images, choose_images),
            ("Pattern", self.pattern, None),
            ("Results", self.results, choose_results),
        )
        for row, (text, line, button) in enumerate(rows):
            label = QLabel(text)
            label.setBuddy(line)
            grid.addWidget(label, row, 0)
            grid.addWidget(line, row, 1, 1, 1 if button else 2)
            if button:
                grid.addWidget(button, row, 2)
        grid.addWidget(self.note, len(rows), 0, 1, 3)

        choose_results.clicked.connect(self._choose_results)
        self.images.textEdited.connect(lambda: self._take(()))
        for line in (self.images, self.pattern, self.results):
            line.textChanged.connect(self._look)
        self._typing.timeout.connect(self._find)
        self._finding = Debounced(_find, self)
        self._finding.done.connect(self._on_found)
        self._take(())

    @property
    def folders(self) -> dict[str, str]:
        """The chosen folders, to be saved in the settings."""
        return {"images": self.images.text(), "results": self.results.text()}

    def set_folders(self, folders: Mapping[str, str]) -> None:
        self._take(())
        self.images.setText(folders.get("images", ""))
        self.results.setText(folders.get("results", ""))

    def _choose_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Images", self.images.text()):
            self._take(())
            self.images.setText(folder)
            self._look()

    def _choose_files(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, "Images", self.images.text())
        if files:
            self._take(tuple(files))
            self.images.setText(str(Path(files[0]).parent))
            self._look()

    def _choose_results(self) -> None:
        start = self.results.text() or self.images.text()
        if folder := QFileDialog.getExistingDirectory(self, "Results", start):
            self.results.setText(folder)

    def _take(self, files: tuple[str, ...]) -> None:
        """Use single files, or if there are none the folder and its pattern."""
        self._files = files
        self.pattern.setEnabled(not files)
        self.pattern.setPlaceholderText(f"{len(files)} files chosen" if files else "every image")

    def _look(self) -> None:
        """Search for the files once the user has stopped typing."""
        self._typing.start()
        self.note.say("Searching for images" if self._request().folder else "")
        self.found.emit([])

    def _request(self) -> _Request:
        images, pattern, results = (
            line.text().strip() for line in (self.images, self.pattern, self.results)
        )
        return _Request(images, pattern, self._files, results)

    def _find(self) -> None:
        request = self._request()
        if request.folder:
            self._finding.request(request)

    def _on_found(self, answer: tuple[_Request, list[BatchItem] | str]) -> None:
        request, found = answer
        if request != self._request():
            return  # the user has typed on
        if isinstance(found, str):
            self.note.say(found)
        else:
            self.note.say("1 image" if len(found) == 1 else f"{len(found)} images")
            self.found.emit(found)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """On Return, search for files at once; keep it from starting a run in a parent widget."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._look()
            self._typing.stop()
            self._find()
        else:
            super().keyPressEvent(event)


def _find(request: _Request) -> tuple[_Request, list[BatchItem] | str]:
    try:
        return request, request.find()
    except (InputError, OSError) as error:
        return request, str(error)


def _line(tip: str, button_tip: str) -> tuple[QLineEdit, QToolButton]:
    line, button = QLineEdit(), QToolButton()
    line.setToolTip(tip)
    button.setText("…")
    button.setToolTip(button_tip)
    button.setAccessibleName(button_tip)
    return line, button
