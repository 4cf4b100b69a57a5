"""The config's fields for a form: names in words, help, bounds and errors."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from napari_autostructn2v.engine.config import Config

Place = tuple[str, ...]
"""Names that lead from the config to a field or group: ("stage1", "network", "depth")."""

_WORDS = {
    "autocorr": "autocorrelation",
    "dtype": "data type",
    "ema": "EMA",
    "ring": "ring rule",
    "roi": "ROI",
    "stage1": "Stage 1",
    "stage2": "Stage 2",
    "tensorboard": "TensorBoard",
}


@dataclass(frozen=True)
class Bounds:
    """The interval of a number; None for an unlimited end."""

    low: float | None = None
    high: float | None = None
    low_is_open: bool = False
    high_is_open: bool = False

    def __str__(self) -> str:
        closed = not (self.low_is_open or self.high_is_open)
        if closed and self.low is not None and self.high is not None:
            return f"{self.low:,} to {self.high:,}"
        ends = []
        if self.low is not None:
            ends.append(f"{'more than' if self.low_is_open else 'at least'} {self.low:,}")
        if self.high is not None:
            ends.append(f"{'less than' if self.high_is_open else 'at most'} {self.high:,}")
        return " and ".join(ends)


@dataclass(frozen=True)
class Field:
    """One value of the config. `kind` is its type; if `optional`, it can be None as well."""

    path: Place
    info: FieldInfo
    kind: Any
    optional: bool
    bounds: Bounds

    @property
    def key(self) -> str:
        return ".".join(self.path)

    @property
    def label(self) -> str:
        return words(self.path[-1])

    @property
    def unit(self) -> str:
        extra = self.info.json_schema_extra
        return str(extra.get("unit", "")) if isinstance(extra, dict) else ""

    @property
    def default(self) -> Any:
        return read(Config(), self.path)

    @property
    def help(self) -> tuple[str, ...]:
        """Description, bounds, default and key, one per line."""
        bounds = f"{self.bounds} {self.unit}".strip() if str(self.bounds) else ""
        default = "none" if self.default is None else plain(self.default)
        lines = (self.info.description or self.label, bounds, f"Default: {default}")
        return (*(line for line in lines if line), f"Key: {self.key}")

    def has(self, wanted: Collection[str]) -> bool:
        """Return whether all words, in lower case, are in the field's name, key or help."""
        text = " ".join((*map(words, self.path), *self.help)).lower()
        return all(word in text for word in wanted)


@cache
def fields(model: type[BaseModel] = Config, above: Place = ()) -> tuple[Field, ...]:
    """List all fields below a model; those of a nested model come after its parent's own.

    Of a group that has several kinds, the fields are the default's; what can't be chosen, as a
    kind that is the only one, is left out.
    """
    own: list[Field] = []
    nested: list[Field] = []
    for name, info in model.model_fields.items():
        path = (*above, name)
        if isinstance(info.default, BaseModel):
            nested += fields(type(info.default), path)
        elif get_origin(info.annotation) is not Literal or len(get_args(info.annotation)) > 1:
            own.append(_field(path, info))
    return (*own, *nested)


def _field(path: Place, info: FieldInfo) -> Field:
    kinds: tuple[Any, ...] = (info.annotation,)
    if get_origin(info.annotation) in (Union, UnionType):
        kinds = get_args(info.annotation)
    (kind,) = (kind for kind in kinds if kind is not NoneType)
    low: Any = None
    high: Any = None
    low_is_open = high_is_open = False
    for bound in info.metadata:
        match bound:
            case annotated_types.Ge(ge=value):
                low = value
            case annotated_types.Gt(gt=value):
                low, low_is_open = value, True
            case annotated_types.Le(le=value):
                high = value
            case annotated_types.Lt(lt=value):
                high, high_is_open = value, True
    bounds = Bounds(low, high, low_is_open, high_is_open)
    return Field(path, info, kind, NoneType in kinds, bounds)


def words(name: str) -> str:
    """Return the name of a field or group in words: "stage1_model" gives "Stage 1 model"."""
    text = " ".join(_WORDS.get(part, part) for part in name.split("_"))
    return text[:1].upper() + text[1:]


def plain(value: Any) -> str:
    """Format a value for people: yes or no, commas between values, semicolons between rows."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        rows = any(isinstance(item, tuple) for item in value)
        return ("; " if rows else ", ").join(map(plain, value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def read(config: Config, path: Place) -> Any:
    return reduce(getattr, path, config)


def nest(values: Mapping[Place, Any]) -> dict[str, Any]:
    """Convert values by path into the nested dictionary of a config."""
    nested: dict[str, Any] = {}
    for path, value in values.items():
        inner = nested
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    return nested


def problems(
    error: ValidationError, shown: Sequence[Field], edited: Place = ()
) -> dict[Place, str]:
    """Return the path and message of each error.

    The path is that of the invalid field. An error about several fields is shown at the one edited
    last, or else at the first one it names; if it names none, at their group.
    """
    found: dict[Place, str] = {}
    for item in error.errors():
        where = tuple(str(part) for part in item["loc"])
        message = item["msg"].removeprefix("Value error, ")
        field = next((f for f in shown if where[: len(f.path)] == f.path), None)
        if field is None:
            named = list(_named(message, [f for f in shown if f.path[: len(where)] == where]))
            field = next((f for f in named if f.path == edited), named[0] if named else None)
        elif item["type"] == "string_pattern_mismatch":
            message = f"{field.label} {item['input']!r} is not valid: {field.info.description}"
        elif item["type"] in ("missing", "too_long"):
            message = f"{field.label} needs {len(get_args(field.kind))} values"
        else:
            message = re.sub("^Input", field.label, message)
        place = field.path if field is not None else where[:1]
        found.setdefault(place, _in_words(message))
    return found


def _named(message: str, among: Sequence[Field]) -> Iterator[Field]:
    for word in re.findall(r"\w+", message):
        yield from (field for field in among if field.path[-1] == word)


def _in_words(message: str) -> str:
    names = {field.path[-1]: field.label for field in fields() if "_" in field.path[-1]}
    text = re.sub(r"\w+", lambda match: names.get(match[0], match[0]), message).rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."
