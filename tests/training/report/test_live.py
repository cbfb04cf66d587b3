"""`manta report --watch`: what its server gives to whom, and what it says of a run that begins, runs and ends."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.history import find_run, is_held
from tests.training.made_up_searches import MadeUpSearch
from training.errors import CapacityError
from training.report.live import LivePage
from training.report.live_server import serving

ROOT = Path(__file__).parents[3]


def live(storage: Path, name: str = "adult") -> LivePage:
    return LivePage(name, lambda: find_run(name, str(storage)), is_held)


def begun(storage: Path, num: int = 5) -> MadeUpSearch:
    run = MadeUpSearch(storage / "adult", 40)
    run.search()
    run.make(num)
    run.live()
    return run


def ask(url: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    place = url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(place, timeout=10)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def state_of(url: str, seen: str = "") -> dict[str, Any]:
    return dict(json.loads(ask(url, f"/state.json?seen={seen}")[2]))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[MadeUpSearch, LivePage, str]]:
    run, page = begun(tmp_path), live(tmp_path)
    page.look()
    with serving(page, 0) as url:
        yield run, page, url


def test_the_page_and_what_is_new_on_it(served: tuple[MadeUpSearch, LivePage, str]) -> None:
    run, page, url = served
    status, headers, body = ask(url, "/")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert b"5 of 40 trials have ended" in body
    assert b'<span class="state running">running</span>' in body
    assert b"</i>search <b>8.5 s</b> so far" in body  # 5 trials, one after the other
    first = state_of(url)
    assert (first["kind"], first["status"]) == ("running", "running: 5 of 40 trials have ended")
    assert "objective" in first["figures"]
    again = state_of(url, first["version"])
    assert set(again) == {"version", "status", "kind", "looked_at"}  # nothing is new, and nothing is sent
    run.make(1)
    run.live()
    page.look()
    fresh = state_of(url, first["version"])
    assert fresh["version"] != first["version"]
    assert "6 of 40 trials have ended" in fresh["body"]


@pytest.mark.parametrize(
    "path", ["/journal.jsonl", "/report.html", "/trials/", "/../adult/experiment.yaml", "//etc/passwd", "/index.html"]
)
def test_nothing_else_is_served(served: tuple[MadeUpSearch, LivePage, str], path: str) -> None:
    status, _, body = ask(served[2], path)
    assert (status, body) == (404, b"there is only the page at /\n")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8770", "127.0.0.1.evil.example", "localhost:x", ""])
def test_a_foreign_name_is_refused(served: tuple[MadeUpSearch, LivePage, str], host: str) -> None:
    for path in ("/", "/state.json"):
        assert ask(served[2], path, Host=host)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8770", "localhost:9000", "LOCALHOST"])
def test_own_names_at_any_port_are_answered(served: tuple[MadeUpSearch, LivePage, str], host: str) -> None:
    status, headers, _ = ask(served[2], "/state.json", Host=host)
    assert status == 200
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_only_this_machine_is_listened_to(served: tuple[MadeUpSearch, LivePage, str]) -> None:
    port = int(served[2].rstrip("/").rpartition(":")[2])
    with socket.socket() as other:
        other.bind(("127.0.0.2", port))  # in use already, were all addresses listened to
    assert served[2].startswith("http://127.0.0.1:")


def test_a_port_in_use_is_said(served: tuple[MadeUpSearch, LivePage, str]) -> None:
    port = int(served[2].rstrip("/").rpartition(":")[2])
    told = f"port {port} on 127.0.0.1 is in use by another process"
    with pytest.raises(CapacityError, match=told), serving(served[1], port):
        pass


def test_a_run_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    page = live(tmp_path)
    page.look()
    assert (page.snapshot.kind, page.snapshot.status) == ("waiting", "waiting for the run to begin")
    assert b"shows it as soon as it is there" in page.snapshot.page()
    MadeUpSearch(tmp_path / "adult", 40)
    page.look()
    assert page.snapshot.kind == "running"
    assert b"27,676 train" in page.snapshot.page()  # before the search has begun


def test_the_end_of_a_run_is_said_and_so_is_silence(tmp_path: Path) -> None:
    run, page = begun(tmp_path), live(tmp_path)
    for path in [run.folder / "journal.jsonl", run.folder / "experiment.yaml", run.folder / "trials" / "live.json"]:
        os.utime(path, (time.time() - 3600,) * 2)
    page.look()
    assert b'<span class="state unfinished">unfinished</span>' in page.snapshot.page()
    assert page.snapshot.kind == "silent"
    assert page.snapshot.status.startswith("no news for 1 h 0 min")
    run.event("failed", stage="search", message="all trials failed")
    page.look()
    assert (page.snapshot.kind, page.snapshot.status) == ("over", "the run has ended: failed")
    run.start()
    page.look()
    assert page.snapshot.kind == "running"


def test_a_look_at_what_did_not_change_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, page = begun(tmp_path), live(tmp_path)
    page.look()
    version = page.snapshot.version
    monkeypatch.setattr("training.report.live.contents", lambda *_, **__: pytest.fail("put together again"))
    page.look()
    assert page.snapshot.version == version
    monkeypatch.undo()
    run.make(1)
    page.look()
    assert page.snapshot.version != version


def test_damage_is_said_on_the_page_and_does_not_end_it(tmp_path: Path) -> None:
    run, page = begun(tmp_path), live(tmp_path)
    whole = (run.folder / "experiment.yaml").read_text()
    (run.folder / "experiment.yaml").write_text("- not\n- a mapping\n")
    page.look()
    assert b"experiment.yaml is damaged" in page.snapshot.page()
    (run.folder / "experiment.yaml").write_text(whole)
    page.look()
    assert page.snapshot.kind == "running"


@contextmanager
def watching(*arguments: str, cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "cluster", "report", *arguments]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}) as process:  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_the_command_serves_until_ctrl_c_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    run = begun(tmp_path / "runs")
    with watching("adult", "--watch", "--port", "0", cwd=tmp_path) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert state_of(url)["kind"] in ("waiting", "running")
        port = url.rstrip("/").rpartition(":")[2]
        with watching("adult", "--watch", "--port", port, cwd=tmp_path) as second:
            _, told = second.communicate(timeout=60)
            assert (second.returncode, f"port {port} on 127.0.0.1 is in use" in told) == (3, True)
            assert "hint: --port names another one" in told
        run.event("finished", seconds=3.0)
        deadline = time.monotonic() + 20
        while state_of(url)["kind"] != "over":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        assert process.returncode == 0
        assert "the run has ended; Ctrl-C stops serving its page" in told
        assert "the page is no longer served" in told
    assert not (run.folder / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [(["--port", "8800"], "--port is given without --watch"), (["--watch", "--json"], "do not go together")],
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, options: list[str], told: str) -> None:
    from cluster.commands.runs import report
    from training.errors import ConfigError

    port = int(options[1]) if "--port" in options else None
    with pytest.raises(ConfigError, match=told):
        report("adult", str(tmp_path), watch="--watch" in options, port=port, as_json="--json" in options)
