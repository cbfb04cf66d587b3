"""What goes back over HTTP, before any web framework."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from serving.errors import HTTP_STATUS, RequestError

log = logging.getLogger(__name__)

JSON: Mapping[str, str] = {"content-type": "application/json"}


class Reply(NamedTuple):
    """Status, body and headers; header names in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def json_reply(content: Any, status: int = 200) -> Reply:
    """A JSON body; numpy scalars and arrays are allowed in it."""
    return Reply(status, orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), JSON)


def error_reply(error: RequestError) -> Reply:
    """`{"error": reason}` with the status of the error's class."""
    reason = f"{error.message}; {error.hint}" if error.hint else error.message
    status = HTTP_STATUS[type(error)]
    return Reply(status, orjson.dumps({"error": reason}), {**JSON, **error.headers})


def failure_reply() -> Reply:
    """For a mistake of ours. The reason stays in the log: it may hold what other clients sent."""
    log.exception("a request failed")
    return json_reply({"error": "the server failed to answer; its log says why"}, status=500)
