"""The search space as data: what a person may write for one dimension. No optuna here: `manta check` reads it."""

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from training.package.shapes import StrictModel

Scalar = bool | int | float | str | None
Bounds = tuple[float, float]
IntBounds = tuple[int, int]  # named out here: inside IntRange the field `int` hides the builtin


class Choice(StrictModel):
    """One of the listed values."""

    choice: list[Scalar | list[Scalar]] = Field(min_length=1, description="values to choose from")

    def holds(self, value: Any) -> bool:
        """Whether a trial may take this value."""
        return value in self.choice


class Range(StrictModel):
    """A number drawn evenly between two bounds."""

    range: Bounds = Field(description="[low, high]")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        return _check_bounds(self, "range", self.range)

    def holds(self, value: Any) -> bool:
        """Whether a trial may take this value."""
        return _is_between(value, self.range)


class LogRange(StrictModel):
    """A positive number drawn evenly on a logarithmic scale."""

    log: Bounds = Field(description="[low, high], both above 0")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.log[0] <= 0:
            raise ValueError(f"log bounds must be above 0, got low={self.log[0]}")
        return _check_bounds(self, "log", self.log)

    def holds(self, value: Any) -> bool:
        """Whether a trial may take this value."""
        return _is_between(value, self.log)


class IntRange(StrictModel):
    """A whole number between two bounds, both included."""

    int: IntBounds = Field(description="[low, high]")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        return _check_bounds(self, "int", self.int)

    def holds(self, value: Any) -> bool:
        """Whether a trial may take this value."""
        return _is_between(value, self.int)


def _check_bounds(shape: Any, kind: str, bounds: Bounds | IntBounds) -> Any:
    low, high = bounds
    if not low < high:
        raise ValueError(f"{kind}: [{low}, {high}] is empty; the first bound must be below the second")
    return shape


def _is_between(value: Any, bounds: Bounds | IntBounds) -> bool:
    return isinstance(value, int | float) and bounds[0] <= value <= bounds[1]


KINDS = ("choice", "range", "log", "int")


def _kind(value: Any) -> str | None:
    if isinstance(value, StrictModel):
        return next(iter(type(value).model_fields))
    if isinstance(value, dict) and len(value) == 1:
        return next(iter(value))
    return None


Dimension = Annotated[
    Annotated[Choice, Tag("choice")]
    | Annotated[Range, Tag("range")]
    | Annotated[LogRange, Tag("log")]
    | Annotated[IntRange, Tag("int")],
    Discriminator(
        _kind,
        custom_error_type="dimension",
        custom_error_message="must be one of {choice: [...]}, {range: [low, high]}, {log: [low, high]}, "
        "{int: [low, high]}",
    ),
]
