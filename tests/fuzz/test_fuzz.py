"""Damaged inputs of every kind are read or refused in a sentence: a few of those of `make fuzz`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="memory is bounded by it")


def test_no_damaged_input_is_met_by_anything_but_a_sentence(tmp_path: Path) -> None:
    script = Path(__file__).with_name("fuzz.py")
    command = [sys.executable, str(script), "--count", "150", "--keep", str(tmp_path / "faults")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
