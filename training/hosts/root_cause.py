"""One line that says what went wrong and where, out of what several processes raised. Needs neither torch nor ray."""

import sys
import sysconfig
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from training.package.errors import UserError

MAX_MESSAGE = 500
# What a rank says when a peer is gone or silent. The peer is the cause.
COLLATERAL_TYPES = ("DistBackendError", "DistNetworkError", "DistStoreError")
COLLATERAL_WORDS = (
    "connection closed by peer", "connection reset by peer", "connection refused", "broken pipe", "gloo",
    "socket timeout", "timed out waiting", "nccl communicator was aborted", "nccl error", "pair closure",
    "wait timeout after", "recvvalue failed", "store->", "tcpstore", "watchdog",
)  # fmt: skip


@dataclass(frozen=True)
class Cause:
    """One process's exception, as text: the process may be gone, and its classes unknown elsewhere."""

    rank: int
    ip: str
    pid: int
    step: int
    error_type: str
    message: str  # one line
    where: str  # file:line of the deepest frame that is neither Python's nor a library's
    trace: str
    is_collateral: bool = False
    is_users: bool = False  # says by itself what to do: a UserError
    hint: str = ""

    @property
    def signature(self) -> tuple[str, str, str, int]:
        """Equal twice: it would be so for ever."""
        return (self.error_type, self.message, self.where, self.step)

    def line(self, num_workers: int) -> str:
        """For a person."""
        if self.is_users:
            return self.message
        who = f"worker {self.rank} on {self.ip}" if num_workers > 1 else "training"
        return f"{who} failed in {self.where}: {self.error_type}: {self.message}"


def describe(error: BaseException, *, rank: int, ip: str, pid: int, step: int) -> Cause:
    """An exception that was just caught, as text."""
    name = type(error).__name__
    is_users = isinstance(error, UserError)
    text = str(error.message) if isinstance(error, UserError) else " ".join(str(error).split())[:MAX_MESSAGE]
    return Cause(
        rank, ip, pid, step, name, text or "no message", where(error),
        "".join(traceback.format_exception(error)), is_collateral(name, text), is_users,
        error.hint if isinstance(error, UserError) else "",
    )  # fmt: skip


def is_collateral(error_type: str, message: str) -> bool:
    """Whether the error only says that another rank is gone or silent."""
    if error_type in COLLATERAL_TYPES:
        return True
    return error_type == "RuntimeError" and any(word in message.lower() for word in COLLATERAL_WORDS)


def where(error: BaseException) -> str:
    """File and line of the deepest frame of ours or the user's; of the deepest of all where there is none."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "unknown place"
    own = [frame for frame in frames if not _is_library(frame.filename)]
    deepest = (own or frames)[-1]
    return f"{short_path(deepest.filename)}:{deepest.lineno}"


def short_path(path: str) -> str:
    """From the folder we run in or an import path, where it lies in one."""
    for base in (str(Path.cwd()), *sys.path):
        if base and path.startswith(base.rstrip("/") + "/"):
            return path[len(base.rstrip("/")) + 1 :]
    return path


def _is_library(path: str) -> bool:
    stdlib = sysconfig.get_paths()["stdlib"]
    return "site-packages" in path or path.startswith((stdlib, "<"))


def first_cause(causes: Iterable[Cause]) -> Cause | None:
    """The one that the others followed from: not collateral, of the lowest rank. None where all are collateral."""
    return min((cause for cause in causes if not cause.is_collateral), key=lambda cause: cause.rank, default=None)
