"""Ray speaks only with -v."""

import logging
import os

# Each of these has a level of its own.
LOGGERS = (
    "ray",
    "ray.serve",
    "ray.train",
    "ray.tune",
    "ray.data",
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
)


def quiet_ray(verbose: bool) -> None:
    """Set Ray's loggers in this process, before Ray is asked for anything."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
