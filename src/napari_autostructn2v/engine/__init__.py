"""The headless engine: torch, numpy and scipy; it knows neither Qt nor napari."""

import os

# Torch's threads spin while they wait for each other, for ever by default: where another program
# keeps a core busy, training is then many times slower. Read when torch is first imported; this
# many turns cost nothing on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")
