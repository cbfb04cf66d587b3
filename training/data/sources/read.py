"""Read the sources of an experiment: find, read, shape, join, and hide what is personal."""

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from training.data.config import DataConfig
from training.data.fingerprint import RunningDigest
from training.data.raw import Raw, SourceFacts
from training.data.sources.draft import Draft, How
from training.data.sources.files import IMAGE_ENDINGS, find_files
from training.data.sources.functions import is_function, is_sklearn, read_function, read_sklearn
from training.data.sources.image_folder import read_image_folder
from training.data.sources.join import join_source
from training.data.sources.pii import privacy_of, privacy_of_join, require_known
from training.data.sources.shape import leave_out_personal, shape_columns
from training.data.sources.sql import is_database, read_sql
from training.data.sources.tabular import read_tables
from training.errors import DataError

MAX_SHOWN = 3  # bad rows that an error tells of


def read_sources(data: DataConfig, base: Path | None = None, source: str | None = None, code_path: str = "") -> Raw:
    """The main source and those joined to it as one table, with the rows that could not be read beside it.

    Args:
        data: what to read and how.
        base: folder that relative paths start from, and that module:function is imported from; the working
            directory by default.
        source: another source in the main one's place, read the same way (`data.test`).
        code_path: a further folder for module:function, the experiment file's.

    Raises:
        DataError: nothing there, not readable, no row left, or a config that does not fit what is there.
        NoPiiKey: data.pii hashes a column, and its key is not there.
    """
    base = base or Path.cwd()
    reading = _Reading()
    privacy = privacy_of(data, base)
    name = "source" if source is None else "test"
    how = How(name, data.source if source is None else source, data, data, privacy, base, code_path)
    main = reading.read(how)
    for i, join in enumerate(data.join):
        other_how = How(f"join.{i}", join.source, join, data, privacy_of_join(privacy, join), base, code_path)
        other = reading.read(other_how)
        main.found += other.found
        main.notes += other.notes
        join_source(main, how, other, other_how, join)
    if source is None:  # held-out rows may come without the columns that are dropped
        require_known(data, reading.seen)
    elif privacy.columns and not set(data.targets) <= set(main.table.column_names):
        hint = "a CSV file without a header line needs data.names"
        raise DataError(f"{how.said} has no column {data.target_name}, the target", hint)
    return Raw(main.table, main.row_ids, main.origin, main.bad, tuple(reading.facts), tuple(main.notes))


def read_table(data: DataConfig, base: Path | None = None, source: str | None = None) -> pa.Table:
    """The rows of `read_sources`, for those who cannot leave any out.

    Raises:
        DataError: as there, and for any row that could not be read.
    """
    raw = read_sources(data, base, source)
    if raw.bad.num_rows:
        told = [_told(row) for row in raw.bad.slice(0, MAX_SHOWN).to_pylist()]
        rest = f"; {raw.bad.num_rows - MAX_SHOWN} more" if raw.bad.num_rows > MAX_SHOWN else ""
        raise DataError(
            f"{raw.bad.num_rows} values of {raw.num_read} rows cannot be read: {'; '.join(told)}{rest}",
            "correct them, or say with data.columns and data.missing how they are meant",
        )
    return raw.table


def _told(row: dict[str, object]) -> str:
    column = f", {row['column']}" if row["column"] else ""
    value = f" ({row['value']!r})" if row["value"] is not None else ""
    return f"{row['source']}, row {row['row']} (the first is 0){column}: {row['reason']}{value}"


@dataclass
class _Reading:
    facts: list[SourceFacts] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)  # every column's name, before and after `rename`

    def read(self, how: How) -> Draft:
        """One source, shaped; its facts are kept for the lineage."""
        _refuse_idle_keys(how)
        draft = _read(how)
        leave_out_personal(draft, how)
        self.seen |= set(draft.table.column_names) | draft.dropped | set(map(how.final_name, draft.dropped))
        shape_columns(draft, how)
        draft.require_rows(how.said)
        self.seen |= set(draft.table.column_names)
        digest = RunningDigest()
        digest.add(draft.table)
        columns = {column.name: str(column.type) for column in draft.table.schema}
        facts = SourceFacts(
            how.name, how.said, draft.table.num_rows, columns, digest.content, draft.files, digest.order
        )
        self.facts.append(facts)
        return draft


def _refuse_idle_keys(how: How) -> None:
    """A query that no database gets, or arguments that no function takes, would be a wish without effect."""
    if how.name == "test":
        return
    for key, is_idle in (
        ("query", how.shape.query is not None and not is_database(how.uri)),
        ("args", bool(how.shape.args) and not is_function(how.uri)),
    ):
        if is_idle:
            what = "a database" if key == "query" else "module:function"
            raise DataError(f"{how.key(key)} is set, but {how.said} is not {what}", f"take {how.key(key)} away")


def _read(how: How) -> Draft:
    if is_sklearn(how.uri):
        return read_sklearn(how)
    if is_database(how.uri):
        return read_sql(how)
    if is_function(how.uri):
        return read_function(how)
    found = find_files(how.uri, how.base, how.shape.format)
    only_images = how.shape.format == "auto" and all(path.lower().endswith(IMAGE_ENDINGS) for path in found.paths)
    return read_image_folder(found, how) if only_images or how.shape.format == "images" else read_tables(found, how)
