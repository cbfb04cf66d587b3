"""What stands at "/": the page, the server's own endpoints, and every path that no model answers."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches
from pathlib import Path

from ray import serve
from ray.serve.schema import ApplicationStatus
from starlette.requests import Request
from starlette.responses import Response

from serving.app_names import model_of
from serving.errors import ModelNotReady, RequestError, UnknownModel, UnknownPath, WrongMethod
from serving.http import respond
from serving.protocol.reply import Reply, error_reply, failure_reply, json_reply

States = Mapping[str, str]  # model -> "ready", or why it is not

MAX_BODY_BYTES = 1_000_000  # nothing here reads a body; requests for an unknown model may bring one
STATES_AGE_S = 0.5  # the controller is asked at most twice a second, however often a health check comes

_PAGE = Reply(
    200,
    Path(__file__).with_name("page.html").read_bytes(),
    {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-cache",
        "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
    },
)


class FrontHandler:
    """Answers everything outside the models. `states` tells which models there are and whether they are ready."""

    def __init__(self, version: str, states: Callable[[], Awaitable[States]]) -> None:
        self._version, self._states = version, states
        self._actions: dict[str, Callable[[], Awaitable[Reply]]] = {
            "/": self._page,
            "/v2": self._server,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            "/v2/models": self._models,
        }

    async def handle(self, method: str, path: str, _headers: Mapping[str, str], _body: bytes) -> Reply:
        """Always an answer."""
        try:
            return await self._answer(method, path)
        except RequestError as error:
            return error_reply(error)
        except Exception:
            return failure_reply()

    async def _answer(self, method: str, path: str) -> Reply:
        action = self._actions.get(path.rstrip("/") or "/")
        if action is None:
            raise _unknown(path, await self._states())
        if method not in ("GET", "HEAD"):
            raise WrongMethod(f"{path} takes GET, got {method}", "GET")
        return await action()

    async def _page(self) -> Reply:
        return _PAGE

    async def _server(self) -> Reply:
        return json_reply({"name": "manta", "version": self._version, "extensions": ["binary_tensor_data"]})

    async def _live(self) -> Reply:
        return json_reply({"live": True})

    async def _ready(self) -> Reply:
        states = await self._states()
        waiting = [f"{name} is {state}" for name, state in states.items() if state != "ready"]
        if waiting:
            raise ModelNotReady("; ".join(waiting))
        return json_reply({"ready": True})

    async def _models(self) -> Reply:
        states = await self._states()
        return json_reply([{"name": name, "state": state} for name, state in states.items()])


def _unknown(path: str, states: States) -> RequestError:
    known = f"served here: {', '.join(states)}" if states else "no model is served here yet"
    if not path.startswith("/v2/models/"):
        return UnknownPath(f"there is no path {path!r}; GET /v2/models lists the models, GET / shows them")
    name = path.removeprefix("/v2/models/").split("/")[0]
    if name in states:  # its own application would have answered, had it a healthy replica
        where = f"; it answers at /v2/models/{name}, spelled so" if states[name] == "ready" else ""
        return ModelNotReady(f"nothing answers for model {name!r} here, Serve says that it is {states[name]}{where}")
    near = get_close_matches(name, states, n=1)
    return UnknownModel(f"there is no model {name!r}" + (f" (nearest: {near[0]!r})" if near else "") + f"; {known}")


class Front:
    """The deployment. It reserves no CPU: it answers from the controller's status, and models never pass through it."""

    def __init__(self, version: str) -> None:
        self._handler = FrontHandler(version, self._states)
        self._known: States = {}
        self._read_at = -STATES_AGE_S

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request."""
        return await respond(request, self._handler.handle, MAX_BODY_BYTES)

    async def _states(self) -> States:
        if time.monotonic() - self._read_at >= STATES_AGE_S:
            self._known = await asyncio.to_thread(read_states)
            self._read_at = time.monotonic()
        return self._known


def read_states() -> States:
    """Models by name, sorted, with "ready" or Serve's reason why not. Asks the controller, so it blocks."""
    states: dict[str, str] = {}
    for app, overview in serve.status().applications.items():
        name = model_of(app)
        if name is not None and overview.status != ApplicationStatus.DELETING:
            is_ready = overview.status == ApplicationStatus.RUNNING
            states[name] = "ready" if is_ready else overview.status.value.lower().replace("_", " ")
    return dict(sorted(states.items()))
