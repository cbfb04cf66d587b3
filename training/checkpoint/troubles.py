"""Storage that fails for a while: what passes by itself, how long to wait for it, and what to say when it does not."""

import errno
import random

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
UNREACHABLE = frozenset(
    {
        errno.EIO, errno.ESTALE, errno.EROFS, errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.ENOTCONN,
        errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.EHOSTDOWN, errno.EHOSTUNREACH,
        errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ENOLCK,
    }
)  # fmt: skip
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0


def passing_trouble(error: OSError) -> str | None:
    """The kind of trouble, `no_space` or `unreachable`, if waiting may help; None if it never will."""
    if error.errno in NO_SPACE:
        return "no_space"
    if error.errno in UNREACHABLE or isinstance(error, ConnectionError | TimeoutError):
        return "unreachable"
    # Object stores raise OSError without a number, whatever the reason. Only the text tells a wrong name apart.
    is_wrong_name = isinstance(error, FileNotFoundError) or "NO_SUCH_BUCKET" in str(error)
    return "unreachable" if error.errno is None and not is_wrong_name else None


def delay_s(attempt: int, draw: float | None = None) -> float:
    """Seconds to wait after the failed attempt of this number, from 0: doubling, and none in step with other workers.

    Args:
        draw: from 0 to 1; random by default. The delay is between half and all of the doubled one.
    """
    longest = min(FIRST_DELAY_S * 2**attempt, LONGEST_DELAY_S)
    return longest * (0.5 + 0.5 * (random.random() if draw is None else draw))  # no secret
