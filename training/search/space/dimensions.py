"""The search space as data: what a person may write for one dimension. No optuna here: `manta check` reads it."""

import builtins
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from training.package.shapes import StrictModel
from training.search.space.values import is_number, listed, same, stored

Scalar = bool | int | float | str | None
Value = Scalar | list[Scalar]
# Named out here: inside the classes below the fields `int` and `range` hide what they are called after.
Bounds = tuple[float, float]
IntBounds = tuple[int, int]
Whole = int
Flag = bool
NEAR_A_STEP = 1e-6  # of a step: a value that was printed and read again is still the same one


def _has_values(when: dict[str, Any]) -> dict[str, Any]:
    if empty := [key for key, values in when.items() if values == []]:
        raise ValueError(f"{empty[0]} has no value, so it never holds; give one or several")
    return when


When = Annotated[
    dict[str, Scalar | list[Value]],
    AfterValidator(_has_values),
    Field(description="drawn only in trials in which these keys, searched or fixed, have this value or one of these"),
]


class Listed(StrictModel):
    """A dimension whose values are listed."""

    def values(self) -> list[Any]:
        """Every value, in the order of the file."""
        raise NotImplementedError

    def size(self) -> int | None:
        """How many values there are."""
        return len(self.values())

    def holds(self, value: Any) -> bool:
        """Whether a trial may take this value."""
        return any(same(value, known) for known in self.values())

    def corners(self) -> list[Any]:
        """The values that a check should try."""
        return self.values()


class Choice(Listed):
    """One of the listed values, none nearer to another than to a third."""

    choice: list[Value] = Field(min_length=1, description="values to choose from")
    when: When = Field(default={})

    @field_validator("choice")
    @classmethod
    def _differ(cls, values: list[Any]) -> list[Any]:
        return _checked_list("choice", values)

    def values(self) -> list[Any]:
        """Every value, in the order of the file."""
        return self.choice

    def words(self) -> str:
        """As a person would say it."""
        return f"one of {listed(self.choice)}"


class Ordered(Listed):
    """One of the listed values, of which neighbours are alike."""

    ordered: list[Value] = Field(min_length=1, description="values to choose from, of which neighbours are alike")
    when: When = Field(default={})

    @field_validator("ordered")
    @classmethod
    def _differ(cls, values: list[Any]) -> list[Any]:
        return _checked_list("ordered", values)

    def values(self) -> list[Any]:
        """Every value, in the order of the file."""
        return self.ordered

    def words(self) -> str:
        """As a person would say it."""
        return f"one of, in this order, {listed(self.ordered)}"


class Range(StrictModel):
    """A number drawn evenly between two bounds."""

    range: Bounds = Field(description="[low, high]")
    step: float | None = Field(default=None, gt=0, description="draw only low, low + step, ...")
    when: When = Field(default={})

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_bounds("range", self.range, self.step)
        return self

    def size(self) -> int | None:
        """How many values there are; None without a step."""
        return None if self.step is None else _steps(self.range, self.step) + 1

    def values(self) -> list[Any] | None:
        """Every value; None without a step."""
        size = self.size()
        return None if size is None else [self.at(i) for i in builtins.range(size)]

    def at(self, index: Whole) -> float:
        """The value so many steps above the lower bound, as a person would write it: no 0.30000000000000004."""
        return float(_exact(self.range[0]) + index * _exact(self.step or 0.0))

    @property
    def high(self) -> float:
        """The largest value that is drawn: the upper bound, or the last step below it."""
        return self.range[1] if self.step is None else self.at(_steps(self.range, self.step))

    def holds(self, value: Any) -> bool:
        """Whether a trial may take this value."""
        return is_number(value) and self.range[0] <= value <= self.range[1] and _is_on(value, self.range[0], self.step)

    def corners(self) -> list[Any]:
        """The values that a check should try."""
        return [self.range[0], self.high]

    def words(self) -> str:
        """As a person would say it."""
        step = "" if self.step is None else f" in steps of {self.step:g}"
        return f"{self.range[0]:g} to {self.high:g}{step}"


class LogRange(StrictModel):
    """A positive number drawn evenly on a logarithmic scale."""

    log: Bounds = Field(description="[low, high], both above 0")
    when: When = Field(default={})

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.log[0] <= 0:
            raise ValueError(f"log bounds must be above 0, got low={self.log[0]}")
        _require_bounds("log", self.log, None)
        return self

    def size(self) -> int | None:
        """How many values there are: not finite."""
        return None

    def values(self) -> list[Any] | None:
        """Every value: not finite."""
        return None

    def holds(self, value: Any) -> bool:
        """Whether a trial may take this value."""
        return is_number(value) and self.log[0] <= value <= self.log[1]

    def corners(self) -> list[Any]:
        """The values that a check should try."""
        return list(self.log)

    def words(self) -> str:
        """As a person would say it."""
        return f"{self.log[0]:g} to {self.log[1]:g}, logarithmic"


class IntRange(StrictModel):
    """A whole number between two bounds, both included."""

    int: IntBounds = Field(description="[low, high]")
    step: Annotated[Whole, Field(ge=1)] = Field(default=1, description="draw only low, low + step, ...")
    log: Flag = Field(default=False, description="with int: draw evenly on a logarithmic scale")
    when: When = Field(default={})

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _require_bounds("int", self.int, self.step)
        if self.log and self.step != 1:
            raise ValueError(f"int: log=true and step={self.step} do not go together; leave one of them out")
        if self.log and self.int[0] < 1:
            raise ValueError(f"int: log=true needs bounds of 1 or more, got low={self.int[0]}")
        return self

    def size(self) -> Whole | None:
        """How many values there are."""
        return len(self._all)

    def values(self) -> list[Any]:
        """Every value."""
        return list(self._all)

    @property
    def _all(self) -> Sequence[Whole]:
        return builtins.range(self.int[0], self.int[1] + 1, self.step)

    @property
    def high(self) -> Whole:
        """The largest value that is drawn: the upper bound, or the last step below it."""
        return self._all[-1]

    def holds(self, value: Any) -> bool:
        """Whether a trial may take this value."""
        return is_number(value) and not isinstance(value, float) and value in self._all

    def corners(self) -> list[Any]:
        """The values that a check should try."""
        return [self.int[0], self.high]

    def words(self) -> str:
        """As a person would say it."""
        how = ", logarithmic" if self.log else "" if self.step == 1 else f" in steps of {self.step}"
        return f"whole numbers {self.int[0]} to {self.high}{how}"


def conditions_of(dimension: "Dimension") -> dict[str, list[Any]]:
    """`when` with a list of values for every key."""
    return {key: values if isinstance(values, list) else [values] for key, values in dimension.when.items()}


def _checked_list(kind: str, values: list[Any]) -> list[Any]:
    for i, value in enumerate(values):
        # As Optuna compares them, which takes true for 1 and cannot tell a list from its text.
        if twin := [other for other in values[:i] if stored(other) == stored(value)]:
            alike = "" if same(twin[0], value) else f", like {json.dumps(twin[0])}"
            raise ValueError(f"{kind} holds {json.dumps(value)} twice{alike}; each value must differ from the others")
    return values


def _require_bounds(kind: str, bounds: Bounds | IntBounds, step: float | None) -> None:
    low, high = bounds
    if not low < high:
        raise ValueError(f"{kind}: [{low}, {high}] is empty; the first bound must be below the second")
    if step is not None and step > high - low:
        raise ValueError(f"{kind}: step={step:g} is larger than the range of {high - low:g}, so only {low} is left")


def _exact(value: float) -> Decimal:
    return Decimal(str(value))


def _steps(bounds: Bounds, step: float) -> Whole:
    return Whole((_exact(bounds[1]) - _exact(bounds[0])) // _exact(step))


def _is_on(value: float, low: float, step: float | None) -> bool:
    if step is None:
        return True
    steps = (value - low) / step
    return abs(steps - round(steps)) < NEAR_A_STEP


KINDS = ("choice", "ordered", "range", "log", "int")
MARKS = ("step", "when")


def _kind(value: Any) -> str | None:
    if isinstance(value, StrictModel):
        return next((kind for kind in KINDS if kind in type(value).model_fields and kind != "log"), "log")
    if not isinstance(value, Mapping):
        return None
    kinds = [name for name in value if name in KINDS]
    if "int" in kinds and kinds != ["int"]:
        kinds = [name for name in kinds if name != "log"]  # beside `int` it says how to draw
    return kinds[0] if len(kinds) == 1 and set(value) <= {*KINDS, *MARKS} else None


Dimension = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Ordered, Tag("ordered")]
    | Annotated[Range, Tag("range")]
    | Annotated[LogRange, Tag("log")]
    | Annotated[IntRange, Tag("int")],
    Discriminator(
        _kind,
        custom_error_type="dimension",
        custom_error_message="must be one of {choice: [...]}, {ordered: [...]}, {range: [low, high]}, "
        "{log: [low, high]}, {int: [low, high]}; range and int take step, int takes log: true, each takes when",
    ),
]
