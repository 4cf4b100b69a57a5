"""Fake runs: what the worker must cope with, without an engine."""

import pytest
from qtpy.QtCore import QThreadPool


@pytest.fixture(autouse=True)
def _no_thread_is_left(qapp):
    yield
    assert QThreadPool.globalInstance().waitForDone(5000)
