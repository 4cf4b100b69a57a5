"""The headless engine: torch, numpy and scipy; it knows neither Qt nor napari."""

import os

# Torch's threads spin while they wait for each other. Where another program keeps a core busy
# that is many times slower than sleeping; it is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
