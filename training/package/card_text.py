"""Values inside Markdown."""

from collections.abc import Iterable

MAX_LISTED = 8  # categories or pixels spelled out


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
