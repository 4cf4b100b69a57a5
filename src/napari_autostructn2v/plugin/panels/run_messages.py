"""The messages about a run in the panels, and how long they apply."""

from __future__ import annotations

from typing import cast

from qtpy.QtCore import QObject, QTimer

from napari_autostructn2v.engine.events import (
    Checked,
    Event,
    Failed,
    Progress,
    Started,
    Warning,  # noqa: A004 - the event's public name
)
from napari_autostructn2v.plugin.panels.panels import Panels
from napari_autostructn2v.plugin.runs.jobs import Apply, Load, Loaded, Save, Saved
from napari_autostructn2v.plugin.runs.session import Session
from napari_autostructn2v.plugin.widgets.fold import Fold
from napari_autostructn2v.plugin.widgets.message_label import Holds, sentence


class RunMessages(QObject):
    """Shows each event of the session's run in the panel it belongs to."""

    def __init__(self, panels: Panels, session: Session) -> None:
        super().__init__(panels)
        self._panels = panels
        self._session = session
        self._turned_to: Fold | None = None
        self._turning = QTimer(self)
        self._turning.setSingleShot(True)
        self._turning.timeout.connect(self._turn)

    def while_chosen(self) -> Holds:
        """Return the condition for messages about the run: the same images are chosen."""
        images = self._session.images
        return lambda: self._session.is_of(images)

    def while_known(self) -> Holds:
        """Return the condition for messages about the model: it is still the present one."""
        model = self._session.model
        return lambda: self._session.model is model

    def show_event(self, event: object) -> None:
        panels = self._panels
        keeps = isinstance(self._session.job, Save | Load)
        if not keeps:
            panels.train.progress.show_event(cast("Event", event))
        match event:
            case Started():
                panels.show_device(event.device)
            case Progress():
                panels.train.curves.add(event)
            case Checked(repaired=True):
                said = f"{event.sentence} Stage 2 restarts with a wider mask."
                panels.train.message.add(said, self.while_chosen())
            case Warning():
                applied = isinstance(self._session.job, Apply)
                note = panels.result.note if applied else panels.train.message
                note.add(f"Note: {event.message}", self.while_chosen())
            case Failed():
                part = "model" if keeps else "train"
                note = panels.model.note if keeps else panels.train.message
                note.say(f"Error: {sentence(event.message)}", self.while_chosen())
                panels.folds[part].expand()
                self.turn_to(part)
            case Loaded():
                said = "To denoise the image with it: 3 Result, Denoise layer."
                panels.model.note.say(said, self.while_known())
            case Saved():
                panels.model.note.say(f"Saved as {event.path}.", self.while_known())

    def turn_to(self, name: str) -> None:
        """Scroll to a section, once the layout has been updated."""
        self._turned_to = self._panels.folds[name]
        self._turning.start()

    def _turn(self) -> None:
        if self._turned_to is not None:
            self._turned_to.scroll_here()
