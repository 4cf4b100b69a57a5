"""The options that commands share, with help from the config, and the config they make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_autostructn2v.engine.config import Config, Structure
from napari_autostructn2v.engine.errors import InputError
from napari_autostructn2v.engine.paths import user_path


def help_of(field: str, more: str = "") -> str:
    return f"{Config.model_fields[field].description}{more}."


def _path(text: str) -> Path:
    try:
        return user_path(text)
    except InputError as error:  # a `ValueError`, of which click would keep nothing
        raise typer.BadParameter(str(error)) from error


def path_option(*names: str, metavar: str, help: str) -> Any:  # noqa: A002 - typer's word
    return typer.Option(*names, parser=_path, metavar=metavar, help=help)


Inputs = Annotated[
    list[str], typer.Argument(metavar="IN...", help="Images, folders or globs.", show_default=False)
]
Out = Annotated[
    Path,
    path_option("-o", "--output", metavar="OUT", help="A .tif or .zarr, or a folder."),
]
ModelFile = Annotated[
    Path, typer.Argument(parser=_path, metavar="M.asn2v", help="A trained model.")
]
Axes = Annotated[str | None, typer.Option(metavar="TYX", help=help_of("axes"))]
BudgetText = Annotated[
    str | None,
    typer.Option(
        metavar="60s", help=help_of("budget", ": 60s, 2min, 200steps, 20epochs, converged")
    ),
]
Seed = Annotated[int | None, typer.Option(help=help_of("seed"), show_default=False)]
Device = Annotated[str | None, typer.Option(metavar="NAME", help=help_of("device"))]
Dtype = Annotated[str | None, typer.Option(metavar="TYPE", help=help_of("dtype"))]
StageChoice = Annotated[
    str | None,
    typer.Option("--stage", metavar="recommended|stage1|stage2", help=help_of("result")),
]
ConfigFile = Annotated[
    Path | None,
    path_option(metavar="C.json", help="Config file, ours or the original autoStructN2V's."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]

# What the noise is measured on
From = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="raw|region|frames|dark",
        help="What the noise is measured on: flat places, an empty region, the differences of "
        "repeated frames, a dark frame.",
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="Y0,Y1,X0,X1",
        help=f"{Structure.model_fields['region'].description}; implies --source region.",
    ),
]
Dark = Annotated[
    Path | None,
    path_option(metavar="FILE", help="Image of the camera without light; implies --source dark."),
]


@dataclass(frozen=True)
class Measuring:
    """What the noise is measured on, from --source, --region and --dark."""

    source: str | None = None
    region: str | None = None
    dark: Path | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of `Structure` that these options set."""
        fields: dict[str, Any] = {}
        implied = [name for name in ("region", "dark") if getattr(self, name) is not None]
        for name in implied:
            if self.source not in (None, name) or len(implied) > 1:
                other = f"--source {self.source}" if self.source else "--dark"
                raise InputError(f"--{name} does not go with {other}; give one of them")
        if self.region is not None:
            if not re.fullmatch(r"\s*\d+(\s*,\s*\d+){3}\s*", self.region):
                raise InputError(
                    f"--region {self.region!r} is not understood; write first and last row + 1, "
                    "first and last column + 1, for example 0,64,100,200"
                )
            fields["region"] = [int(number) for number in self.region.split(",")]
        if self.dark is not None:
            fields["dark_file"] = str(self.dark)
        if source := self.source or (implied[0] if implied else None):
            fields["mask_source"] = source
        return fields


def configure(
    options: Mapping[str, Any],
    preset: str | None = None,
    file: Path | None = None,
    mask: str | None = None,
    measuring: Measuring | None = None,
) -> Config:
    """Make the config: options override the config file, which overrides the preset."""
    base = Config.load(file, preset) if file else Config.parse({"preset": preset} if preset else {})
    values = base.model_dump(mode="json")
    values.update({key: value for key, value in options.items() if value is not None})
    structure, measured = values["structure"], (measuring or Measuring()).fields()
    if mask == "auto" and structure["mask_source"] in ("file", "array"):
        structure.update(mask_source="raw", mask_file=None, mask=None)
    elif mask not in (None, "auto"):
        if measured:
            raise InputError(
                f"--mask {mask} is taken as it is; leave out --source, --region and --dark"
            )
        structure.update(mask_source="file", mask_file=mask)
    structure.update(measured)
    return Config.parse(values)
