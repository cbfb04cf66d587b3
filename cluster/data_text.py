"""The description of a table as text for the terminal, and as plain values for programs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cluster.console import table_lines
from training.data.column_facts import ColumnFacts
from training.data.constraints import checks_yaml
from training.data.describe import Description, Tables
from training.data.raw import SourceFacts

MAX_REASONS = 12
MAX_CLASSES = 8
MAX_EVEN = 20
MAX_COLUMNS = 200
NONE = "-"
LEGEND = "numbers and dates: smallest .. median .. largest; names: the most frequent, with their share of the rows"


def description_text(found: Description) -> str:
    """Sources, rows, target and parts; then a line a column; then bad rows by reason and what is worth knowing."""
    facts = "\n".join(f"{name:<9} {text}" for name, text in _facts(found) if text)
    notes = "\n".join(f"note: {note}" for note in found.notes)
    blocks = [facts, _columns(found.columns), _bad(found), notes]
    return "\n\n".join(block for block in blocks if block)


def description_json(found: Description) -> dict[str, Any]:
    """The same for programs."""
    plain = asdict(found)
    plain["problems"] = [{"error": problem.message, "hint": problem.hint} for problem in found.problems]
    return plain


def checks_text(checks: dict[str, Any], config: str, tables: Tables) -> str:
    """The checks as YAML to paste, with where they come from."""
    counts = tables.main.counts
    without = f", {counts['bad']:,} bad ones left out" if counts["bad"] else ""
    return (
        f"  # Inferred by `manta data {config} --checks` from {counts['kept']:,} rows{without}: what they are today.\n"
        f"  # Paste it under `data:`; widen what the next table may exceed.\n{checks_yaml(checks)}"
    )


def _facts(found: Description) -> list[tuple[str, str]]:
    return [
        *((_source_name(source.name), _source(source)) for source in found.sources),
        *(("rows" if part == "main" else f"{part} rows", _counts(counts)) for part, counts in found.counts.items()),
        ("target", _target(found)),
        ("parts", _parts(found)),
        ("leaks", _leaks(found)),
    ]


def _source_name(name: str) -> str:
    return name.replace("join.", "join ")


def _source(source: SourceFacts) -> str:
    size = sum(file.size_bytes for file in source.files)
    files = (
        f", {len(source.files)} file{'s' if len(source.files) > 1 else ''} of {_bytes(size)}" if source.files else ""
    )
    return f"{source.uri}: {source.num_rows:,} rows, {len(source.columns)} columns{files}"


def _bytes(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _counts(counts: dict[str, int]) -> str:
    dropped = f" ({counts['dropped']:,} left out)" if counts["dropped"] else ""
    return (
        f"{counts['read']:,} read, {counts['bad']:,} bad, {counts['duplicates']:,} equal to an earlier one{dropped}, "
        f"{counts['kept']:,} kept"
    )


def _target(found: Description) -> str:
    name = next((column.name for column in found.columns if column.use == "target"), "")
    if found.task is None or found.classes is None:
        return f"{name}: {found.task}" if found.task else name
    of_labels = found.task == "multilabel"  # of which a row has any number
    num_rows = found.counts["main"]["kept"] if of_labels else sum(found.classes.values())
    shown = [f"{label} {count / num_rows:.1%}" for label, count in list(found.classes.items())[:MAX_CLASSES]]
    more = f" and {len(found.classes) - MAX_CLASSES} more" if len(found.classes) > MAX_CLASSES else ""
    return f"{name}: {len(found.classes)} {'labels' if of_labels else 'classes'}, {', '.join(shown)}{more}"


def _parts(found: Description) -> str:
    if found.parts is None:
        return ""
    sizes = ", ".join(f"{count:,} {part}" for part, count in found.parts.num_rows.items())
    twice = found.parts.num_overlapping
    return sizes + (f"; {twice:,} of train equal to held-out rows" if twice else "")


def _leaks(found: Description) -> str:
    if found.parts is None:
        return ""
    leaks = [f"{leak.column} ({leak.metric} {leak.score:.4f})" for leak in found.parts.leaks]
    return ", ".join(leaks) or "no column gives away the target"


def _columns(columns: Sequence[ColumnFacts]) -> str:
    rows = [["column", "kind", "missing", "distinct", "values"]]
    rows += [_column_row(column) for column in columns[:MAX_COLUMNS]]
    more = [f"and {len(columns) - MAX_COLUMNS} more columns; --json lists all"] if len(columns) > MAX_COLUMNS else []
    return "\n".join([*table_lines(rows), *more, LEGEND])


def _column_row(column: ColumnFacts) -> list[str]:
    kind = column.kind or column.type
    use = {"feature": kind, "target": "target", "split": f"{kind}, to split by", "ignored": "ignored"}[column.use]
    missing = f"{column.missing_fraction:.2%}" if column.num_missing else NONE
    return [column.name, use, missing, f"{column.num_distinct:,}", _values(column)]


def _values(column: ColumnFacts) -> str:
    if column.is_personal:
        return "personal: no value is told"
    if column.text_chars is not None:
        return " .. ".join(f"{count:,}" for count in column.text_chars) + " characters"
    if column.range is not None:
        return " .. ".join(map(_number, column.range))
    if _is_even(column):
        return ", ".join([*(value for value, _ in column.top), "..."])
    return ", ".join(f"{value} {share:.1%}" for value, share in column.top)


def _is_even(column: ColumnFacts) -> bool:
    """Many values, none more frequent than others: ids, say, whose shares tell nothing."""
    highest = column.top[0][1] if column.top else 0.0
    return column.num_distinct > MAX_EVEN and highest * column.num_distinct <= 1.001 * (1 - column.missing_fraction)


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _bad(found: Description) -> str:
    if not found.bad:
        return ""
    rows = [["rows", "what is wrong"]]
    rows += [[f"{count:,}", reason] for reason, count in list(found.bad.items())[:MAX_REASONS]]
    more = [f"and {len(found.bad) - MAX_REASONS} more"] if len(found.bad) > MAX_REASONS else []
    return "\n".join([*table_lines(rows), *more])
