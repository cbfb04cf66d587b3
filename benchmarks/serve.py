"""Requests a second of one model behind three servers, one after the other in one run, at 32 connections.

    python -m benchmarks.serve [--package FOLDER] [--seconds 10]

- stock Ray Serve: the one-file deployment of Ray's first guide, default proxy, one replica;
- FastAPI: uvicorn and FastAPI in one process, without Ray;
- ours: `manta deploy`, one replica.

All three answer the same one-row JSON request from the same package with the same predictor. The load comes from
`wrk` where it is installed (Debian: apt-get install wrk), else from geventhttpclient, the same for all. The last
line is JSON: `vs_stock_serve` and `vs_fastapi` are ratios of requests a second.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import CONNECTIONS, Load, measure
from training.package.read import load_package

START_TIMEOUT_S = 120
WARM_UP_S = 3


def main() -> None:
    """Measure the three and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, help="a package's folder; without it a small one is made")
    parser.add_argument("--seconds", type=int, default=10, help="length of each measurement")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        package = arguments.package or make_package(Path(folder))
        rows = run_all(package, arguments.seconds, Path(folder))
        report(rows, load_package(package).manifest.chosen)


def make_package(folder: Path) -> Path:
    """A tuned-size MLP on a bundled table of 30 numbers, by our own commands."""
    config = folder / "bench.yaml"
    config.write_text(
        f"name: bench\nstorage: {folder}/runs\n"
        "data: {source: 'sklearn:breast_cancer', target: target}\n"
        "model: {kind: mlp, hidden: [128, 128]}\n"
        "train: {epochs: 10}\n"
    )
    command = [sys.executable, "-m", "cluster", "compress", str(config), "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "runs" / "bench" / "package"


def run_all(package: Path, seconds: int, folder: Path) -> dict[str, Load]:
    """Start, warm up, measure and end each server."""
    name = load_package(package).manifest.name
    servers = {
        "stock Ray Serve": ([sys.executable, "-m", "benchmarks.peers", "stock"], "/"),
        "uvicorn + FastAPI": ([sys.executable, "-m", "benchmarks.peers", "fastapi"], "/"),
        "ours": ([sys.executable, "-m", "cluster", "deploy"], f"/v2/models/{name}/predict"),
    }
    body = folder / "body.json"
    body.write_text(json.dumps([first_record(package)]))
    rows = {}
    for server, (command, path) in servers.items():
        port = free_port()
        with running([*command, str(package), "--port", str(port)]):
            url = f"http://127.0.0.1:{port}{path}"
            wait_for_answer(url, body)
            measure(url, body, WARM_UP_S)
            rows[server] = measure(url, body, seconds)
    return rows


def first_record(package: Path) -> dict[str, object]:
    """A golden row, as a client would send it."""
    golden = load_package(package).golden
    return {name: values[0] for name, values in golden.inputs.items()}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[None]:
    """A server for the length of a `with` block, ended as a person would end it."""
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        except BaseException:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            os.kill(server.pid, signal.SIGINT)
            server.wait(timeout=60)


def wait_for_answer(url: str, body: Path) -> None:
    """Until the server answers a request, or START_TIMEOUT_S have passed."""
    deadline = time.monotonic() + START_TIMEOUT_S
    headers = {"Content-Type": "application/json"}
    while True:
        try:
            request = urllib.request.Request(url, body.read_bytes(), headers)
            with urllib.request.urlopen(request, timeout=5) as answer:
                sys.stderr.write(f"{url} answers {answer.read(120)!r}\n")
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def report(rows: dict[str, Load], variant: str) -> None:
    """The table, then one JSON line."""
    print(f"one row a request, {CONNECTIONS} connections, variant {variant}, {os.cpu_count()} cores")
    print(f"{'':20} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'errors':>7}")
    for server, load in rows.items():
        print(f"{server:20} {load.per_s:9.0f} {load.p50_ms:8.2f} {load.p99_ms:8.2f} {load.num_errors:7d}")
    ours = rows["ours"]
    ratios = {
        "vs_stock_serve": round(ours.per_s / rows["stock Ray Serve"].per_s, 2),
        "vs_fastapi": round(ours.per_s / rows["uvicorn + FastAPI"].per_s, 2),
    }
    print(
        json.dumps(ratios | {"ours_per_s": round(ours.per_s), "errors": sum(row.num_errors for row in rows.values())})
    )


if __name__ == "__main__":
    main()
