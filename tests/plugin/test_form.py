import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog, QSpinBox, QWidget

from napari_autostructn2v.engine.config import PRESETS, Config
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.plugin.settings_form.editors import FloatBox
from napari_autostructn2v.plugin.settings_form.fields import Bounds, fields, words
from napari_autostructn2v.plugin.settings_form.form import ConfigForm

OWNED = ("budget", "axes", "structure.mask")
BY_KEY = {field.key: field for field in fields()}


@pytest.fixture
def form(qtbot):
    return make(qtbot)


def make(qtbot, **arguments):
    form = ConfigForm(**arguments)
    qtbot.addWidget(form)
    return form


def editor(form, key):
    path = BY_KEY[key].path
    return form.sections[path[:1] if len(path) > 1 else ()].editor(path)


def note(form, key):
    path = BY_KEY[key].path
    return form.sections[path[:1] if len(path) > 1 else ()].note_of(path)


def choose(combo, value):
    combo.setCurrentIndex(combo.findData(value))


def retype(box, text):
    box.selectAll()
    QTest.keyClicks(box, text)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("stage1_model", "Stage 1 model"),
        ("roi_threshold", "ROI threshold"),
        ("ring", "Ring rule"),
        ("network_per_channel", "Network per channel"),
    ],
)
def test_names_in_words(name, label):
    assert words(name) == label


@pytest.mark.parametrize(
    ("key", "help_"),
    [
        (
            "stage1.patch_size",
            ("Side of a training patch", "8 to 1,024 px", "Default: 64", "Key: stage1.patch_size"),
        ),
        (
            "stage2.mask_percentage",
            (
                "Share of a patch's pixels that is hidden",
                "more than 0 and at most 60 %",
                "Default: 15",
                "Key: stage2.mask_percentage",
            ),
        ),
        ("axes", (Config.model_fields["axes"].description, "Default: none", "Key: axes")),
    ],
)
def test_help_has_meaning_bounds_unit_default_and_key(key, help_):
    assert BY_KEY[key].help == help_


def test_every_field_of_the_config_has_a_control_that_shows_and_keeps_its_value(form):
    other = Config.parse(
        {
            "budget": "200steps",
            "seed": 2**63 - 1,
            "axes": "TYX",
            "stage1_model": "/data/a, b.asn2v",
            "split_ratio": [0.8, 0.2, 0.0],
            "tile": 512,
            "stage1": {"learning_rate": 3e-7, "network": {"depth": 3}},
            "structure": {
                "mask_source": "array",
                "mask": [[1, 1, 1]],
                "ring": {"max_true_pixels": None},
            },
        }
    )
    for config in (Config(), other, Config.parse({"preset": "autostructn2v"})):
        form.set_config(config)
        for section in form.sections.values():
            section.expand()
        values = {}
        for field in fields():
            control = editor(form, field.key)
            values[field.key] = control.value()
            form._on_edited(field, control.value())
            assert control.widget.toolTip()
        assert form.config() == config, values


def test_an_edit_is_told_with_the_new_config(form, qtbot):
    with qtbot.waitSignal(form.changed) as told:
        editor(form, "stage2.patch_size").widget.setValue(96)
    assert told.args == [Config.parse({"stage2": {"patch_size": 96}})]
    assert form.config() == told.args[0]


def test_setting_a_config_is_not_an_edit(form, qtbot):
    editor(form, "stage1.patch_size")
    with qtbot.assertNotEmitted(form.changed):
        form.set_config(Config.parse({"stage1": {"patch_size": 32}, "tile": 64}))
    assert editor(form, "stage1.patch_size").widget.value() == 32
    assert editor(form, "tile").value() == 64


@pytest.mark.parametrize(
    ("edits", "place", "sentence"),
    [
        (
            [("structure.mask_source", "file")],
            "structure.mask_source",
            "Mask source is 'file' but Mask file is not set.",
        ),
        (
            [("run_stage2", False), ("run_stage1", False)],
            "run_stage1",
            "Run Stage 1 and Run Stage 2 are both false: there is nothing to train.",
        ),
        (
            [("structure.mask_source", "dark")],
            "structure.mask_source",
            "Mask source is 'dark' but Dark file is not set.",
        ),
        (
            [("stage2.mask_center_size", 2)],
            "stage2.mask_center_size",
            "Mask center size 2 must be odd.",
        ),
        (
            [("split_ratio", (0.5, 0.1, 0.1))],
            "split_ratio",
            "Split ratio (0.5, 0.1, 0.1) must sum to 1.",
        ),
        ([("split_ratio", (0.5, 0.5))], "split_ratio", "Split ratio needs 3 values."),
        ([("device", "abacus")], "device", "Device 'abacus' is not valid: auto, cpu"),
        ([("seed", "x")], "seed", "Seed should be a valid integer"),
        ([("budget", "soon")], "budget", "Budget 'soon' is not understood"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(form, qtbot, edits, place, sentence):
    told = []
    form.invalid.connect(told.append)
    for key, value in edits:
        control = editor(form, key)
        if isinstance(control.widget, QComboBox):
            choose(control.widget, value)
        elif isinstance(control.widget, QSpinBox):
            control.widget.setValue(value)
        elif isinstance(value, bool):
            control.widget.setChecked(value)
        else:
            control.widget.setText(value if isinstance(value, str) else str(value).strip("()"))
    assert not form.is_valid
    assert sentence in note(form, place)
    assert told[-1] == form.error
    assert sentence in form.error
    with pytest.raises(InputError, match=r"."):
        form.config()
    said = [field.key for field in fields() if note(form, field.key)]
    assert said == [place]
    form.set_config(Config())
    assert form.is_valid
    assert note(form, place) == form.error == ""


def test_a_rule_about_a_field_that_is_not_shown_is_told_at_the_head_of_its_group(qtbot):
    form = make(qtbot, omit=("structure.mask", "structure.mask_source"))
    section = form.sections[("structure",)]
    form.set_config(Config.parse({"structure": {"mask_source": "file", "mask_file": "m.tif"}}))
    editor(form, "structure.mask_file").widget.focusProxy().clear()
    assert note(form, "structure.mask_file") == "⚠ Mask source is 'file' but Mask file is not set."
    assert section.header.text() == "Structure ⚠"

    form = make(qtbot, omit=("structure.mask", "structure.mask_source", "structure.mask_file"))
    form._values["structure", "mask_source"] = "file"
    editor(form, "seed").widget.setText("1")
    section = form.sections[("structure",)]
    assert section.note.text() == "Mask source is 'file' but Mask file is not set."
    assert section.header.text() == "Structure ⚠"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_sets_everything_but_what_belongs_elsewhere(qtbot, name):
    form = make(qtbot, omit=OWNED)
    form.set_config(Config.parse({"axes": "TYX", "budget": "7s", "training": {"ema": 0.5}}))
    assert form.preset.currentText() == ""
    with qtbot.waitSignal(form.changed) as told:
        form.preset.activated.emit(form.preset.findText(name))
    assert told.args == [Config.parse({"preset": name, "axes": "TYX"})]
    assert form.preset.currentText() == name
    editor(form, "training.patience").widget.setValue(11)
    assert form.preset.currentText() == ""


def test_restore_defaults(qtbot):
    form = make(qtbot, omit=OWNED)
    form.set_config(Config.parse({"preset": "autostructn2v", "axes": "ZYX"}))
    form.restore.click()
    assert form.config() == Config(axes="ZYX")


def test_what_is_omitted_has_no_control_and_passes_through(qtbot):
    form = make(qtbot, omit=OWNED)
    config = Config.parse(
        {"budget": "9s", "structure": {"mask_source": "array", "mask": [[1, 1, 1]]}}
    )
    form.set_config(config)
    with pytest.raises(KeyError):
        editor(form, "budget")
    editor(form, "structure.max_lag").widget.setValue(8)
    assert form.config().structure.mask == ((1, 1, 1),)
    assert str(form.config().budget) == "9s"


@pytest.mark.parametrize("value", [2e-3, 1e-9, 0.1, 1 / 3, 0.30000000000000004, 1.0])
def test_a_number_is_shown_and_kept_as_it_is(qtbot, value):
    box = FloatBox(Bounds(0, 1, low_is_open=True), 2e-3, "")
    qtbot.addWidget(box)
    box.setValue(value)
    assert box.value() == value
    assert float(box.text()) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2e-3", 0.002), (".5", 0.5), ("0,25", 0.25), ("1E-4", 1e-4), ("2", 1.0), ("-1", 0.2)],
)
def test_a_number_can_be_typed_in_any_way_within_its_bounds(qtbot, text, value):
    box = FloatBox(Bounds(0, 1, low_is_open=True), 2e-3, "")
    qtbot.addWidget(box)
    box.setSuffix(" px")
    box.setValue(0.2)
    retype(box, text)
    QTest.keyClick(box, Qt.Key.Key_Return)
    assert box.value() == value
    assert box.text() == f"{value:g} px"


@pytest.mark.parametrize(
    ("bounds", "default", "unit", "start", "ups", "downs"),
    [
        # a learning rate, a weight decay, a share, an EMA, a percentage
        (Bounds(0, 1, low_is_open=True), 2e-3, "", 2e-3, [5e-3, 1e-2], [1e-3, 5e-4]),
        (Bounds(0, 1), 0.0, "", 0.0, [1e-6, 2e-6], [0.0]),
        (Bounds(0, 1), 0.5, "", 0.5, [0.51, 0.52], [0.49, 0.48]),
        (Bounds(0, 1, high_is_open=True), 0.98, "", 0.98, [0.99, 0.99], [0.97]),
        (Bounds(0, 60, low_is_open=True), 2.0, "%", 59.8, [60.0, 60.0], [59.3]),
    ],
)
def test_the_arrows_take_sensible_steps(qtbot, bounds, default, unit, start, ups, downs):
    box = FloatBox(bounds, default, unit)
    qtbot.addWidget(box)
    for direction, values in ((1, ups), (-1, downs)):
        box.setValue(start)
        for value in values:
            box.stepBy(direction)
            assert box.value() == value


@pytest.mark.parametrize("key", ["pool_size", "training.ema", "dtype"])
def test_the_wheel_is_left_to_the_scroll_area(form, key):
    """Qt hands an event that is ignored to the widget around; only not one that is made here."""
    widget = editor(form, key).widget
    widget.setFocus()
    at = QPointF(widget.rect().center())
    wheel = QWheelEvent(
        at,
        QPointF(widget.mapToGlobal(at.toPoint())),
        QPoint(0, 0),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, wheel)
    assert not wheel.isAccepted()
    assert form.config() == Config()


def test_a_value_left_to_the_program_has_no_tick(form):
    widget = editor(form, "tile").widget
    assert editor(form, "tile").value() is None
    QTest.keyClick(widget.focusProxy(), Qt.Key.Key_Space)
    assert form.config().tile == 16
    QTest.keyClick(widget.focusProxy(), Qt.Key.Key_Space)
    assert form.config().tile is None


def test_a_file_is_chosen_in_a_dialog(form, monkeypatch, tmp_path):
    chosen = tmp_path / "a, b.tif"
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(chosen), ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    for key in ("structure.mask_file", "tensorboard"):
        button = editor(form, key).widget.findChildren(QWidget)[-1]
        button.click()
    assert form.config().structure.mask_file == chosen
    assert form.config().tensorboard == tmp_path


def test_a_setting_is_found_by_its_name_or_help(form, qtbot):
    with qtbot.waitExposed(form):
        form.show()
    assert opened(form) == {"General"}
    QTest.keyClicks(form.filter, "learning rate")
    qtbot.waitUntil(lambda: opened(form) == {"Stage 1", "Stage 2", "Training"})
    assert editor(form, "stage1.learning_rate").widget.isVisible()
    assert not editor(form, "stage1.patch_size").widget.isVisible()
    form.filter.setText("no such thing")
    qtbot.waitUntil(form.nothing.isVisible)
    form.filter.clear()
    qtbot.waitUntil(lambda: opened(form) == {"General"})
    form.sections[("stage1",)].expand()
    assert editor(form, "stage1.patch_size").widget.isVisible()


def opened(form):
    return {s._title for s in form.sections.values() if s.is_expanded and s.isVisible()}


def test_return_in_a_number_starts_nothing_further_up(listener):
    form = ConfigForm()
    form.setParent(listener)
    QTest.keyClick(editor(form, "pool_size").widget, Qt.Key.Key_Return)
    QTest.keyClick(editor(form, "device").widget, Qt.Key.Key_Enter)
    QTest.keyClick(form, Qt.Key.Key_F2)
    assert listener.pressed == [Qt.Key.Key_F2]


def test_it_makes_controls_only_when_a_section_opens(qtbot):
    form = make(qtbot)
    assert len(form.findChildren(QSpinBox)) == 0
    form.show()
    form.grab()
    assert 0 < len(form.findChildren(QSpinBox)) < 5
    few = len(form.findChildren(QSpinBox))
    form.sections[("structure",)].expand()
    assert len(form.findChildren(QSpinBox)) > few


def test_it_fits_a_narrow_panel(form):
    for section in form.sections.values():
        section.expand()
        assert section.minimumSizeHint().width() <= 275


def test_tab_goes_through_a_section_in_order(form):
    form.show()
    form.sections[("stage1",)].expand()
    wanted = [
        editor(form, key).widget.focusProxy() or editor(form, key).widget
        for key in ("budget", "stage1_model", "tile", "stage1.patch_size", "stage1.network.depth")
    ]
    reached, widget = [], form.filter
    while (widget := widget.nextInFocusChain()) is not form.filter:
        reached += [widget] if widget in wanted else []
    assert reached == wanted
