"""One replica, called as Serve calls it, but in this process."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from serving.config import BatchSettings
from serving.replica import ModelReplica
from tests.packages import write_table_package
from tests.serving.asking import RECORD
from training.package.errors import PackageError
from training.package.serve_config import ServeConfig


def settings(**changes: Any) -> dict[str, Any]:
    return BatchSettings.of(ServeConfig(**changes)).model_dump()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    write_table_package(tmp_path / "package")
    return tmp_path / "package"


def request(body: bytes, *, declared: int | None = None, path: str = "/predict") -> Request:
    """A request whose body comes in pieces of 1000 bytes; `declared` is what its Content-Length says."""
    pieces = [body[i : i + 1000] for i in range(0, len(body), 1000)] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": i + 1 < len(pieces)} for i, piece in enumerate(pieces)
    ]

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    headers = [] if declared is None else [(b"content-length", str(declared).encode())]
    scope = {"type": "http", "method": "POST", "path": f"/v2/models/adult{path}", "headers": headers}
    return Request(scope, receive)


async def status_and_body(replica: ModelReplica, sent: Request) -> tuple[int, Any, Response]:
    response = await replica(sent)
    return response.status_code, json.loads(bytes(response.body)), response


def test_a_replica_answers(package: Path) -> None:
    replica = ModelReplica(str(package), "adult", "1", settings())
    status, (answer,), _ = asyncio.run(status_and_body(replica, request(json.dumps(RECORD).encode())))
    assert (status, answer["label"]) == (200, "no")


def test_bodies_over_the_limit_are_refused_by_header_and_by_size(package: Path) -> None:
    replica = ModelReplica(str(package), "adult", "1", settings(max_body_mb=0.002))
    for sent in (request(b"", declared=3000), request(b" " * 3000), request(b" " * 3000, declared=10)):
        status, answer, _ = asyncio.run(status_and_body(replica, sent))
        assert status == 413
        assert answer["error"].startswith("the body is over the limit of 2000 bytes")


def test_a_client_that_hangs_up_gets_nothing_and_breaks_nothing(package: Path) -> None:
    replica = ModelReplica(str(package), "adult", "1", settings())
    scope = request(b"").scope

    async def hang_up() -> Any:
        return {"type": "http.disconnect"}

    assert asyncio.run(replica(Request(scope, hang_up))).status_code == 499


def test_too_many_in_flight_are_told_when_to_come_back(package: Path) -> None:
    replica = ModelReplica(str(package), "adult", "1", settings(max_queued_requests=2, max_batch_wait_ms=200))

    async def ask_five() -> list[tuple[int, Any, Response]]:
        body = json.dumps(RECORD).encode()
        return list(await asyncio.gather(*(status_and_body(replica, request(body)) for _ in range(5))))

    answers = asyncio.run(ask_five())
    assert sorted(status for status, _, _ in answers) == [200, 200, 503, 503, 503]
    refused = next(response for status, _, response in answers if status == 503)
    assert int(refused.headers["retry-after"]) >= 1
    assert asyncio.run(status_and_body(replica, request(json.dumps(RECORD).encode())))[0] == 200


def test_reconfigure_takes_new_settings(package: Path) -> None:
    replica = ModelReplica(str(package), "adult", "1", settings())
    replica.reconfigure(settings(max_body_mb=0.00001))
    assert asyncio.run(status_and_body(replica, request(json.dumps(RECORD).encode())))[0] == 413


def test_an_altered_package_never_becomes_a_replica(package: Path) -> None:
    path = package / "variants" / "fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(PackageError, match=r"variants/fp32\.onnx is not as it was written"):
        ModelReplica(str(package), "adult", "1", settings())


def test_health_fails_when_answers_change_and_ready_says_so(package: Path) -> None:
    replica = ModelReplica(str(package), "adult", "1", settings())
    replica.check_health()
    labels = replica._predictor.manifest.labels[::-1]  # what a fault of memory would do
    replica._predictor.manifest = replica._predictor.manifest.model_copy(update={"labels": labels})
    with pytest.raises(PackageError, match="golden row 0"):
        replica.check_health()
    ready = request(b"", path="/ready")
    ready.scope["method"] = "GET"
    assert asyncio.run(replica(ready)).status_code == 503
