"""Columns of personal data: left out as they are read, or replaced by pseudonyms before anything else sees them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from training.data.config import DataConfig, JoinConfig
from training.errors import DataError
from training.package.pii import Pseudonymiser

PiiUse = Literal["drop", "hash"]


@dataclass(frozen=True)
class Privacy:
    """What one source must do with which columns."""

    columns: Mapping[str, PiiUse]  # by name, before or after `rename`
    pseudonymiser: Pseudonymiser | None = None  # set where a column is hashed

    @property
    def key_check(self) -> str:
        """What tells whether two keys are equal; empty where nothing is hashed."""
        return self.pseudonymiser.key_check() if self.pseudonymiser else ""

    def hashed(self, column: pa.ChunkedArray, name: str, said: str) -> pa.ChunkedArray:
        """A column as pseudonyms. Raises DataError for a type that has no text."""
        assert self.pseudonymiser is not None
        try:
            return self.pseudonymiser.column(column)
        except ValueError as error:
            raise DataError(
                f"{said}: data.pii hashes {name}, but {error}", f"write data.pii.{name}: drop, or give it as text"
            ) from None


def privacy_of(data: DataConfig, base: Path) -> Privacy:
    """What the main source must do. Raises NoPiiKey where a column is to be hashed and there is no key."""
    columns: dict[str, PiiUse] = dict(data.pii)
    for join in data.join:
        columns |= {here: "hash" for here, there in join.keys.items() if _is_hashed(there, join, data.pii)}
    key_file = base / Path(data.pii_key_file).expanduser() if data.pii_key_file is not None else None
    return Privacy(columns, Pseudonymiser.load(key_file) if "hash" in columns.values() else None)


def privacy_of_join(main: Privacy, join: JoinConfig) -> Privacy:
    """What a joined source must do: as the main one, and a key that is hashed there is hashed here too."""
    keys: dict[str, PiiUse] = {there: "hash" for here, there in join.keys.items() if main.columns.get(here) == "hash"}
    return Privacy({**keys, **main.columns}, main.pseudonymiser)


def _is_hashed(there: str, join: JoinConfig, pii: Mapping[str, PiiUse]) -> bool:
    before = [old for old, new in join.rename.items() if new == there]
    return any(pii.get(name) == "hash" for name in (there, *before))


def require_known(data: DataConfig, seen: set[str]) -> None:
    """Raise DataError where data.pii names a column that no source has: a typo there would let it through."""
    if lacking := [name for name in data.pii if name not in seen]:
        raise DataError(
            f"data.pii names {', '.join(lacking)}, but no source has such a column",
            "names as in the source or after rename; a CSV file without a header line needs data.names",
        )
