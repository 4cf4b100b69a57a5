"""The layout of the dock: input, the Denoise button, and a section for each step."""

from __future__ import annotations

import os
from typing import Any, Literal

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QFrame, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_autostructn2v.engine.config import Config, Structure
from napari_autostructn2v.plugin.layers.reading import is_same
from napari_autostructn2v.plugin.mask.mask_editor import MaskEditor
from napari_autostructn2v.plugin.panels.input_panel import InputPanel
from napari_autostructn2v.plugin.panels.model_panel import ModelPanel
from napari_autostructn2v.plugin.panels.noise_panel import NoisePanel
from napari_autostructn2v.plugin.panels.result_panel import ResultPanel
from napari_autostructn2v.plugin.panels.train_panel import TrainPanel
from napari_autostructn2v.plugin.runs.recipe import write_down
from napari_autostructn2v.plugin.runs.session import Session
from napari_autostructn2v.plugin.runs.settings import Settings
from napari_autostructn2v.plugin.settings_form.fields import fields
from napari_autostructn2v.plugin.settings_form.form import ConfigForm
from napari_autostructn2v.plugin.viewer.comparison import Pair
from napari_autostructn2v.plugin.widgets.fold import Fold
from napari_autostructn2v.plugin.widgets.message_label import MessageLabel

# Fields of `Structure` that the mask editor shows.
_IN_EDITOR = {"mask", "extractor", "leak_threshold", "score_tolerance", "max_lag", "ring"}
_ELSEWHERE = {"budget"} | {
    field.key for field in fields(Structure, ("structure",)) if field.path[1] in _IN_EDITOR
}


_FOCUSED = "QPushButton", "QToolButton", "QCheckBox", "QComboBox", "QLineEdit"
# napari's style doesn't show which button has the keyboard focus.
_FOCUS = (
    ", ".join(f"{kind}:focus" for kind in _FOCUSED) + " { border: 1px solid palette(highlight); }"
)


class Panels(QScrollArea):
    """All panels of the dock, connected elsewhere."""

    def __init__(self, viewer: Any, session: Session) -> None:
        super().__init__()
        self.inputs = InputPanel(viewer)
        self.device = MessageLabel("device")
        self.device.setToolTip("To choose another: Advanced, General, device")
        self.denoise = QPushButton("&Denoise")
        self.denoise.setMinimumHeight(34)
        font = self.denoise.font()
        font.setBold(True)
        self.denoise.setFont(font)
        self.denoise.setToolTip(
            "Measure the noise, train on this image and add the result as a new layer"
        )
        self.plan = MessageLabel("plan")
        keep = self.plan.sizePolicy()
        keep.setRetainSizeWhenHidden(True)  # it comes with an edit of the mask, under the pointer
        self.plan.setSizePolicy(keep)
        self.editor = MaskEditor(session.mask, session.extract, session.score)
        self.noise = NoisePanel(self.editor)
        self.train = TrainPanel()
        self.result = ResultPanel()
        self.model = ModelPanel()
        self.form = ConfigForm(_ELSEWHERE)
        titled = {
            "noise": Fold("1  Noise", self.noise, "The kind of noise, and the mask for it"),
            "train": Fold("2  Train", self.train, "Progress of the run"),
            "result": Fold(
                "3  Result", self.result, "Quality of the result, and comparison with the image"
            ),
            "model": Fold("Model", self.model, "Save, load and apply models", expanded=False),
            "advanced": Fold("Advanced", self.form, "All other settings", expanded=False),
        }
        self.folds = titled | {
            "mask": self.noise.editor,
            "curves": self.train.watch,
            "folder": self.model.folder,
        }
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(6)
        for widget in (self.inputs, self.device, self.denoise, self.plan, *titled.values()):
            column.addWidget(widget)
        column.addStretch()
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # So that nothing moves sideways when a section is opened.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setStyleSheet(_FOCUS)
        self.notes = self.inputs.region_note, self.train.message, self.result.note, self.model.note
        self._rechecking = QTimer(self)  # amid a change of layers the viewer fits none of them
        self._rechecking.setSingleShot(True)
        self._rechecking.timeout.connect(self._recheck)
        self.inputs.view_changed.connect(self._rechecking.start)

    def _recheck(self) -> None:
        """Remove messages that no longer apply."""
        for note in self.notes:
            note.recheck()

    def settings(self, before: Settings) -> Settings:
        """Return the settings to save; an invalid config is skipped."""
        opened = {name: fold.is_expanded for name, fold in self.folds.items()}
        return Settings(
            config=self.form.config() if self.form.is_valid else before.config,
            folders=self.model.folders,
            panels=opened | {name: box.isChecked() for name, box in self._ticks().items()},
        )

    def recall(self, known: Settings) -> None:
        """Restore the saved settings."""
        self.form.set_config(known.config)
        self.editor.set_options(known.config.structure)
        self.inputs.set_budget(known.config.budget)
        self.model.set_folders(known.folders)
        choices = {"layers": True, "preview": True} | dict(known.panels)
        for name, fold in self.folds.items():
            fold.expand(choices.get(name, fold.is_expanded))
        for name, box in self._ticks().items():
            box.setChecked(choices.get(name, box.isChecked()))

    def _ticks(self) -> dict[str, Any]:
        return {
            "layers": self.noise.as_layers,
            "preview": self.train.live,
            "split": self.train.split,
        }

    def update_buttons(self, *, comparing: tuple[bool, bool], session: Session) -> None:
        """Update notes and buttons.

        Parameters
        ----------
        comparing
            Whether there is something to compare, and whether the curtain is on.
        """
        run, trained = session.run, session.trained
        idle = run is None and not self.model.batch.is_running
        ready = idle and bool(session.images) and not self.inputs.error and self.form.is_valid
        self.inputs.setEnabled(run is None)
        self.denoise.setEnabled(ready)
        self.noise.analyse.setEnabled(ready)
        self.train.update_buttons(
            running=run is not None,
            stopping=run is not None and run.is_stopping,
            ending=run is not None and run.is_ending,
            can_go_on=ready and trained is not None,
        )
        can_compare, curtain = comparing
        self.result.update_buttons(
            can_apply=ready and trained is not None, can_compare=can_compare, curtain=curtain
        )
        self.model.update_buttons(
            idle=idle, has_model=trained is not None, has_image=bool(session.images)
        )
        self.model.batch.setEnabled(run is None)
        note = session.plan(self.form.config()).note if ready else ""
        self.plan.say(note if self.form.is_valid else f"⚠ Advanced: {self.form.error}")
        self.device.recheck()
        if not self.device.text():
            self.device.say("Device: chosen at start")  # torch, which would know, isn't loaded yet
        self._rechecking.start()

    def show_device(self, device: str) -> None:
        words = f"CPU, {os.cpu_count()} cores" if device == "cpu" else device.upper()
        asked = self.form.config().device if self.form.is_valid else None
        self.device.say(
            f"Device: {words}",
            lambda: not self.form.is_valid or self.form.config().device == asked,
        )

    def show_noise(self, session: Session) -> None:
        measured = session.measured
        if measured is None:
            self.noise.show_noise("", "")
        else:
            self.noise.show_noise(measured.sentence, measured.remarks)

    def show_model(self, session: Session) -> None:
        trained = session.trained
        if trained is None:
            self.model.name.say("No model yet: train or load one.")
            return
        self.model.name.say(f"{trained.name}, trained: {_stages(trained.model.stages)}")
        config = self.form.config() if self.form.is_valid else trained.model.config
        self.model.batch.set_model(trained.model, trained.name, config)

    def copy(self, kind: Literal["script", "command"], session: Session) -> None:
        """Copy a script or command that repeats this run without the viewer."""
        config = self.form.config() if self.form.is_valid else Config()
        text = write_down(kind, session, config)
        QApplication.clipboard().setText(text)
        more = "" if self.inputs.region == "whole" else " It trains on whole images."
        images = session.images
        self.model.tell_of_copy(kind, text, more, lambda: session.is_of(images))

    def show_card(self, session: Session, pair: Pair | None) -> None:
        """Show the quality card of the compared result, from the report of its training.

        Hide it if the result is not from the present model and the chosen images as they are now.
        """
        trained = session.trained
        if (
            trained
            and pair
            and pair.report is trained.report
            and any(is_same(pair.image, chosen) for chosen in session.images)
        ):
            self.result.card.show_quality(trained.report.get("quality", {}), trained.of)
        else:
            self.result.card.show_quality({})


def _stages(stages: tuple[str, ...]) -> str:
    return " and ".join(stage.replace("stage", "Stage ") for stage in stages)
