"""Shared by the benchmarks: the data folder, a run in one call, tables saved as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from napari_autostructn2v import Config
from napari_autostructn2v.engine.data.sink import ArraySink

if TYPE_CHECKING:
    from napari_autostructn2v import events

HERE = Path(__file__).parent
DATA = Path(os.environ.get("AUTOSTRUCTN2V_DATA", HERE / "data")).resolve()
PACKAGES = ("napari-autostructn2v", "numpy", "scipy", "torch", "tifffile", "zarr", "napari")

_printed: list[dict[str, Any]] = []  # tables and lines, in order


def have_data(*names: str) -> bool:
    missing = [name for name in names if not (DATA / name).exists()]
    if missing:
        print(f"skipped: no {', '.join(missing)} in {DATA}", file=sys.stderr)
    return not missing


def train(image: Any, **options: Any) -> tuple[dict[str, np.ndarray], events.Finished]:
    """Run on one image; return each stage's result and the last event."""
    # Imports torch, which some benchmarks time or do without.
    from napari_autostructn2v import run
    from napari_autostructn2v.engine.denoising import consume

    sink = ArraySink(every_stage=True)
    last = consume(run(image, Config.parse({"dtype": "float32", **options}), sink=sink))
    return {stage: result for (_, stage), result in sink.results.items()}, last


def parser(description: str | None) -> argparse.ArgumentParser:
    """Make the argument parser of a benchmark, with the option `--json` for `keep`."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", metavar="OUT", help="save the results in this file")
    return made


def head(*titles: str) -> None:
    """Start a table."""
    _printed.append({"columns": list(titles), "rows": []})
    _print_row(titles)
    _print_row(["---"] * len(titles))


def row(*cells: Any) -> None:
    """Print a row of the current table and record it."""
    table = next(part for part in reversed(_printed) if "rows" in part)
    table["rows"].append([_plain(cell) for cell in cells])
    _print_row(cells)


def say(text: str) -> None:
    """Print a line, such as a title, and record it."""
    _printed.append({"text": text.strip()})
    print(text, flush=True)


def keep(options: argparse.Namespace) -> None:
    """Write the recorded output and details of the machine to the file given with `--json`."""
    if options.json is None:
        return
    asked = {key: value for key, value in vars(options).items() if key != "json"}
    found = {
        "benchmark": Path(sys.argv[0]).stem,
        "options": asked,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": _machine(),
        "versions": _versions(),
        "results": _printed,
    }
    Path(options.json).write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def _print_row(cells: Any) -> None:
    texts = [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print("| " + " | ".join(texts) + " |", flush=True)


def _plain(cell: Any) -> Any:
    return cell.item() if isinstance(cell, np.generic) else cell


def _git(*words: str) -> str | None:
    """Return git's output for this checkout; None outside of one."""
    try:
        done = subprocess.run(["git", *words], cwd=HERE, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _machine() -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    found = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_at_the_end": load,  # far above 1 per core: other programs were running
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    torch = sys.modules.get("torch")  # only if the benchmark itself needed it
    if torch is not None and torch.cuda.is_available():
        found["graphics_card"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
