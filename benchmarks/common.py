"""What the benchmarks share: where the data is, a run in one call, a table."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_autostructn2v import Config
from napari_autostructn2v.engine.data.sink import ArraySink

if TYPE_CHECKING:
    from napari_autostructn2v import events

DATA = Path(
    os.environ.get("AUTOSTRUCTN2V_DATA", Path(__file__).parents[2] / "shared" / "data")
).resolve()


def have_data(*names: str) -> bool:
    missing = [name for name in names if not (DATA / name).exists()]
    if missing:
        print(f"left out: no {', '.join(missing)} in {DATA}", file=sys.stderr)
    return not missing


def train(image: Any, **options: Any) -> tuple[dict[str, np.ndarray], events.Finished]:
    """Run on one image; gives each stage's result and the last event."""
    # Imports torch, which no other benchmark is to have done before its time.
    from napari_autostructn2v import run
    from napari_autostructn2v.engine.pipeline import consume

    sink = ArraySink(every_stage=True)
    last = consume(run(image, Config.parse({"dtype": "float32", **options}), sink=sink))
    return {stage: result for (_, stage), result in sink.results.items()}, last


def row(*cells: Any) -> None:
    texts = [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print("| " + " | ".join(texts) + " |", flush=True)


def head(*titles: str) -> None:
    row(*titles)
    row(*["---"] * len(titles))
