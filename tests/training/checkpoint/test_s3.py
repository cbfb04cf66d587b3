"""Checkpoints in an object store: a real S3 API on the loopback."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pyarrow.fs as pafs
import pytest
from moto.server import ThreadedMotoServer

from tests.training.checkpoint.made import made, place, same
from training.checkpoint import store as store_module
from training.checkpoint.saver import Saver
from training.checkpoint.store import CheckpointStore
from training.errors import StorageError


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        self.told.append((event, facts))


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def uri(s3_options: str, tmp_path: Path) -> str:
    return f"s3://data/{tmp_path.name}/checkpoints{s3_options}"


def files(uri: str) -> dict[str, bytes]:
    filesystem, root = pafs.FileSystem.from_uri(uri)
    infos = filesystem.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    return {
        info.path.removeprefix(f"{root}/"): filesystem.open_input_stream(info.path).read()
        for info in infos
        if info.is_file
    }


def put(uri: str, name: str, content: bytes) -> None:
    filesystem, root = pafs.FileSystem.from_uri(uri)
    with filesystem.open_output_stream(f"{root}/{name}") as file:
        file.write(content)


def test_there_and_back(uri: str) -> None:
    store = CheckpointStore(uri)
    assert store.newest_intact() is None
    first = made(1)
    store.write(first, place(1))
    store.write({**made(2), "best": first["best"]}, place(2))
    store.write({**made(3), "best": first["best"]}, place(3))
    assert "endpoint" not in store.where
    names = sorted(files(uri))
    assert len([name for name in names if name.startswith("best/")]) == 1
    assert len(names) == 7
    later = CheckpointStore(uri)
    later.tidy(keep=1, keep_mb=None)
    assert [saved.step for saved in later.list()] == [1, 3]
    found = later.newest_intact()
    assert found is not None
    assert found[0].path == f"{later.where}/00000003"
    assert same(found[1], made(3))


def test_an_interrupted_upload_shadows_nothing(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(uri)
    store.write(made(1), place(1))
    whole = files(uri)
    put(uri, "00000001/x", b"")  # not even one of the same step
    put(uri, "00000002/checkpoint.pt", whole["00000001/checkpoint.pt"][:100])
    put(uri, "00000003/checkpoint.pt", whole["00000001/checkpoint.pt"])
    put(uri, "00000003/manifest.json", whole["00000001/manifest.json"][:-10])
    later = CheckpointStore(uri)
    found = later.newest_intact()
    assert found is not None
    assert found[0].step == 1
    assert later.write(made(2), place(2)).name == "00000002.1"
    later.tidy(keep=2, keep_mb=None)
    assert "00000002/checkpoint.pt" in files(uri)  # it may be under way
    monkeypatch.setattr(store_module, "ABANDONED_S", -60.0)
    later.tidy(keep=2, keep_mb=None)
    assert {name.partition("/")[0] for name in files(uri)} == {"00000001", "00000002.1", "best"}


def test_damage_is_seen(uri: str) -> None:
    store = CheckpointStore(uri)
    store.write(made(1), place(1))
    store.write(made(2), place(2))
    content = bytearray(files(uri)["00000002/checkpoint.pt"])
    content[len(content) // 2] ^= 1
    put(uri, "00000002/checkpoint.pt", bytes(content))
    found = store.newest_intact()
    assert found is not None
    assert found[0].step == 1
    assert store.skipped == [f"{store.where}/00000002 has other bytes in checkpoint.pt than were written"]


def test_a_bucket_that_is_missing_is_no_outage(uri: str, events: Events) -> None:
    store = CheckpointStore(uri.replace("s3://data/", "s3://date/"))
    saver = Saver(store, keep=2, keep_mb=None, on_event=events, give_up_after_s=20.0)
    with pytest.raises(StorageError, match=r"could not be written to s3://date/.* last good checkpoint is none"):
        saver.save(made(1), place(1), wait=True)
    assert events.told == []


class Refusing(BaseHTTPRequestHandler):
    """Access is denied to whoever asks for anything."""

    def refuse(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = refuse

    def log_message(self, *args: Any) -> None:
        """No noise."""


@contextmanager
def listening(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def at(port: int) -> str:
    return f"s3://late/run?endpoint_override=http://127.0.0.1:{port}&scheme=http&region=us-east-1"


@contextmanager
def opened(port: int) -> Iterator[None]:
    """A store on this port, with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="late")
    yield
    server.stop()


def saves_once_it_is_open(port: int, events: Events, outage: ExitStack) -> None:
    with ExitStack() as stack:

        def comes_back(event: str, facts: dict[str, Any]) -> None:
            events(event, facts)
            if event == "storage_trouble":
                outage.close()
                stack.enter_context(opened(port))

        store = CheckpointStore(at(port))
        saver = Saver(store, keep=2, keep_mb=None, on_event=comes_back, give_up_after_s=60.0)
        saver.save(made(1), place(1), wait=True)
        assert [event for event, _ in events.told] == ["storage_trouble", "storage_recovered", "checkpoint_saved"]
        assert events.told[0][1]["trouble"] == "unreachable"
        assert [saved.step for saved in CheckpointStore(at(port)).list()] == [1]


@pytest.mark.usefixtures("s3_options")
def test_a_store_that_refuses_is_waited_for_and_no_empty_one(events: Events) -> None:
    with ExitStack() as outage:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
        outage.enter_context(listening(server))
        with pytest.raises(StorageError, match=r"cannot be read: .*ACCESS_DENIED"):
            CheckpointStore(at(server.server_port)).newest_intact()
        saves_once_it_is_open(server.server_port, events, outage)


@pytest.mark.slow  # the client itself tries for seven seconds
@pytest.mark.usefixtures("s3_options")
def test_a_store_that_nobody_serves_is_waited_for_and_no_empty_one(events: Events) -> None:
    with ExitStack() as outage, socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused, and nobody else gets it
        outage.callback(held.close)
        port = held.getsockname()[1]
        with pytest.raises(StorageError, match=r"cannot be read: .*NETWORK_CONNECTION"):
            CheckpointStore(at(port)).newest_intact()
        saves_once_it_is_open(port, events, outage)
