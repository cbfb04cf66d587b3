"""How often each text stands in a column that comes in parts. Shape letters: D distinct texts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MAX_COUNTED = 1_000_000  # distinct texts whose counts are kept; beyond, the rarer half is let go


@dataclass(frozen=True)
class Counts:
    """Distinct texts with their counts, and how many texts were missing."""

    table: pa.Table  # text, count
    num_missing: int = 0
    num_let_go: int = 0  # texts whose counts were let go: these counts may be too low by as much

    @classmethod
    def of(cls, column: pa.ChunkedArray, missing: tuple[str, ...] = ()) -> "Counts":
        """Of a column of Arrow text, plain or dictionary-encoded, without surrounding spaces.

        `missing` are further texts that count as missing ones.
        """
        counted = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column
        found = pc.value_counts(counted)
        texts, counts = found.field("values"), found.field("counts")
        texts = texts.dictionary_decode() if pa.types.is_dictionary(texts.type) else texts
        stripped = pc.utf8_trim_whitespace(texts.cast(pa.large_string()))
        is_missing = pc.is_in(stripped, value_set=pa.array([None, *missing], pa.large_string()))
        num_missing = pc.sum(counts.filter(is_missing)).as_py() or 0
        table = pa.table({"text": stripped, "count": counts}).filter(pc.invert(is_missing))
        # Stripped, or from a dictionary that holds a text twice, two of them may be the same.
        is_plain = texts.type == column.type and texts.cast(pa.large_string()).equals(stripped)
        return cls(table if is_plain else _summed(table), num_missing)._bounded()

    @classmethod
    def of_words(cls, counts: Mapping[str, int]) -> "Counts":
        """Of counts made elsewhere."""
        columns = {"text": list(counts), "count": list(counts.values())}
        return cls(pa.table(columns, schema=_SCHEMA))._bounded()

    def merge(self, other: "Counts") -> "Counts":
        """Both together."""
        table = _summed(pa.concat_tables([self.table, other.table]))
        return Counts(table, self.num_missing + other.num_missing, self.num_let_go + other.num_let_go)._bounded()

    def filled(self, fill: str | None) -> "Counts":
        """As if every missing text were `fill`; None leaves them missing."""
        if fill is None or not self.num_missing:
            return self
        return Counts(self.table, 0, self.num_let_go).merge(Counts.of_words({fill: self.num_missing}))

    @property
    def num_texts(self) -> int:
        """Texts counted, missing ones not."""
        return pc.sum(self.table["count"]).as_py() or 0

    def most_frequent(self, limit: int, min_count: int = 1) -> tuple[tuple[str, ...], int]:
        """At most `limit` texts that stand at least `min_count` times, and how many texts stand for all of these.

        By falling count, then by name, so that equal data gives equal codes.
        """
        enough = self.table.filter(pc.greater_equal(self.table["count"], min_count))
        order = [("count", "descending"), ("text", "ascending")]
        kept = enough.take(pc.select_k_unstable(enough, k=min(limit, enough.num_rows), sort_keys=order))
        return tuple(kept["text"].to_pylist()), pc.sum(kept["count"]).as_py() or 0

    def _bounded(self) -> "Counts":
        if self.table.num_rows <= MAX_COUNTED:
            return self
        order = np.argsort(self.table["count"].to_numpy(), kind="stable")[::-1]
        kept = self.table.take(pa.array(order[: MAX_COUNTED // 2]))
        return Counts(kept, self.num_missing, self.num_let_go + self.num_texts - pc.sum(kept["count"]).as_py())


_SCHEMA = pa.schema([("text", pa.large_string()), ("count", pa.int64())])


def _summed(table: pa.Table) -> pa.Table:
    return table.group_by("text").aggregate([("count", "sum")]).rename_columns(["text", "count"])
