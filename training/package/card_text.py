"""Values as people read them, and inside Markdown."""

import math
from collections.abc import Iterable, Mapping

MAX_LISTED = 8  # categories or pixels spelled out
ROUNDING = 1e-12  # what the difference of two equal scores may come to
GOODNESS: Mapping[str, str] = {  # by task: what the rows of a slice are compared by
    "classification": "share of right answers", "multilabel": "share of right labels",
    "regression": "mean absolute error", "language_modelling": "mean log-likelihood of a byte",
}  # fmt: skip


def digits(value: float | None, sign: str = "") -> str:
    """A score or a loss with the digits that tell two of them apart, however small it is.

    Args:
        value: None or NaN where it is not known.
        sign: "+" for a loss, which is a gain where it is below 0.
    """
    if value is None or not math.isfinite(value):
        return "-"
    if abs(value) < ROUNDING:
        return f"{0.0:{sign}.4f}"
    if abs(value) >= 10:
        return f"{value:{sign},.2f}"
    return f"{value:{sign}.4f}" if abs(value) >= 0.001 else f"{value:{sign}.4g}"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; the cells have gone through `text` where they come from data."""
    names = list(heads)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def listed(values: tuple[str, ...]) -> str:
    """The first of them, and how many more there are."""
    shown = ", ".join(text(value) for value in values[:MAX_LISTED])
    return f"{shown} and {len(values) - MAX_LISTED} more" if len(values) > MAX_LISTED else shown


def text(value: str) -> str:
    """A value from data inside Markdown: a bar or a line break would end the table's cell."""
    return value.replace("|", "\\|").replace("\n", " ").replace("`", "'")
