"""Saves a run in a folder with autoStructN2V's layout.

A later run can take its mask with `--mask DIR/mask.tif` and Stage 1 with `stage1_model`.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_autostructn2v.engine import events
from napari_autostructn2v.engine.config import Config, StageName
from napari_autostructn2v.engine.data.files import beside, write_json, write_tiff
from napari_autostructn2v.engine.data.outputs import check_outputs
from napari_autostructn2v.engine.data.source import Source
from napari_autostructn2v.engine.data.split import split
from napari_autostructn2v.engine.labels import STAGE_TITLES, stages_until
from napari_autostructn2v.engine.model.model import TrainedModel


class Experiment:
    """Writes the events of a run into a folder, from the first training step on.

    Give `config` to the run and `stage_results` to its `FileSink`.
    """

    def __init__(
        self, folder: Path, outputs: Sequence[Path], sources: Sequence[Source], config: Config
    ) -> None:
        check_outputs(experiments=[folder])
        self.folder = folder
        self.config = config
        if importlib.util.find_spec("tensorboard"):
            self.config = config.model_copy(update={"tensorboard": folder})
        self.stage_results: Mapping[StageName, Sequence[Path]] = {
            stage: [self._part(stage, "results") / path.name for path in outputs]
            for stage in STAGE_TITLES
        }
        self._outputs, self._sources = outputs, sources
        self._rho: npt.NDArray[Any] | None = None
        self._begun = False

    def observe(self, event: events.Event) -> None:
        match event:
            case events.NoiseMeasured() if self._rho is None:
                self._rho = event.rho
            case events.Progress() if not self._begun:
                self._begin()
            case events.MaskFound():
                self._begin()
                write_tiff(self.folder / "mask.tif", event.mask)
                write_tiff(self.folder / "autocorrelation.tif", np.float32(event.rho))
            case events.StageDone():
                self._begin()

    def finish(self, model: TrainedModel, report: Mapping[str, Any]) -> None:
        """Save each stage's model, the report and a copy of the results."""
        for stage in model.stages:
            upto = stages_until(stage)
            units = tuple(
                replace(unit, networks={k: v for k, v in unit.networks.items() if k in upto})
                for unit in model.units
            )
            replace(model, units=units).save(self._part(stage, "model") / "model.asn2v")
        for path in self._outputs:
            _copy(path, self.folder / "final_results" / path.name)
            _copy(path, self._part(report["result"], "results") / path.name)
        write_json(self.folder / "report.json", report)

    def _part(self, stage: StageName, part: str) -> Path:
        return self.folder / stage / part

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        for stage in STAGE_TITLES:
            for part in ("model", "logs", "results"):
                self._part(stage, part).mkdir(parents=True, exist_ok=True)
        (self.folder / "final_results").mkdir(exist_ok=True)
        config = self.config
        write_json(self.folder / "config.json", config.model_dump(mode="json"))
        write_json(self.folder / "split.json", split(self._sources, config).names)
        if self._rho is not None:
            write_tiff(self.folder / "autocorrelation.tif", np.float32(self._rho))


def _copy(source: Path, target: Path) -> None:
    with beside(target) as part:
        if source.is_dir():
            shutil.copytree(source, part)
        else:
            shutil.copy2(source, part)
