"""The dock widget: connects panels, session and canvas.

Closing the panel stops a run as the Stop button does, and the results so far are still added as
layers. Hiding the panel, by another tab or by minimising the window, doesn't stop the run. Closing
the window aborts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from napari.utils.notifications import show_info
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QHideEvent, QKeyEvent, QShowEvent
from qtpy.QtWidgets import QAbstractButton, QVBoxLayout, QWidget

from napari_autostructn2v.engine.config import Budget, Config
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.events import Finished, Preview
from napari_autostructn2v.engine.labels import STAGE_TITLES
from napari_autostructn2v.plugin.layers.reading import LayerSnapshot
from napari_autostructn2v.plugin.panels.panels import Panels
from napari_autostructn2v.plugin.panels.run_messages import RunMessages
from napari_autostructn2v.plugin.runs import settings
from napari_autostructn2v.plugin.runs.jobs import Analysed, Job, Load, Save, Train, engine
from napari_autostructn2v.plugin.runs.lifetime import Lifetime
from napari_autostructn2v.plugin.runs.session import Plan, Session
from napari_autostructn2v.plugin.runs.worker import Engine, Run
from napari_autostructn2v.plugin.viewer.canvas import Canvas
from napari_autostructn2v.plugin.widgets.message_label import Holds, always

_MIN_WIDTH, _MIN_HEIGHT = 300, 260  # another panel may lie below
_AWAITING = "The run of the closed panel is ending; its model will then appear here."
_CLOSED = "Panel closed: {} stops. Results so far are kept."


class DenoiseDock(QWidget):
    """Parameters: the viewer, and the function that runs a job (replaced in tests)."""

    def __init__(self, napari_viewer: Any, make_engine: Callable[[Job], Engine] = engine) -> None:
        super().__init__()
        # napari passes plugins a proxy that wraps layers anew at each access, but layers are
        # compared and kept here, so unwrap it.
        viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session = Session(make_engine, self)
        self.lifetime = Lifetime(self, self.session, viewer)
        self.panels = Panels(viewer, self.session)
        self.canvas = Canvas(viewer, self.session.mask, self)
        self._account: Holds = always  # what bar and curves tell of the last run
        self.messages = RunMessages(self.panels, self.session)
        self.setWindowTitle("Denoise")
        self.setMinimumSize(_MIN_WIDTH, _MIN_HEIGHT)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.panels)
        self._recall()
        self._connect()
        self._on_input()
        self.panels.show_model(self.session)
        if self.lifetime.is_awaiting:
            self.panels.train.message.say(_AWAITING)

    def _connect(self) -> None:
        session, panels, comparison = self.session, self.panels, self.canvas.comparison
        train, result, model = panels.train, panels.result, panels.model
        for signal, slot in (
            (panels.inputs.changed, self._on_input),
            (panels.inputs.budget_changed, self._on_budget),
            (panels.denoise.clicked, lambda: self._train(session.plan)),
            (panels.noise.analyse_wanted, self._analyse),
            (panels.noise.layers_wanted, self._show_layers),
            (panels.editor.options_changed, self._on_options),
            (train.stop.clicked, self._stop),
            (train.go_on.clicked, lambda: self._train(session.further)),
            (train.cancel.clicked, self._cancel),
            (train.preview_changed, self._set_preview),
            (result.preview.clicked, self._preview),
            (result.apply.clicked, self._apply),
            (result.hold.pressed, partial(comparison.hold, True)),
            (result.hold.released, partial(comparison.hold, False)),
            (result.curtain.clicked, self._compare(comparison.show_curtain)),
            (result.residual.clicked, self._compare(lambda _: comparison.add_residual())),
            (model.save_wanted, lambda path: self._begin(session.save(path))),
            (model.load_wanted, lambda path: self._begin(session.load(path))),
            (model.script.clicked, lambda: panels.copy("script", session)),
            (model.command.clicked, lambda: panels.copy("command", session)),
            (model.batch.running_changed, self._on_batch),
            (panels.form.changed, self._on_form),
            (panels.form.invalid, self._update),
            (comparison.changed, self._update),
            (session.told, self._on_event),
            (session.finished, self._on_finished),
            (session.changed, self._on_known),
            (session.mask.changed, self._update),
            (self.lifetime.hidden, comparison.rest),
            (self.lifetime.closed, self._stop_closed),
            (self.lifetime.inherited, self._on_inherited),
            # Not a method of this widget, which has ceased to be one by then.
            (self.destroyed, partial(_let_go, self.canvas)),
        ):
            signal.connect(slot)

    @property
    def is_running(self) -> bool:
        return self.session.is_running

    # User actions

    def _on_input(self) -> None:
        """Update after a change in the input panel."""
        try:
            images = self.panels.inputs.images()
        except InputError:  # said beside them
            images = []
        if not self.session.is_of(images):
            self.canvas.noise.leave()
        self.session.set_images(images)
        self._update()

    def _train(self, plan: Callable[[Config], Plan]) -> None:
        asked = self._asked()
        if asked is None:
            return
        config, chosen = asked
        images, region = self.session.images, self.panels.inputs
        place = self.canvas.watch(images[0], lambda: region.region)
        self._set_preview()
        planned = plan(config)
        stages = tuple(STAGE_TITLES)
        sink = self.canvas.sink(images, stages if planned.config.run_stage1 else stages[1:])
        self._follow(self.session.train(planned, chosen, sink, place), trains=True)

    def _analyse(self) -> None:
        asked = self._asked()
        if asked is not None:
            self.panels.noise.show_noise("Measuring the noise…", "")
            self.panels.folds["mask"].expand()
            self._begin(self.session.analyse(asked[1], asked[0]))

    def _asked(self) -> tuple[Config, list[LayerSnapshot]] | None:
        """Start a job on the layers as they are now; show a message if that isn't possible."""
        self._on_input()
        inputs, form = self.panels.inputs, self.panels.form
        budget = inputs.take_budget()
        if budget is None or not form.is_valid or not self.session.images:
            return None
        chosen = inputs.region_note.attempt(lambda: inputs.parts(self.session.images))
        if chosen is None:
            return None
        return form.config().model_copy(update={"budget": budget}), chosen

    def _apply(self) -> None:
        self._on_input()
        self._use_model(self.session.images)

    def _preview(self) -> None:
        self._on_input()
        cut = self.panels.inputs.glimpses
        chosen = self.panels.result.note.attempt(lambda: cut(self.session.images))
        self._use_model(chosen or ())

    def _use_model(self, images: Sequence[LayerSnapshot]) -> None:
        if self.session.trained is not None and images:
            sink = self.canvas.sink(images, ())
            self._follow(self.session.apply(images, self.panels.form.config(), sink))

    def _stop(self) -> None:
        if self.session.run is not None:
            self.session.run.stop()
            self.panels.train.progress.stopping()
            self._update()

    def _cancel(self) -> None:
        """Remove what the run has added, at once; it ends when its thread does."""
        if self.session.run is not None:
            self.session.run.cancel()
            self.canvas.take_away()
            self.panels.train.progress.stopping()
            self._update()

    def _set_preview(self) -> None:
        train = self.panels.train
        self.canvas.set_preview(train.live.isChecked(), train.split.isChecked())

    def _show_layers(self, on: bool) -> None:
        measured = self.session.measured
        if not on:
            self.canvas.noise.hide()
        elif measured is not None:
            self.canvas.show_noise(measured, self.session.images[0])

    def _compare(self, action: Callable[[bool], None]) -> Callable[[bool], None]:
        """Return a slot that compares; errors are shown below the buttons."""

        def looked_at() -> tuple[object, int]:
            return self.canvas.comparison.pair, self.canvas.viewer.dims.ndisplay

        def act(on: bool) -> None:
            self.panels.result.note.attempt_once(partial(action, on), looked_at)
            self._update()

        return act

    def _on_budget(self, budget: Budget) -> None:
        form = self.panels.form
        if form.is_valid:
            form.set_config(form.config().model_copy(update={"budget": budget}))

    def _on_options(self) -> None:
        """Copy the mask editor's options into the form."""
        form = self.panels.form
        if form.is_valid:
            structure = self.panels.editor.options
            form.set_config(form.config().model_copy(update={"structure": structure}))

    def _on_form(self, config: Config) -> None:
        """Update after a change of settings."""
        self.panels.inputs.set_budget(config.budget)
        self.panels.inputs.set_axes(config.axes)
        if config.structure != self.panels.editor.options:
            self.panels.editor.set_options(config.structure)
            self.canvas.noise.leave()
            self.session.forget_noise()
        self._update()

    # Events of a run

    def _follow(self, run: Run, *, trains: bool = False) -> None:
        """Begin a run that denoises, and show its progress."""
        self._update()  # before anything that handles events: a second click may be among them
        self.panels.train.begin(run.finished, run.title, trains=trains)
        self._begin(run)
        self.messages.turn_to("train")
        self.panels.train.stop.setFocus()

    def _begin(self, run: Run) -> None:
        self.canvas.begin()
        for note in self.panels.notes:
            note.say("")
        self._account = self.messages.while_chosen()
        self.lifetime.follow(run)
        run.start()
        self._update()
        self._remember()

    def _on_event(self, event: object) -> None:
        self.messages.show_event(event)
        match event:
            case Preview():
                self.canvas.show_preview(event)
            case Analysed():
                self._show_layers(self.panels.noise.as_layers.isChecked())
                self.messages.turn_to("train" if self.canvas.is_filling else "mask")
            case Finished():
                trained = isinstance(self.session.job, Train)
                if trained and self.canvas.judge(event.report) and event.stopped:
                    said = "Quality not assessed: the run was stopped."
                    self.panels.result.note.add(said, self.messages.while_chosen())
                self.messages.turn_to("result")

    def _on_finished(self, cancelled: bool) -> None:
        focused = self.focusWidget() in (self.panels.train.stop, self.panels.train.cancel)
        if cancelled:
            self.canvas.take_away()
        files = self.canvas.finish()
        if files:
            kept = ", ".join(map(str, files))
            self.panels.result.note.add(f"Too large for memory, so the result is kept in {kept}.")
        self.panels.show_model(self.session)
        self._on_known()
        if focused:  # a disabled button would have handed it on to another panel
            self.panels.denoise.setFocus()

    def _on_batch(self, running: bool) -> None:
        # Not let go of while the batch, a part of it, has yet to return.
        QTimer.singleShot(0, partial(self.lifetime.keep, running))
        self._update()

    def _on_known(self) -> None:
        self.panels.show_noise(self.session)
        self._update()

    def _update(self) -> None:
        comparison = self.canvas.comparison
        pair = comparison.pair
        comparing = pair is not None, comparison.curtain is not None
        self.panels.update_buttons(comparing=comparing, session=self.session)
        self.panels.show_card(self.session, pair)
        if not (self.is_running or self._account()):
            self.panels.train.reset()
            self._account = always

    # Lifetime

    def _recall(self) -> None:
        """Restore the saved settings."""
        self._remembered = settings.load()
        self.panels.recall(self._remembered)

    def _remember(self) -> None:
        now = self.panels.settings(self._remembered)
        if now != self._remembered:
            self._remembered = now
            settings.save(now)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.canvas.comparison.wake()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._remember()

    def _stop_closed(self) -> None:
        """Stop runs once the panel is closed, and notify the user."""
        run, batch = self.session.run, self.panels.model.batch
        if batch.is_running:
            batch.stop()
            show_info(_CLOSED.format("Denoise files"))
        if run is not None and not run.is_stopping:
            self._stop()
            if not isinstance(self.session.job, Save | Load):  # which end by themselves
                show_info(_CLOSED.format(run.title))

    def _on_inherited(self) -> None:
        message = self.panels.train.message
        if message.text() == _AWAITING and not self.lifetime.is_awaiting:
            message.say("")
        self.panels.show_model(self.session)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Let Return press the focused button, or else Denoise."""
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)
            return
        focused = self.focusWidget()
        if isinstance(focused, QAbstractButton):
            focused.click()
        elif focused is not None and self.panels.inputs.isAncestorOf(focused):
            self.panels.denoise.click()


def _let_go(canvas: Canvas) -> None:
    with suppress(RuntimeError):  # at exit Qt may have deleted them first
        canvas.close()
