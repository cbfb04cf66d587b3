"""Errors that a person can fix. The other rooms add theirs in their own `errors.py`."""

import errno
from pathlib import Path
from typing import Self

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


class UserError(Exception):
    """Something the person at the keyboard can fix. The CLI prints it without a traceback.

    Exit codes: 1 the work failed, 2 the input was wrong, 3 the machine or cluster cannot do it.
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)  # every argument stays in `args`, so Ray can pickle it
        self.message, self.hint = message, hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class PackageError(UserError):
    """A package that is missing, half written, altered, or of a newer format."""


class KeyFileError(UserError):
    """A file of a signing key that cannot be read, or is there already."""


class PackageNotWritten(UserError):
    """A package that could not be written, for example to a full disk. What was there before is still there."""

    exit_code = 3

    @classmethod
    def of(cls, folder: Path, error: OSError) -> Self:
        """With what the system said, and what to do about it."""
        about = f" ({error.filename})" if error.filename and Path(error.filename) != folder else ""
        if error.errno in _NO_SPACE:
            hint = "free some space, or write to another disk; nothing of it was left there"
        elif error.errno in _NOT_ALLOWED:
            hint = "correct the folder's permissions, or write elsewhere"
        else:
            hint = "write elsewhere, or do it again when the cause is gone"
        return cls(f"{folder} cannot be written: {error.strerror or error}{about}; what was there before is kept", hint)


class UnreadableValue(UserError):
    """A date or an image that cannot be read. `index` is its place among the values given, the first is 0."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"element {index} {reason}")
        self.args = (index, reason)  # pickled as its class and its arguments
        self.index, self.reason = index, reason


class NoPiiKey(UserError):
    """A raw value of personal data came, and there is no key to pseudonymise it with."""
