"""Model: save and load models, copy the run as code, denoise a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_autostructn2v.engine.reporting.script import NO_FILE
from napari_autostructn2v.plugin.batch.batch import BatchPanel
from napari_autostructn2v.plugin.widgets.fold import Fold
from napari_autostructn2v.plugin.widgets.message_label import Holds, MessageLabel, always

_FILES = "Models (*.asn2v)"
_SUFFIX = ".asn2v"


class ModelPanel(QWidget):
    """Emits `save_wanted` and `load_wanted` with the chosen file."""

    save_wanted = Signal(object)
    load_wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._folder = ""
        self.name = MessageLabel("model_name")
        self.save = QPushButton("Save…")
        self.save.setToolTip("Save the model to a file, to denoise other images with it")
        self.load = QPushButton("Load…")
        self.load.setToolTip("Load a model from a file instead of training one")
        self.script = QPushButton("Copy as script")
        self.script.setToolTip("Copy a Python script that repeats this run")
        self.command = QPushButton("Copy as command")
        self.command.setToolTip("Copy a command line that repeats this run")
        self.note = MessageLabel("model_note")
        self.batch = BatchPanel()
        self.folder = Fold(
            "Folder…", self.batch, "Denoise the files of a folder with the model",
            expanded=False, part=True,
        )  # fmt: skip
        grid = QGridLayout()
        grid.setVerticalSpacing(4)
        for index, button in enumerate((self.save, self.load, self.script, self.command)):
            grid.addWidget(button, index // 2, index % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.name)
        layout.addLayout(grid)
        layout.addWidget(self.note)
        layout.addWidget(self.folder)
        self.save.clicked.connect(self._choose_save)
        self.load.clicked.connect(self._choose_load)

    @property
    def folders(self) -> dict[str, str]:
        """The folders used last, to be saved in the settings."""
        return {"model": self._folder, **self.batch.chooser.folders}

    def set_folders(self, folders: Mapping[str, str]) -> None:
        self._folder = folders.get("model", "")
        self.batch.chooser.set_folders(folders)

    def update_buttons(self, *, idle: bool, has_model: bool, has_image: bool) -> None:
        self.save.setEnabled(idle and has_model)
        self.load.setEnabled(idle)
        for button in (self.script, self.command):
            button.setEnabled(has_image)

    def tell_of_copy(self, kind: str, text: str, more: str, holds: Holds = always) -> None:
        path = f" Replace {NO_FILE} by the path of the image." if NO_FILE in text else ""
        self.note.say(f"Copied the {kind}.{path}{more}", holds)

    def _choose_save(self) -> None:
        start = str(Path(self._folder, f"model{_SUFFIX}"))
        path, _ = QFileDialog.getSaveFileName(self, "Save the model", start, _FILES)
        if path:
            file = Path(path)
            self._folder = str(file.parent)
            self.save_wanted.emit(file if file.suffix == _SUFFIX else Path(f"{path}{_SUFFIX}"))

    def _choose_load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load a model", self._folder, _FILES)
        if path:
            self._folder = str(Path(path).parent)
            self.load_wanted.emit(Path(path))
