"""What Ray Serve is told before it starts."""

import socket
from pathlib import Path

import pytest

from serving.app import cause, endpoint_url
from serving.config import attach_environment, local_environment, start_options
from training.package.serve_config import ServeConfig


def test_two_local_sessions_share_no_port_and_no_file(tmp_path: Path) -> None:
    first = local_environment(tmp_path / "a")
    with socket.socket() as running:
        running.bind(("", int(first["RAY_SERVE_HAPROXY_STATS_PORT"])))
        second = local_environment(tmp_path / "b")
    assert attach_environment().items() <= first.items()
    for key in first:
        if key.endswith(("_PORT", "_LOC", "_PATH", "_BASE", "_FILE")) and "DIRECT_INGRESS" not in key:
            assert first[key] != second[key], key
    low, high = (int(first[f"RAY_SERVE_DIRECT_INGRESS_{end}_HTTP_PORT"]) for end in ("MIN", "MAX"))
    assert low + 190 < high <= int(first["RAY_SERVE_HAPROXY_STATS_PORT"])
    assert float(first["RAY_SERVE_PORT_QUARANTINE_S"]) > float(first["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"])


def test_serve_keeps_to_the_host_only_where_it_can() -> None:
    config = ServeConfig(host="127.0.0.1", port=8123)
    assert start_options(config)["http_options"] == {"host": "127.0.0.1", "port": 8123}
    assert start_options(config, is_local=False)["http_options"] == {"host": "0.0.0.0", "port": 8123}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("fe80::1", "http://[fe80::1]:8000"),
    ],
)
def test_urls(host: str, url: str) -> None:
    assert endpoint_url(ServeConfig(host=host)) == url


def test_the_cause_is_the_innermost_error() -> None:
    message = """The deployment failed to start 1 times in a row.
Traceback (most recent call last):
  File "x.py", line 1, in load
ValueError: outer
training.package.errors.PackageError: /packages/1 is altered: golden.json is not as it was written
hint: copy it again"""
    assert cause(message) == "/packages/1 is altered: golden.json is not as it was written"
    assert cause("ModuleNotFoundError: No module named 'x'") == "ModuleNotFoundError: No module named 'x'"
    assert cause("waiting  for\nCPUs") == "waiting for CPUs"
    assert cause("") == "Serve gives no reason"
