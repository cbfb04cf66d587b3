"""`manta predict` in this process: lot by lot from the files to the answers, so that memory does not grow with them."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from cluster.predict.answers import Answered, Answering
from cluster.predict.output import Writer
from cluster.predict.source import Source
from training.errors import DataError
from training.redact import shown

FIRST_WORD_S = 2.0  # a shorter run says nothing on its way
PAUSE_SHARE = 0.1  # of the time gone by, between two words: a log of hours stays short
TOLD_BAD = 3
HOPELESS_ROWS = 256  # all bad, one after the other: it is a column that is wrong, not a row

Step = Callable[[float, float, str], None]  # what of how much is done, and words for it


@dataclass
class Tally:
    """What was answered."""

    rows: int = 0
    bad: int = 0
    told: list[str] = field(default_factory=list)  # the first bad rows
    began: float = field(default_factory=time.monotonic)

    def add(self, table: pa.Table, num_bad: int) -> None:
        """One more lot."""
        self.rows, self.bad = self.rows + table.num_rows, self.bad + num_bad

    @property
    def rate(self) -> str:
        """Rows so far and a second, in words."""
        return f"{self.rows:,} rows, {self.rows / max(time.monotonic() - self.began, 1e-9):,.0f} rows/s"

    def words(self, output: str | None) -> str:
        """The end of it, for a person."""
        seconds = time.monotonic() - self.began
        lines = [f"{self.rows:,} rows in {seconds:.2f} s, {self.rows / max(seconds, 1e-9):,.0f} rows/s"]
        if output is not None:
            lines.append(f"wrote {output}")
        if self.bad:
            lines.append(f"{self.bad:,} of them are bad and their answers empty; " + "; ".join(self.told))
        return "\n".join(line.rstrip("; ") for line in lines)


class Pace:
    """Says how far the work is, the more seldom the longer it takes."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._began = self._spoke = time.monotonic()

    def __call__(self, done: float, tally: Tally) -> None:
        """`done` is the share of the work."""
        now = time.monotonic()
        if now - self._spoke >= max(FIRST_WORD_S, PAUSE_SHARE * (now - self._began)) and done < 1:
            self._spoke = now
            self._step(done, 1.0, tally.rate)


def predict_here(source: Source, answering: Answering, writer: Writer, step: Step) -> Tally:
    """Answer all rows of a source.

    Raises:
        DataError: rows that cannot be read, or none at all.
    """
    tally, pace = Tally(), Pace(step)
    before, total = 0, max(1, sum(part.size for part in source.parts))
    for part in source.parts:
        for lot in source.lots(part):
            _take(answering(lot), tally, writer)
            pace((before + lot.done * part.size) / total, tally)
        before += part.size
    require_answers(tally, source)
    return tally


def require_answers(tally: Tally, source: Source) -> None:
    """Raise DataError where there was no row, or no good one."""
    if not tally.rows:
        raise DataError(f"{shown(source.reading.source)} has no rows", "give files with rows in them")
    if tally.bad == tally.rows:
        raise DataError(
            f"{shown(source.reading.source)}: each of its {tally.rows:,} rows is bad; {'; '.join(tally.told)}",
            "are these the rows that the model takes?",
        )


def _take(answered: Answered, tally: Tally, writer: Writer) -> None:
    tally.add(answered.table, len(answered.bad))
    lot = answered.lot
    tally.told += [f"{lot.path}: {lot.said(bad)}" for bad in answered.bad[: TOLD_BAD - len(tally.told)]]
    if len(answered.bad) == lot.num_rows >= HOPELESS_ROWS:
        raise DataError(
            f"{lot.path}: {lot.num_rows:,} bad rows one after the other; {'; '.join(tally.told)}",
            "are these the rows that the model takes?",
        )
    writer.write(answered.table)
