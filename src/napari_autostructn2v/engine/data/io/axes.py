"""Axis letters: how they are checked, guessed and ordered."""

from __future__ import annotations

from collections.abc import Sequence

from napari_autostructn2v.engine.errors import InputError

LETTERS = "STCZYX"
_DEFAULTS = {2: "YX", 3: "TYX", 4: "TZYX", 5: "TCZYX"}
_CHANNELS_LAST = {3: "YXC", 4: "TYXC", 5: "TZYXC"}
_MOST_CHANNELS = 5  # no image is as narrow as that
_STAND_INS = {1: "TSZC", 2: "TZSC", 3: "TCZS"}


def default_axes(shape: Sequence[int]) -> str:
    """Guess the axes of an array without axis names.

    Raises
    ------
    InputError
        If there are not 2 to 5 axes, or the last one looks like channels.
    """
    _check_number(shape)
    refuse_channels_last(shape)
    return _DEFAULTS[len(shape)]


def refuse_channels_last(shape: Sequence[int]) -> None:
    """Refuse to guess where the last axis is as short as a list of channels.

    Raises
    ------
    InputError
        If the last axis could be X as well as colours or channels.
    """
    if len(shape) in _CHANNELS_LAST and shape[-1] <= _MOST_CHANNELS < min(shape[-3:-1]):
        kind = "is rgb" if shape[-1] in (3, 4) else "has its channels last"
        raise InputError(
            f"an image of shape {tuple(shape)} looks as if it {kind}; convert rgb to grey, or name "
            f"the axes (for example {_CHANNELS_LAST[len(shape)]})"
        )


def _check_number(shape: Sequence[int]) -> None:
    if len(shape) not in _DEFAULTS:
        raise InputError(
            f"an image has 2 to 5 axes, but this one has {len(shape)} (shape {tuple(shape)}); "
            "pick the part to denoise"
        )


def check_axes(axes: str, shape: Sequence[int]) -> str:
    """Return `axes` in upper case; raise `InputError` if they don't fit an array of `shape`."""
    letters = axes.upper()
    shown = f"axes {axes!r} for an image of shape {tuple(shape)}"
    _check_number(shape)
    if strange := sorted(set(letters) - set(LETTERS)):
        raise InputError(f"{shown}: {', '.join(strange)} is not one of the letters {LETTERS}")
    if len(letters) != len(shape):
        raise InputError(
            f"{shown}: {len(letters)} letters do not name {len(shape)} axes; give one letter "
            "for each axis"
        )
    if len(set(letters)) != len(letters):
        raise InputError(f"{shown}: a letter is repeated; name each axis once")
    if not {"Y", "X"} <= set(letters):
        raise InputError(f"{shown}: Y and X must both be named")
    return letters


def name_unknown(axes: str) -> str:
    """Replace letters of other programs (tifffile's Q, I, R, H ...) by free letters of ours.

    One unknown axis is taken as time, two as time and depth. More are left for `check_axes` to
    refuse.
    """
    unknown = sum(letter not in LETTERS for letter in axes)
    free = [letter for letter in _STAND_INS.get(unknown, "") if letter not in axes][:unknown]
    names = iter(free)
    return "".join(letter if letter in LETTERS else next(names, letter) for letter in axes)


def without_samples(axes: str, order: str) -> str:
    """Rename S, which most formats lack, to the first free letter of `order`."""
    if "S" not in axes:
        return axes
    return axes.replace("S", next(letter for letter in order if letter not in axes))
