"""The front: the server's own endpoints and every path that leads nowhere."""

import asyncio
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from serving import VERSION
from serving.front import FrontHandler
from serving.protocol.reply import Reply
from tests.serving.asking import error_of

READY = {"adult": "ready", "digits": "ready"}


def ask(path: str, states: Mapping[str, str] = READY, method: str = "GET") -> Reply:
    async def read() -> Mapping[str, str]:
        return states

    return asyncio.run(FrontHandler(VERSION, read).handle(method, path, {}, b""))


def test_server_endpoints() -> None:
    assert json.loads(ask("/v2").body) == {"name": "manta", "version": VERSION, "extensions": ["binary_tensor_data"]}
    assert json.loads(ask("/v2/health/live").body) == {"live": True}
    assert json.loads(ask("/v2/health/ready").body) == {"ready": True}
    assert json.loads(ask("/v2/models").body)[0] == {"name": "adult", "state": "ready"}


def test_not_ready_says_which_model() -> None:
    reply = ask("/v2/health/ready", {"adult": "deploying", "digits": "ready"})
    assert reply.status == 503
    assert json.loads(reply.body) == {"error": "adult is deploying"}
    assert ask("/v2/models/adult/infer", {"adult": "unhealthy"}).status == 503


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/v2/models/adlut", r"no model 'adlut' \(nearest: 'adult'\); served here: adult, digits"),
        ("/v2/models/adult2/infer", "no model 'adult2'"),
        ("/v3", "no path '/v3'"),
        ("/<script>alert(1)</script>", "no path '/<script>"),
    ],
)
def test_unknown_paths_and_models(path: str, reason: str) -> None:
    reply = ask(path)
    assert reply.status == 404
    assert re.search(reason, error_of(reply))


def test_wrong_method() -> None:
    reply = ask("/v2/health/live", method="POST")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET")


def test_the_page_loads_nothing_from_elsewhere_and_builds_no_markup_from_data() -> None:
    reply = ask("/")
    page = reply.body.decode()
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"(src|href)\s*=|https?://|@import|url\(", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", page)
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
