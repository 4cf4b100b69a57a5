"""Writes a run as a Python script or a shell command that repeats it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from napari_autostructn2v.engine.config import Config

NO_FILE = "PATH/TO/IMAGE.tif"  # placeholder for an image that is only in memory

_TRAIN = '''\
"""Written by napari-autostructn2v {version}."""

from napari_autostructn2v import Config, FileSink, consume, find_sources, output_paths, run

config = {config}
images = {images}
sources = find_sources(images, config.axes)
sink = FileSink(output_paths({output!r}, sources))
consume(run(sources, config, sink=sink))
'''

_APPLY = '''\
"""Written by napari-autostructn2v {version}."""

from napari_autostructn2v import FileSink, Model, apply, consume, find_sources, output_paths

model = Model.load({model!r})
images = {images}
sources = find_sources(images, {axes!r})
sink = FileSink(output_paths({output!r}, sources))
consume(apply(model, sources, sink=sink{options}))
'''

_OF_RUN = ("budget", "axes", "seed", "device", "dtype", "result")  # fields with an option of `run`
_OF_DENOISE = ("tile", "axes", "device", "dtype", "result")
_NAMES = {"result": "stage"}  # options named differently from the config's fields


def as_script(
    config: Config,
    inputs: Sequence[Path | None],
    output: Path,
    model: Path | None = None,
) -> str:
    """Return a Python script that trains and denoises, or that applies a model.

    Parameters
    ----------
    config
        Only differences from the defaults are written; with a model, only settings of inference.
    inputs
        The images in order; None for one that is only in memory, whose path is left to fill in.
    output
        A .tif or .zarr for one image, a folder for several.
    model
        The model file to apply; without it the script trains.
    """
    words: dict[str, Any] = {
        "version": metadata.version("napari-autostructn2v"),
        "images": _list(inputs),
        "output": str(output),
    }
    chosen = _differences(config)
    if model is None:
        return _TRAIN.format(
            config=f"Config.parse({_dict(chosen)})" if chosen else "Config()", **words
        )
    given = {name: chosen[name] for name in _OF_DENOISE if name in chosen and name != "axes"}
    options = "".join(f", {_NAMES.get(name, name)}={value!r}" for name, value in given.items())
    return _APPLY.format(model=str(model), axes=config.axes, options=options, **words)


def as_command(
    config: Config,
    inputs: Sequence[Path | None],
    output: Path,
    model: Path | None = None,
) -> str:
    """Return the same as one command for a POSIX shell.

    Settings without an option of their own follow as JSON on the standard input.
    """
    chosen = _differences(config)
    images = [_argument(path) for path in inputs]
    line = ["autostructn2v", "run", *images, "-o", _argument(output)]
    if model is not None:
        line = ["autostructn2v", "denoise", _argument(model), *images, "-o", _argument(output)]
    for name in _OF_RUN if model is None else _OF_DENOISE:
        if name in chosen:
            line += [f"--{_NAMES.get(name, name)}", str(chosen.pop(name))]
    if model is not None:
        return shlex.join(line)
    structure = chosen.get("structure", {})
    if structure.get("mask_source") == "file":
        line += ["--mask", structure.pop("mask_file")]
        del structure["mask_source"]
        chosen = {name: value for name, value in chosen.items() if value != {}}
    if not chosen:
        return shlex.join(line)
    return f"{shlex.join(line)} --config /dev/stdin <<'END'\n{json.dumps(chosen, indent=1)}\nEND"


def _differences(config: Config) -> dict[str, Any]:
    return _unequal(config.model_dump(mode="json"), Config().model_dump(mode="json"))


def _unequal(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            value = _unequal(value, base[key])
            if value:
                found[key] = value
        elif value != base[key]:
            found[key] = value
    return found


def _argument(path: Path | None) -> str:
    text = NO_FILE if path is None else str(path)
    return f"./{text}" if text.startswith("-") else text


def _list(inputs: Sequence[Path | None]) -> str:
    lines = [
        f"    {NO_FILE!r},  # this image is only in memory: save it and put its path here"
        if path is None
        else f"    {str(path)!r},"
        for path in inputs
    ]
    return "\n".join(("[", *lines, "]"))


def _dict(values: Mapping[str, Any], indent: str = "") -> str:
    inner = f"{indent}    "
    lines = [
        f"{inner}{key!r}: {_dict(value, inner) if isinstance(value, Mapping) else repr(value)},"
        for key, value in values.items()
    ]
    return "\n".join(("{", *lines, f"{indent}}}"))
