"""A folder for files that are only on their way."""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.compress.errors import NoScratch

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the length of a `with` block. Raises NoScratch where the disk under it is full."""
    try:
        with tempfile.TemporaryDirectory(prefix="manta-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NoScratch(
            f"no space is left in {tempfile.gettempdir()}, where forms lie while they are made and measured",
            "free some, or set TMPDIR to a folder on another disk",
        ) from error
