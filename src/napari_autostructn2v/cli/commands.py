"""The five commands: demo, run, analyse, denoise, info."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from napari_autostructn2v.cli.display import (
    Display,
    say_findings,
    say_quality,
    say_score,
    say_stage,
    say_written,
)
from napari_autostructn2v.cli.failures import worst
from napari_autostructn2v.cli.jobs import (
    Extras,
    TrainingRun,
    Write,
    check_runs,
    finished,
    last_event,
    run_each,
    stop_flag,
    write_all,
)
from napari_autostructn2v.cli.options import (
    Axes,
    BudgetText,
    ConfigFile,
    Dark,
    Device,
    Dtype,
    From,
    Inputs,
    Measuring,
    ModelFile,
    Out,
    Overwrite,
    Region,
    Seed,
    StageChoice,
    configure,
    help_of,
    path_option,
)
from napari_autostructn2v.cli.terminal import console, say, shown
from napari_autostructn2v.engine.config import PRESETS
from napari_autostructn2v.engine.data.files import write_json, write_tiff
from napari_autostructn2v.engine.data.outputs import check_outputs
from napari_autostructn2v.engine.labels import STAGE_TITLES


def demo(
    output: Annotated[
        Path, path_option("-o", "--output", metavar="DIR", help="Folder to write into.")
    ] = Path(),
    budget: BudgetText = "45s",
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Denoise a synthetic sample with a known truth and save a picture of the results."""
    from napari_autostructn2v.engine import pipeline
    from napari_autostructn2v.engine.data.sink import ArraySink
    from napari_autostructn2v.engine.data.source import as_source
    from napari_autostructn2v.engine.reporting.result_page import result_page
    from napari_autostructn2v.engine.synthetic import psnr, sample

    started = time.monotonic()
    chosen = configure({"budget": budget, "seed": seed, "device": device})
    image, picture = output / "autostructn2v-demo-noisy.tif", output / "autostructn2v-demo.png"
    check_outputs(files=[image, picture], overwrite=True)
    made = sample("nuclei", "horizontal", size=512, seed=chosen.seed, psnr=18.0)
    write_tiff(image, made.noisy, software="")
    source = as_source(made.noisy, "YX", name="demo")
    sink = ArraySink(every_stage=True)
    with stop_flag() as stop, Display() as display:
        last = last_event(pipeline.run(source, chosen, sink=sink, stop=stop), [display.show], [])
    report = finished(last).report

    results = {stage: result for (_, stage), result in sink.results.items()}
    title = f"autostructn2v demo: a synthetic sample, noise {report['verdict']}"
    result_page(title, made.noisy, results, report, made.clean).save(picture)

    table = Table("image", "PSNR")
    table.add_row("noisy", f"{psnr(made.clean, made.noisy):.2f} dB")
    for stage, result in results.items():
        table.add_row(STAGE_TITLES[stage], f"{psnr(made.clean, result):.2f} dB")
    console().print(table)
    say("PSNR = 20 log10(range of the truth / rms error)")
    say_quality(report["quality"])
    say(f"{report['verdict']}; {time.monotonic() - started:.0f} s in all; wrote {image}, {picture}")


def run(
    inputs: Inputs,
    output: Out,
    budget: BudgetText = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"One of {', '.join(PRESETS)}.")
    ] = None,
    config: ConfigFile = None,
    mask: Annotated[
        str | None, typer.Option(metavar="M.tif|auto", help="Structural mask; auto measures it.")
    ] = None,
    source: From = None,
    region: Region = None,
    dark: Dark = None,
    axes: Axes = None,
    seed: Seed = None,
    device: Device = None,
    report: Annotated[
        Path | None,
        path_option(
            metavar="R.json",
            help="Write a report here, and a page with pictures beside it (R.png).",
        ),
    ] = None,
    save_model: Annotated[
        Path | None, path_option(metavar="M.asn2v", help="Save the trained model here.")
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help="Train one model per input instead of one for all.")
    ] = False,
    experiment: Annotated[
        Path | None, path_option(metavar="DIR", help="Save masks, models, logs and results here.")
    ] = None,
    dtype: Dtype = None,
    stage: StageChoice = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure the noise of images, train on them and write the denoised images.

    Several inputs train one model. With --each and several inputs, --report, --save-model and
    --experiment name folders that hold one item per input.
    """
    from napari_autostructn2v.engine.data.opening import find_sources
    from napari_autostructn2v.engine.data.sink import output_paths

    options = {
        "budget": budget, "axes": axes, "seed": seed, "device": device, "dtype": dtype,
        "result": stage,
    }  # fmt: skip
    chosen = configure(options, preset, config, mask, Measuring(source, region, dark))
    extras = Extras(report, save_model, experiment)
    reads = [config, *chosen.files]
    with stop_flag() as stop:
        if each:
            code = run_each(inputs, output, extras, chosen, overwrite, stop, reads)
        else:
            sources = find_sources(inputs, chosen.axes)
            training = TrainingRun(output_paths(output, sources), extras, chosen, overwrite)
            check_runs([training], [*reads, *(path for source in sources for path in source.files)])
            code = training.run(sources, stop)
    raise typer.Exit(code)


def analyse(
    inputs: Inputs,
    config: ConfigFile = None,
    source: From = None,
    region: Region = None,
    dark: Dark = None,
    axes: Axes = None,
    report: Annotated[
        Path | None, path_option(metavar="R.json", help="Write the report here.")
    ] = None,
    mask_out: Annotated[
        Path | None,
        path_option(metavar="M.tif", help="Write the mask of the first noisy image, as 0 and 1."),
    ] = None,
    plot: Annotated[
        Path | None,
        path_option(metavar="P.png", help="Draw a page about the noise of the first noisy image."),
    ] = None,
    score: Annotated[
        Path | None, path_option(metavar="MASK.tif", help="Score this mask on the measured noise.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure the noise of images and how it is correlated, without training."""
    from napari_autostructn2v.engine.data.opening import find_sources
    from napari_autostructn2v.engine.mask import analysis
    from napari_autostructn2v.engine.mask.mask_file import read_mask
    from napari_autostructn2v.engine.mask.score import score as worth

    chosen = configure({"axes": axes}, file=config, measuring=Measuring(source, region, dark))
    judged = read_mask(score) if score else None
    sources = find_sources(inputs, chosen.axes)
    files = [path for source in sources for path in source.files]
    check_outputs(
        files=[path for path in (report, mask_out, plot) if path],
        reads=[path for path in (*files, config, score, *chosen.files) if path],
        overwrite=overwrite,
    )
    findings = list(analysis.analyse(sources, chosen))
    say_findings(findings)
    first = next(finding for finding in findings if not finding.blank)
    if score and judged is not None:
        patch = chosen.stage2.patch_size
        for finding in findings:
            result = worth(finding.noise, judged, chosen.structure, patch)
            say_score(finding, score.name, result)

    def draw() -> None:
        from napari_autostructn2v.engine.reporting.noise_page import noise_page

        if plot:
            noise_page(sources[first.image], first, chosen.structure).save(plot)

    used = {**analysis.report(findings), "config": chosen.model_dump(mode="json")}
    wanted: list[tuple[Path | None, Write]] = [
        (report, lambda: write_json(report or Path(), used)),
        (mask_out, lambda: write_tiff(mask_out or Path(), first.mask)),
        (plot, draw),
    ]
    failures: list[int] = []
    if written := write_all(wanted, failures):
        say_written(written)
    raise typer.Exit(worst(failures) if failures else 0)


def denoise(
    model: ModelFile,
    inputs: Inputs,
    output: Out,
    tile: Annotated[int | None, typer.Option(metavar="PX", help=help_of("tile"))] = None,
    axes: Axes = None,
    device: Device = None,
    dtype: Dtype = None,
    stage: StageChoice = None,
    overwrite: Overwrite = False,
) -> None:
    """Denoise images with a trained model."""
    from napari_autostructn2v.engine import denoising
    from napari_autostructn2v.engine.data.opening import find_sources
    from napari_autostructn2v.engine.data.sink import FileSink, output_paths
    from napari_autostructn2v.engine.denoising import Model

    chosen = configure({"tile": tile, "device": device, "dtype": dtype, "result": stage})
    with stop_flag() as stop:
        trained = Model.load(model)
        sources = find_sources(inputs, axes)
        outputs = output_paths(output, sources)
        reads = [model, *(path for source in sources for path in source.files)]
        check_outputs(results=outputs, reads=reads, overwrite=overwrite)
        sink = FileSink(outputs, overwrite=overwrite)
        tiles = denoising.apply(
            trained,
            sources,
            sink=sink,
            device=chosen.device,
            tile=chosen.tile,
            dtype=chosen.dtype,
            stage=chosen.result,
            stop=stop,
        )
        failures: list[int] = []
        with Display(sink.kept) as display:
            last = last_event(tiles, [display.show], failures)
    finished(last)
    say_stage(trained, trained.result(chosen.result))
    say_written(outputs)
    raise typer.Exit(worst(failures) if failures else 0)


def info(model: ModelFile) -> None:
    """Show what is in a model file."""
    from napari_autostructn2v.engine.denoising import Model

    table = Table("field", "value", title=shown(model), title_justify="left")
    for key, value in _flat(Model.load(model).info()):
        table.add_row(shown(key), shown(value))
    console().print(table)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str) else json.dumps(value, default=str)
