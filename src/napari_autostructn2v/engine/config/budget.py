"""How long to train, as a value and as text."""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainSerializer

BudgetUnit = Literal["seconds", "steps", "epochs", "converged"]

_MOST = 1e9  # of any unit of a budget: 30 years
_BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_UNITS: dict[str, tuple[BudgetUnit, float]] = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), ("seconds", 1.0)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), ("seconds", 60.0)),
    **dict.fromkeys(("h", "hour", "hours"), ("seconds", 3600.0)),
    **dict.fromkeys(("step", "steps"), ("steps", 1.0)),
    **dict.fromkeys(("epoch", "epochs"), ("epochs", 1.0)),
}


@dataclass(frozen=True)
class Budget:
    """How long to train.

    `seconds` and `steps` are shared by all stages of a run; `epochs` are of each stage (as in
    autoStructN2V, where an epoch is `patches_per_image` patches of every image plane); `converged`
    trains each stage until its validation loss stops improving.
    """

    unit: BudgetUnit
    amount: float = 0.0

    @classmethod
    def parse(cls, text: object) -> Budget:
        """Read "60s", "2 min", "200 steps", "20 epochs" or "until it stops improving"."""
        if isinstance(text, Budget):
            return text
        if str(text).strip().lower() in ("converged", "until it stops improving"):
            return cls("converged")
        match = _BUDGET.fullmatch(str(text).lower())
        if match is None or match[2] not in _UNITS or float(match[1]) <= 0:
            raise ValueError(
                f"budget {reprlib.repr(text)} is not understood; write for example 60s, 2min, "
                "200steps, 20epochs or converged"
            )
        unit, factor = _UNITS[match[2]]
        amount = float(match[1]) * factor
        if amount > _MOST:
            raise ValueError(f"budget {reprlib.repr(text)} is more than {_MOST:.0e} {unit}")
        if unit != "seconds" and not amount.is_integer():
            raise ValueError(f"budget {reprlib.repr(text)}: the number of {unit} must be whole")
        return cls(unit, amount)

    def __str__(self) -> str:
        if self.unit == "converged":
            return "converged"
        return f"{self.amount:.15g}{'s' if self.unit == 'seconds' else self.unit}"


BudgetField = Annotated[
    Budget, BeforeValidator(Budget.parse), PlainSerializer(str, return_type=str)
]
