"""An endpoint for a release: its port, its Serve, and whether it answers as it should."""

import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from ray import serve
from ray.serve.context import _get_global_client

from cluster.errors import ClusterError
from cluster.session import Session
from serving import app
from serving.app_names import FRONT, app_of
from serving.client import Client
from serving.config import start_options
from serving.predictor import Predictor
from serving.registry import Registry, Release
from training.package.answers import numbers_name
from training.package.serve_config import ServeConfig
from training.package.transforms import inputs_from_table

ROWS_PER_REQUEST = 8  # as a small client would send them: the figures are those of requests, not of one big batch


def require_free_port(config: ServeConfig) -> None:
    """Raise ClusterError, naming a free port, when the endpoint's port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just closed is free
        try:
            probe.bind((config.host, config.port))
        except OSError as error:
            raise ClusterError(
                f"port {config.port} on {config.host} cannot be used: {error.strerror}",
                f"end what holds it, or take another: --set serve.port={_free_port(config.host)}",
            ) from error


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            probe.bind(("127.0.0.1", 0))  # the host itself was the problem
        return int(probe.getsockname()[1])


def deploy(session: Session, release: Release, config: ServeConfig, registry: Registry, stays: bool) -> str:
    """Start Serve where it is not running, bring the release up, record it; returns the endpoint's base URL.

    Args:
        stays: leave it on a cluster when the session ends. A local Ray ends with its session in any case.
    """
    started_serve = not session.is_local and not serve.status().applications
    try:
        serve.start(**start_options(config, is_local=session.is_local))
    except RuntimeError as error:
        raise ClusterError(
            f"Ray Serve does not start: {str(error).strip().splitlines()[-1]}",
            "the same command goes on from here; if a port was taken meanwhile, --set serve.port names another",
        ) from error
    if not session.is_local and not stays:
        session.before_close(lambda: _take_down(release.name, started_serve))
    app.deploy(release, config)
    url = app.endpoint_url(config)
    registry.record_deployment(release, url)
    return url


def _take_down(name: str, with_serve: bool) -> None:
    """Let a cluster end what we brought up, without waiting: replicas and proxies drain for half a minute."""
    if with_serve:
        client = _get_global_client()
        if client is not None:
            client.shutdown(timeout_s=1.0)  # `serve.shutdown` would wait; the controller goes on by itself
        return
    others = set(serve.status().applications) - {app_of(name)}
    serve.delete(app_of(name), _blocking=False)
    if others == {FRONT}:
        serve.delete(FRONT, _blocking=False)


def ask(url: str, release: Release, rows_file: Path) -> dict[str, Any]:
    """Send held-out rows over HTTP and compare the answers with the package's own, computed in this process.

    Returns:
        num_rows, agree_fraction, and p50_ms and p99_ms of one request of `ROWS_PER_REQUEST` rows.

    Raises:
        ClusterError: an answer differs.
    """
    table = pq.read_table(rows_file)
    predictor = Predictor.load(release.package)
    specs, agreeing, times_ms = predictor.manifest.inputs, [], []
    with Client(url) as client:
        for start in range(0, table.num_rows, ROWS_PER_REQUEST):
            inputs = inputs_from_table(table.slice(start, ROWS_PER_REQUEST), specs)
            began = time.perf_counter()
            answers = client.infer(release.name, inputs)
            times_ms.append((time.perf_counter() - began) * 1000)
            agreeing.append(_agreeing(predictor, answers, predictor.predict(inputs)))
    agree_N = np.concatenate(agreeing)
    if not agree_N.all():
        raise ClusterError(
            f"the endpoint answers {int((~agree_N).sum())} of {len(agree_N)} held-out rows otherwise than the package",
            "is another model served at this port?",
        )
    p50_ms, p99_ms = (float(np.percentile(times_ms, share)) for share in (50, 99))
    return {"num_rows": len(agree_N), "agree_fraction": float(agree_N.mean()), "p50_ms": p50_ms, "p99_ms": p99_ms}


def _agreeing(predictor: Predictor, over_http: dict[str, np.ndarray], here: dict[str, np.ndarray]) -> np.ndarray:
    tolerance = predictor.variant.tolerance
    name = numbers_name(predictor.manifest.task)
    apart = np.abs(over_http[name] - here[name])
    return np.asarray((apart.max(axis=1) if apart.ndim > 1 else apart) <= tolerance)
