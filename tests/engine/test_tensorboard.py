"""Logs are kept beside a training and never end it."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.training.loop import Step
from napari_autostructn2v.engine.training.tensorboard import Board


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"TensorBoard folder .*file/stage1/logs: Not a"):
        Board(tmp_path / "file", "stage1")


def test_a_full_disk_ends_the_logs_and_not_the_training(tmp_path, monkeypatch, caplog):
    board = Board(tmp_path, "stage1")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(board._writer, "add_scalar", full)
    step = Step(step=1, total=2, loss=1.0, learning_rate=0.1)
    board.step(step)
    board.step(step)
    board.image("noisy", np.ones((4, 4)), 1)
    board.close()

    assert caplog.messages == ["TensorBoard logging stopped: No space left on device"]
