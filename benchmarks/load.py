"""Load on one URL from a fixed number of connections: `wrk` where it is installed, else geventhttpclient."""

import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

CONNECTIONS = 32
WRK_REPORT = """
done = function(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("LOAD %f %f %f %d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, failed))
end
"""


@dataclass(frozen=True)
class Load:
    """What a load generator saw."""

    per_s: float
    p50_ms: float
    p99_ms: float
    num_errors: int


def measure(url: str, body: Path, seconds: int) -> Load:
    """POST the body from all connections for some seconds."""
    return _wrk(url, body, seconds) if shutil.which("wrk") else _gevent(url, body, seconds)


def _wrk(url: str, body: Path, seconds: int) -> Load:
    script = (
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.body = io.open("{body}"):read("*a")\n{WRK_REPORT}'
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", file.name, url]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"LOAD (\S+) (\S+) (\S+) (\d+)", output)
    if found is None:
        raise RuntimeError(f"wrk printed no figures: {output}")
    per_s, p50_ms, p99_ms, errors = found.groups()
    return Load(float(per_s), float(p50_ms), float(p99_ms), int(errors))


def _gevent(url: str, body: Path, seconds: int) -> Load:
    import gevent  # noqa: PLC0415  only where wrk is missing
    from geventhttpclient import HTTPClient  # noqa: PLC0415

    parts, content = urlsplit(url), body.read_bytes()
    client = HTTPClient(parts.hostname, parts.port, concurrency=CONNECTIONS)
    times_s: list[float] = []
    num_errors = 0
    began = time.perf_counter()

    def ask() -> None:
        nonlocal num_errors
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            try:
                answer = client.request("POST", parts.path, content, {"Content-Type": "application/json"})
                answer.read()
                num_errors += answer.status_code != 200
            except OSError:
                num_errors += 1
            times_s.append(time.perf_counter() - sent)

    gevent.joinall([gevent.spawn(ask) for _ in range(CONNECTIONS)])
    ordered = sorted(times_s)
    p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
    return Load(len(ordered) / (time.perf_counter() - began), p50, p99, num_errors)
