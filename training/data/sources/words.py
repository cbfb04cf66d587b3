"""Words of errors: what is said of a source, and what must not be."""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa

from training.errors import DataError

MAX_REASON_CHARS = 300
MAX_EXAMPLES = 5
MAX_NAMES = 20


def one_line(error: BaseException) -> str:
    """A library's error on one line, cut."""
    return " ".join(str(error).split())[:MAX_REASON_CHARS]


@contextmanager
def explained(message: str, hint: str, errors: tuple[type[BaseException], ...], hides: bool) -> Iterator[None]:
    """Turn a library's error into a DataError.

    Args:
        message: what could not be done; the library's reason follows.
        hint: the next step.
        errors: those to turn.
        hides: the reason may quote rows that hold personal data, so it is left out, of the traceback too.
    """
    try:
        yield
    except errors as error:
        if hides:
            raise DataError(f"{message} ({hidden(error)})", hint) from None
        raise DataError(f"{message}: {one_line(error)}", hint) from error


def hidden(error: BaseException) -> str:
    """What may be said of an error whose text may hold personal data."""
    return f"{type(error).__name__}; its text may quote personal data (data.pii) and is left out"


def listed(names: Iterable[str], most: int = MAX_NAMES) -> str:
    """Names in a row, cut after `most`."""
    all_names = list(names)
    rest = len(all_names) - most
    return ", ".join(all_names[:most]) + (f" and {rest} more" if rest > 0 else "")


def require_columns(key: str, wanted: Iterable[str], have: Iterable[str], source: str, hides: bool = False) -> None:
    """Raise DataError where a config key names columns that a source does not have.

    Args:
        key: of the config.
        wanted: names there.
        have: the source's columns.
        source: for the message.
        hides: the columns are not listed: a file without a header line has its first row for names.
    """
    names = list(have)
    if lacking := [name for name in wanted if name not in names]:
        near = difflib.get_close_matches(lacking[0], names, n=1)
        said = [f"nearest: {name}" for name in near]
        said.append("a CSV file without a header line needs `names`" if hides else f"columns: {listed(names)}")
        raise DataError(f"{key} names {listed(lacking)}, but {source} has no such column", "; ".join(said))


def refuse_repeated(names: Iterable[str], source: str, hint: str, hides: bool = False) -> None:
    """Raise DataError where a column name stands more than once. `hides`: as of `require_columns`."""
    if repeated := sorted(name or "(no name)" for name, count in Counter(names).items() if count > 1):
        said = "a column" if hides else f"the column {listed(repeated)}"
        raise DataError(f"{source} has {said} more than once", hint)


def share_words(part: int, whole: int) -> str:
    """A count and its share: `3 of 40 (7.50 %)`."""
    return f"{part:,} of {whole:,} ({part / whole:.2%})" if whole else f"{part:,} of 0"


def examples(column: pa.ChunkedArray, positions: np.ndarray, hides: bool) -> str:
    """A few values for a message, each once: `, such as 'a', 'b'`; nothing where values must not be told."""
    if hides:
        return ""
    texts = [str(value)[:40] for value in column.take(pa.array(positions[: 4 * MAX_EXAMPLES])).to_pylist()]
    return f", such as {listed([repr(text) for text in dict.fromkeys(texts)][:MAX_EXAMPLES])}" if texts else ""
