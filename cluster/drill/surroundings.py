"""What must be around a drill's cluster before Ray is imported, and what is taken away after it. No Ray in here."""

import contextlib
import os
import secrets
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from cluster import reaper
from cluster.errors import ClusterError
from cluster.quiet import quiet_ray
from cluster.signals import uninterrupted


@contextlib.contextmanager
def surroundings(*, verbose: bool) -> Iterator[None]:
    """For the length of a `with` block, Ray may be imported and a cluster started in here.

    Every process that starts meanwhile is gone afterwards, also after a SIGKILL of this one.

    Raises:
        ClusterError: this process has imported Ray already.
    """
    if "ray" in sys.modules:  # it reads some of the variables below only then
        raise ClusterError("a drill needs a process of its own, and Ray is loaded in this one", "call `manta drill`")
    mark, before = uuid.uuid4().hex, dict(os.environ)
    folder = Path(tempfile.mkdtemp(prefix="md-", dir="/tmp"))  # short: a Unix socket's path ends at 107 characters
    os.environ.pop("RAY_ADDRESS", None)
    os.environ.update(environment(folder) | {reaper.MARK: mark})
    watcher = reaper.start(mark, folder)
    quiet_ray(verbose)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        with uninterrupted():
            reaper.sweep(mark, os.getpgrp(), folder)
            watcher.communicate()  # closes its stdin; it finds nothing left and ends


def environment(folder: Path) -> dict[str, str]:
    """Variables of the cluster and of its drivers.

    Args:
        folder: for Ray's files.
    """
    return {
        "RAY_TMPDIR": str(folder),  # also keeps the cluster's address out of the way of `ray.init()` elsewhere
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # its ports listen on the network
        "RAY_USAGE_STATS_ENABLED": "0",
    }
