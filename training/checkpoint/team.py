"""Workers that do one thing together and either all succeed or all learn why not."""

import errno
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


class Team:
    """The workers of a process group, or one alone. The group exchanges objects, so it must be of gloo."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.group = group
        self.rank = 0 if group is None else dist.get_rank(group)
        self.size = 1 if group is None else dist.get_world_size(group)

    def together(self, action: Callable[[], T]) -> list[T]:
        """Every worker's result, in their order. Raises OSError on all of them where one had it."""
        if self.group is None:
            return [action()]
        mine: tuple[T | None, tuple[int, str] | None]
        try:
            mine = (action(), None)
        except OSError as error:
            mine = (None, (number_of(error), f"{error.strerror or error} (worker {self.rank})"))
        everyone: list[Any] = [None] * self.size
        dist.all_gather_object(everyone, mine, group=self.group)
        for _, trouble in everyone:
            if trouble is not None:
                raise OSError(*trouble)
        return [result for result, _ in everyone]

    def first(self, action: Callable[[], T]) -> T:
        """The first worker's result, on all of them."""
        return self.together(lambda: action() if self.rank == 0 else None)[0]  # type: ignore[return-value]


def number_of(error: OSError) -> int:
    """The error's number. Object stores raise OSError without one."""
    if error.errno is not None:
        return error.errno
    return errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO
