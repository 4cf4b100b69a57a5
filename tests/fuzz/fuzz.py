"""Damages inputs of every kind at random: each must be read or refused, at once and in a sentence.

No other exception, nothing on the terminal, at most 5 s of computing and 2 GB for any of them.
What is not, is kept in a folder with what was wrong. The same seed gives the same inputs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import psutil
from mutations import mutate
from seeds import Files, make_seeds
from trial import serve

COMPUTING = 5  # seconds that an input may compute
WAITING = 60  # seconds that it may take, beside other programs


class Worker:
    """A process that tries inputs; another takes its place where it hangs or dies."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()
        self._times = psutil.Process(self._process.pid)

    def _computed(self) -> float:
        with suppress(psutil.Error):
            times = self._times.cpu_times()
            return float(times.user + times.system)
        return 0.0

    def __call__(self, kind: str, path: Path) -> tuple[str, str]:
        began, computed = time.monotonic(), self._computed()
        self._pipe.send((kind, path))
        fault = ""
        try:
            while not self._pipe.poll(0.2):
                if self._computed() - computed > COMPUTING:
                    fault = f"computes for over {COMPUTING} s"
                elif time.monotonic() - began > WAITING:
                    fault = f"hangs for over {WAITING} s"
                if fault:
                    break
            else:
                outcome: tuple[str, str] = self._pipe.recv()
                return outcome
        except (EOFError, OSError):
            self._process.join()
            fault = f"the process died with {self._process.exitcode}"
        self._process.kill()
        self.close()
        self._start()
        return "error", fault

    def close(self) -> None:
        with suppress(OSError):
            self._pipe.send(None)
        self._process.join(1)
        self._process.kill()
        self._process.join()
        self._pipe.close()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=20_000, help="number of inputs")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", default="", help="kinds whose name begins so")
    options.add_argument("--keep", type=Path, default=Path("out/fuzz"), help="folder for faults")
    chosen = options.parse_args()
    counts: dict[str, Counter[str]] = {}
    faults: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        (seeds_folder := Path(folder) / "seeds").mkdir()
        seeds = make_seeds(seeds_folder)
        kinds = [kind for kind in seeds if kind.startswith(chosen.only)]
        others = list(seeds.values())
        worker = Worker()
        try:
            for number in range(chosen.count):
                kind = kinds[number % len(kinds)]
                random = Random(f"{chosen.seed} {number}")
                whole = number < len(kinds)  # a damaged seed would test nothing
                files = seeds[kind] if whole else mutate(seeds[kind], others, random)
                place = _written(Path(folder) / "input", seeds[kind], files)
                outcome, fault = worker(kind, place)
                if whole and outcome != "read":
                    fault = fault or "is refused undamaged"
                counts.setdefault(kind, Counter())[outcome] += 1
                if fault:
                    counts[kind]["fault"] += 1
                    faults[f"{kind}: {fault}"] += 1
                    _keep(chosen.keep / f"{chosen.seed}-{number}", place, f"{kind}: {fault}\n")
                if sys.stderr.isatty():
                    print(f"\r{number + 1} of {chosen.count}", end="", file=sys.stderr)
        finally:
            worker.close()
    _tell(counts, faults)
    return bool(faults)


def _written(folder: Path, seed: Files, files: Files) -> Path:
    """Write an input in place of the last one, and give its path."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / next(iter(seed)).split("/")[0]


def _keep(folder: Path, place: Path, fault: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "fault.txt").write_text(fault, encoding="utf-8")
    if place.is_dir():
        shutil.copytree(place, folder / place.name)
    elif place.exists():
        shutil.copy(place, folder)


def _tell(counts: dict[str, Counter[str]], faults: Counter[str]) -> None:
    total: Counter[Any] = sum(counts.values(), Counter())
    columns = ("read", "refused", "error", "fault")
    print(f"{'':18}" + "".join(f"{column:>9}" for column in columns))
    for kind, count in [*counts.items(), ("all", total)]:
        print(f"{kind:18}" + "".join(f"{count[column]:>9}" for column in columns))
    for fault, times in faults.most_common():
        print(f"{times:6} {fault}")


if __name__ == "__main__":
    sys.exit(main())
