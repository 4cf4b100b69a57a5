"""Writes docs/configuration.md from the fields of the config, so that the page can't go stale.

python docs/reference.py
"""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from napari_autostructn2v.engine import original
from napari_autostructn2v.engine.config import PRESETS, Budget, Config

PAGE = Path(__file__).parent / "configuration.md"

HEAD = """\
# Configuration

<!-- Written by docs/reference.py from engine/config and engine/original.py: edit those. -->

Every parameter of a run, with its default. None needs to be set. A configuration is given as

- a JSON file: `autostructn2v run IN -o OUT --config C.json`, with only the keys that differ;
- a dictionary: `Config.parse({"budget": "2min", "stage2": {"patch_size": 96}})`, which raises
  `InputError` with one sentence when something is wrong;
- keyword arguments: `Config(budget="2min")`, as of any pydantic model.

Options of the command line override the file, and the file overrides the preset. A file or a
dictionary may name its preset: `{"preset": "fast"}`. An unknown key is refused.
"""

BUDGET = """\
## Budget

Written `60s`, `2min`, `1h`, `200steps`, `20epochs` or `converged`.

{units}

A time budget becomes a number of steps after a short timing; measuring the noise, that timing and
the tiles come on top of it. So only a budget in steps or epochs gives the same result again.
"""

KEYS = """\
## Keys of the original autoStructN2V

`Config.from_autostructn2v` takes the original's dictionary, and `--config` the same as a JSON
file that has the key `input_dir`. Missing keys take the original's defaults, the preset
`autostructn2v`. `stageN` stands for `stage1` and `stage2`.
"""

KEYS_END = """\

Accepted and without effect, since they belong to the call: {ignored}.
Any other key is refused by name.

What differs although it is named alike: `early_stopping_patience` counts validations (every
`training.validate_every` steps), not epochs; `select_background` takes the dark side of the
threshold; with `use_augmentation`, the mask is turned along with the image; Stage 2 trains on the
noisy image and not on the output of Stage 1.
"""

# Keys that are translated by code and not by a table: each is tried with these values.
TRIED: dict[str, tuple[Any, ...]] = {
    "num_epochs": (20,),
    "stage1.use_augmentation": (True, False),
    "stage1.masking_strategy": (0, 1, 2),
    "stage2.mask_source": ("stage1", "extractor", "file"),
    "stage2.mask_file_path": ("mask.tif",),
}


def page() -> str:
    """The whole page, as Markdown."""
    parts = [HEAD, *_sections(Config), _budget(), _presets(), _keys()]
    return "\n".join(parts)


def _sections(model: type[BaseModel]) -> Iterator[str]:
    yield f"## {model.__name__}\n\n{_paragraphs(model)}\n\n{_table(model)}"
    seen = []
    for field in model.model_fields.values():
        kind = type(field.default)
        if issubclass(kind, BaseModel) and kind not in seen:
            seen.append(kind)
            yield from _sections(kind)


def _paragraphs(model: type) -> str:
    return "\n".join(line.strip() for line in (model.__doc__ or "").strip().splitlines())


def _table(model: type[BaseModel]) -> str:
    rows = []
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        unit = extra.get("unit", "") if isinstance(extra, dict) else ""
        help_ = field.description or _paragraphs(field.annotation or object).split("\n")[0]
        rows.append((f"`{name}`", _default(field), _values(field), str(unit), help_))
    return _rows(("Key", "Default", "Values", "Unit", "Meaning"), rows)


def _default(field: FieldInfo) -> str:
    value = field.default
    if not isinstance(value, BaseModel):
        return _shown(str(value) if isinstance(value, Budget) else value)
    differs = [
        f"`{key}` = {_shown(mine)}"
        for key, mine in _flat(value.model_dump(mode="json"))
        if mine != dict(_flat(type(value)().model_dump(mode="json")))[key]
    ]
    return ", ".join(differs)


def _values(field: FieldInfo) -> str:
    """What a field accepts, in words."""
    kind: Any = field.annotation
    options = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    words = [_words(option) for option in options if option is not type(None)]
    words += ["null"] if type(None) in options else []
    bounds = _bounds(field)
    return ", ".join(filter(None, [" or ".join(words), bounds]))


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        return "rows" if Ellipsis in inner else f"{len(inner)} numbers"
    if kind is Budget:
        return "see [Budget](#budget)"
    if issubclass(kind, BaseModel):
        return f"see [{kind.__name__}](#{kind.__name__.lower()})"
    known = {bool: "`true`, `false`", int: "whole number", float: "number", Path: "path"}
    return known.get(kind, "text")


def _bounds(field: FieldInfo) -> str:
    words = []
    for bound in field.metadata:
        match bound:
            case Ge(ge=low):
                words.append(f"≥ {low:,}".replace(",", " "))
            case Gt(gt=low):
                words.append(f"> {low:,}".replace(",", " "))
            case Le(le=high):
                words.append("< 2^63" if high == 2**63 - 1 else f"≤ {high:,}".replace(",", " "))
            case Lt(lt=high):
                words.append(f"< {high:,}".replace(",", " "))
    return " and ".join(words)


def _budget() -> str:
    units = _paragraphs(Budget).split("\n\n", 1)[1]
    return BUDGET.format(units=textwrap.fill(units, 100))


def _presets() -> str:
    default = dict(_flat(Config().model_dump(mode="json")))
    lines = ["## Presets", "", "What each sets otherwise than the defaults.", ""]
    for name in PRESETS:
        mine = _flat(Config.parse({"preset": name}).model_dump(mode="json"))
        rows = [(f"`{k}`", _shown(v)) for k, v in mine if v != default[k]]
        table = _rows(("Key", "Value"), rows) if rows else "The defaults.\n"
        lines += [f"### {name}", "", table]
    return "\n".join(lines)


def _keys() -> str:
    rows = [(f"`{key}`", _path(path), "") for key, path in original.TOP.items()]
    rows += [(f"`stageN.{key}`", _path(("stageN", *p)), "") for key, p in original.STAGE.items()]
    for key, values in TRIED.items():
        results = [_translated(key, value) for value in values]
        ours = results[0][0]
        both = key.startswith("stage1")
        meaning = ", ".join(
            f"{_shown(value)} → {_shown(result)}"
            for value, (_, result) in zip(values, results, strict=True)
        )
        if both:
            key, ours = key.replace("stage1", "stageN"), ours.replace("stage1", "stageN")
        rows.append((f"`{key}`", f"`{ours}`", meaning))
    rows.append(
        (
            "`stage2.extractor.*`",
            f"`{_translated('stage2.extractor', {'center_size': 11})[0].rpartition('.')[0]}.*`",
            "the same names",
        )
    )
    ignored = ", ".join(f"`{key}`" for key in sorted(original.IGNORED))
    table = _rows(("Original", "Here", "Values"), rows)
    return f"{KEYS}\n{table}{KEYS_END.format(ignored=ignored)}"


def _translated(key: str, value: Any) -> tuple[str, Any]:
    """Our key and value for one of the original's."""
    stage, _, name = key.rpartition(".")
    result = original.translate({stage: {name: value}} if stage else {name: value})
    [(ours, translated)] = _flat(result)
    return ours, translated


def _path(parts: tuple[str, ...]) -> str:
    return f"`{'.'.join(parts)}`"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        return ", ".join(f"{item:g}" for item in value)
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
