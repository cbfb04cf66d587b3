"""What Ray Serve must be told before it starts, and what a deployment is told while it runs."""

import os
import random
import socket
from pathlib import Path
from typing import Any

from pydantic import Field

from training.package.serve_config import ServeConfig
from training.package.shapes import StrictModel

# Both are read where Serve's controller starts; set later, or only in a driver that attaches, they do nothing.
_FAST = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}

# Below the ephemeral range of Linux (32768 and up), so that no outgoing connection holds one of them.
_PORT_BLOCKS = range(20000, 32000, 200)
_NUM_OWN_PORTS = 4  # of a block, HAProxy's own; the others are for replicas


class BatchSettings(StrictModel):
    """What a running replica may be told anew, without a restart."""

    max_batch_size: int = Field(ge=1, description="rows joined into one model call at most")
    max_batch_wait_ms: float = Field(ge=0, description="how long a request may wait for others")
    max_in_flight: int = Field(ge=1, description="requests in flight before new ones get 503")
    max_body_mb: float = Field(gt=0, description="largest request body")

    @classmethod
    def of(cls, config: ServeConfig) -> "BatchSettings":
        """The settings of a deployment."""
        return cls(
            max_batch_size=config.max_batch_size,
            max_batch_wait_ms=config.max_batch_wait_ms,
            max_in_flight=config.max_queued_requests,
            max_body_mb=config.max_body_mb,
        )


def attach_environment() -> dict[str, str]:
    """For `ray.init(address=..., runtime_env={"env_vars": ...})`: HAProxy on a cluster that runs already."""
    return dict(_FAST)


def local_environment(folder: Path) -> dict[str, str]:
    """For `os.environ` before `ray.init` of a local cluster: Serve behind HAProxy, apart from any other on this host.

    Args:
        folder: holds HAProxy's files; its path stays under 30 characters, as Serve adds a node id and a Unix
            socket's path ends at 107.
    """
    block = _free_block()
    replicas, (stats, metrics, fallback_http, fallback_grpc) = block[:-_NUM_OWN_PORTS], block[-_NUM_OWN_PORTS:]
    return {
        **_FAST,
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replicas.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(replicas.stop),
        # Long enough for the HAProxy beside it to forget a replica; the default makes every exit wait 30 s.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "0.5",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "5",
        "RAY_SERVE_PORT_QUARANTINE_S": "10",  # above hard-stop: an old HAProxy must not reach a new replica's port
    }


def start_options(config: ServeConfig, *, is_local: bool = True) -> dict[str, Any]:
    """Keyword arguments for `serve.start`.

    Args:
        is_local: the cluster is this machine alone. Elsewhere Serve has to listen on every interface, whatever
            `config.host` says: replicas take the same host, and the proxy reaches them from other nodes.
    """
    host = config.host if is_local else "0.0.0.0"  # noqa: S104 - see above
    # One proxy reaches every replica, and the port is promised on one machine only.
    return {"proxy_location": "HeadOnly", "http_options": {"host": host, "port": config.port}}


def _free_block() -> range:
    """A block of ports for one session. The first and the last ones are tried: clusters give out the lowest first."""
    for start in random.sample(_PORT_BLOCKS, len(_PORT_BLOCKS)):
        block = range(start, start + _PORT_BLOCKS.step)
        if all(_is_free(port) for port in (block[0], *block[-_NUM_OWN_PORTS:])):
            return block
    raise OSError(f"no free block of {_PORT_BLOCKS.step} ports between {_PORT_BLOCKS.start} and {_PORT_BLOCKS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
