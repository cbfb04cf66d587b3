"""Tables of databases, through ADBC: SQLite, and PostgreSQL where its driver is installed."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pafs

from training.data.sources.draft import Draft, How, is_text
from training.data.sources.files import near_files, versions
from training.data.sources.words import hidden, refuse_repeated
from training.errors import DataError
from training.redact import shown

SCHEMES = ("sqlite://", "postgresql://", "postgres://")
# SQLite's values have types, its columns need not: all rows are looked at before a column gets one.
ALL_ROWS = {"adbc.sqlite.query.batch_rows": "2000000000"}
_FORM = "sqlite:///file.db (relative), sqlite:////folder/file.db, or postgresql://user@host/database"


def is_database(source: str) -> bool:
    """Whether a source is the address of a database."""
    return source.startswith(SCHEMES)


def read_sql(how: How) -> Draft:
    """The rows that a database answers to `query`.

    Raises:
        DataError: no query, no such database, a driver that is not installed, or SQL that the database refuses.
    """
    query = how.shape.query
    if not query or not query.strip():
        raise DataError(f"{how.said} is a database, and {how.key('query')} is missing", "as in SELECT * FROM people")
    if how.uri.startswith("sqlite://"):
        return _read_sqlite(how, query)
    driver = _postgresql_driver(how)
    table = _fetched(driver, how.uri, query, how, {})
    return _draft(table, how, frozenset())


def _read_sqlite(how: How, query: str) -> Draft:
    import adbc_driver_sqlite.dbapi as driver  # noqa: PLC0415  only those pay who read a database

    filesystem = pafs.LocalFileSystem()
    path = how.uri.removeprefix("sqlite:///")
    if path == how.uri or not path:
        raise DataError(f"{how.said} names no database file", f"the form is {_FORM}")
    full = str(how.base / Path(path).expanduser())
    if not filesystem.get_file_info(full).is_file:  # SQLite would make an empty one
        raise DataError(f"{how.said} does not exist", near_files(filesystem, full))
    read_only = f"file:{quote(full)}?mode=ro"
    table = _fetched(driver, read_only, query, how, ALL_ROWS)
    texts = [field.name for field in table.schema if is_text(field.type)]
    draft = _draft(table, how, _mixed(driver, read_only, query, how, texts))
    draft.files = versions(filesystem, (full,))
    return draft


def _mixed(driver: ModuleType, uri: str, query: str, how: How, texts: list[str]) -> frozenset[str]:
    """Columns that came as text, but of which some values are numbers in SQLite."""
    if not texts:
        return frozenset()
    names = [name.replace('"', '""') for name in texts]
    counts = ", ".join(f"SUM(typeof(\"{name}\") IN ('integer', 'real'))" for name in names)
    plain = query.strip().rstrip(";")
    found = _fetched(driver, uri, f"SELECT {counts} FROM ({plain}\n)", how, {})  # noqa: S608  their query, read-only
    return frozenset(name for name, column in zip(texts, found.columns, strict=True) if column[0].as_py())


def _postgresql_driver(how: How) -> ModuleType:
    try:
        import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415  optional
    except ImportError:
        raise DataError(
            f"{how.said} needs the driver adbc-driver-postgresql, which is not installed",
            "pip install adbc-driver-postgresql",
        ) from None
    return driver


def _fetched(driver: ModuleType, uri: str, query: str, how: How, options: dict[str, str]) -> pa.Table:
    errors = (driver.Error, pa.ArrowException, OSError)
    try:
        with driver.connect(uri) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**options)
            cursor.execute(query)
            table: pa.Table = cursor.fetch_arrow_table()
    except errors as error:
        raise DataError(
            f"{how.said} refuses {how.key('query')}: {_reason(error, how)}",
            f"it is {' '.join(query.split())[:200]}; try it in the database's own client",
        ) from None
    return table


def _reason(error: BaseException, how: How) -> str:
    # A query is refused before any row is read; what is said later may quote one.
    if how.hides and "Failed to prepare" not in str(error):
        return hidden(error)
    secret: Any = re.search(r"://[^/@:]*:([^@/]+)@", how.uri)
    said = str(error).partition("\n")[0]  # the driver repeats the query below
    return shown(said.replace(secret.group(1), "***") if secret else said)


def _draft(table: pa.Table, how: How, untyped: frozenset[str]) -> Draft:
    refuse_repeated(table.column_names, how.said, "name the columns apart in the query, as in SELECT a.id AS a_id")
    if table.num_rows == 0:
        raise DataError(f"{how.said} answers {how.key('query')} with no row", "widen the query")
    return Draft.whole(table, how.said, untyped)
