"""Columns of categories that are too many to learn from."""

from training.data.column_config import CategoricalConfig
from training.data.counts import Counts

NAMES_ROWS = 0.5  # distinct values, as a share of the rows, from which a column names them
MIN_ROWS = 50  # of a smaller table nothing is said
MAX_UNKNOWN = 0.5  # share of the rows that may share the code of unknown values


def rare_problem(name: str, counts: Counts, config: CategoricalConfig) -> tuple[str, str] | None:
    """Message and hint where most rows would share the code of unknown values, else None."""
    num_rows, num_unknown = _num_unknown(counts, config)
    if num_unknown <= MAX_UNKNOWN * num_rows:
        return None
    return (
        f"{name}: {_distinct(counts)} distinct values in {num_rows:,} rows, of which {num_unknown:,} would share the "
        f"code of unknown values ({_why(config)}); the column says little of them",
        f"data.ignore: [{name}] leaves the column out, data.columns: {{{name}: text}} reads its words, and "
        f"data.columns: {{{name}: {{kind: categorical, max_categories: ...}}}} gives more values a code",
    )


def rare_note(name: str, counts: Counts, config: CategoricalConfig) -> str:
    """What a person should know of a column with many categories, or an empty text."""
    num_rows, num_unknown = _num_unknown(counts, config)
    if num_unknown:
        return (
            f"{name}: {_distinct(counts)} distinct values; {num_unknown:,} of {num_rows:,} rows share the code of "
            f"unknown values ({_why(config)})"
        )
    if num_rows >= MIN_ROWS and counts.table.num_rows > NAMES_ROWS * num_rows:
        return (
            f"{name}: {_distinct(counts)} distinct values in {num_rows:,} rows: it names rows, not "
            f"kinds of them, and other rows will have other values; data.ignore: [{name}] leaves it out"
        )
    return ""


def _num_unknown(counts: Counts, config: CategoricalConfig) -> tuple[int, int]:
    filled = counts.filled(config.fill)
    _, num_covered = filled.most_frequent(config.max_categories, config.min_count)
    return filled.num_texts + filled.num_missing, filled.num_texts - num_covered


def _distinct(counts: Counts) -> str:
    return f"{'more than ' if counts.num_let_go else ''}{counts.table.num_rows:,}"


def _why(config: CategoricalConfig) -> str:
    limits = [f"max_categories is {config.max_categories:,}"]
    if config.min_count > 1:
        limits.append(f"min_count is {config.min_count:,}")
    return ", ".join(limits)
