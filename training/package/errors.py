"""Errors that a person can fix. The other rooms add theirs in their own `errors.py`."""


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


class UnreadableValue(UserError):
    """A date or an image that cannot be read. `index` is its place among the values given, the first is 0."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"element {index} {reason}")
        self.args = (index, reason)  # pickled as its class and its arguments
        self.index, self.reason = index, reason


class NoPiiKey(UserError):
    """A raw value of personal data came, and there is no key to pseudonymise it with."""
