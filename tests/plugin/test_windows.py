"""A test that leaves a window open fails."""

import pytest
from qtpy.QtWidgets import QLabel, QWidget


def test_a_window_that_is_left_is_named(closes_its_windows):
    left = QLabel("left")
    with pytest.raises(AssertionError, match="QLabel"), closes_its_windows():
        left.show()
    left.deleteLater()


def test_what_is_deleted_or_belongs_to_another_is_not_left(closes_its_windows):
    before = QWidget()
    with closes_its_windows():
        QLabel("in it", before).show()
        soon = QLabel("soon deleted")
        soon.show()
        soon.deleteLater()
        circle = [QLabel("waits for the collector")]
        circle[0].show()
        circle.append(circle)
        del circle
    before.deleteLater()
