"""An MLflow tracking server by its REST API, which any of its versions speaks. Needs no MLflow here.

https://mlflow.org/docs/latest/rest-api.html. Limits are those of `mlflow/utils/validation.py`, of its older versions
where they were tighter.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import requests

TIMEOUT_S = (2.0, 5.0)  # to connect, and to wait for an answer
MAX_PARAMS, MAX_METRICS, MAX_KEY, MAX_VALUE = 100, 1000, 250, 500
NO_KEY = re.compile(r"[^\w\-. /]")
BUSY = (408, 425, 429)
T = TypeVar("T")
PROXIED = "mlflow-artifacts:"  # artifacts that the server itself takes in


class Unreachable(Exception):
    """No answer, or one that another attempt may better."""


class Refused(Exception):
    """An answer that stays the same until a person does something."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code  # of MLflow, such as RESOURCE_DOES_NOT_EXIST


class MlflowServer:
    """Calls to one server. Credentials come from MLflow's own environment variables, and are never told."""

    def __init__(self, uri: str) -> None:
        self._uri, self._session = uri, requests.Session()
        self._session.auth = _credentials()  # set as auth: a header of ours would lose to one of ~/.netrc
        if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true":
            self._session.verify = False
        elif certificate := os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
            self._session.verify = certificate

    def experiment(self, name: str) -> str:
        """Id of the experiment of this name, made where there is none."""
        found = self._experiment(name)
        if found is None:
            try:
                return str(self.post("experiments/create", name=name)["experiment_id"])
            except Refused as refused:
                if refused.code != "RESOURCE_ALREADY_EXISTS" or (found := self._experiment(name)) is None:
                    raise  # else another run was first
        if found.get("lifecycle_stage") == "deleted":
            raise Refused(f"its experiment {name} is deleted; restore it, or set MLFLOW_EXPERIMENT_NAME to another")
        return str(found["experiment_id"])

    def _experiment(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(self.get("experiments/get-by-name", experiment_name=name)["experiment"])
        except Refused as refused:
            if refused.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def create_run(self, experiment_id: str, name: str, started_at: float, tags: Mapping[str, str]) -> dict[str, Any]:
        """A new run's `info`."""
        run = self.post(
            "runs/create", experiment_id=experiment_id, run_name=name, start_time=in_ms(started_at), tags=_pairs(tags)
        )["run"]
        return dict(run["info"])

    def told_until(self, run_id: str) -> int | None:
        """The time of a run's newest metric in ms, 0 without any; None where the run is not there or is deleted."""
        try:
            run = self.get("runs/get", run_id=run_id)["run"]
        except Refused as refused:
            if refused.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if run["info"].get("lifecycle_stage", "active") != "active":
            return None
        return max((int(each["timestamp"]) for each in run.get("data", {}).get("metrics", ())), default=0)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Params can be set once; again only to the same value."""
        for some in _batched(_pairs(params), MAX_PARAMS):
            self.post("runs/log-batch", run_id=run_id, params=some)

    def log_metrics(self, run_id: str, metrics: Sequence[tuple[str, float, int, float]]) -> None:
        """Metrics as (name, value, step, time), `MAX_METRICS` at most: in one call, all or none."""
        told = [
            {"key": _key(key), "value": value, "step": step, "timestamp": in_ms(at)} for key, value, step, at in metrics
        ]
        self.post("runs/log-batch", run_id=run_id, metrics=told)

    def set_status(self, run_id: str, status: str, ended_at: float | None = None) -> None:
        """RUNNING, FINISHED, FAILED or KILLED."""
        end = {} if ended_at is None else {"end_time": in_ms(ended_at)}
        self.post("runs/update", run_id=run_id, status=status, **end)

    def put_files(self, artifact_uri: str, files: Mapping[str, bytes]) -> bool:
        """Send files into a run's artifacts. False where the server does not take them itself."""
        if not artifact_uri.startswith(PROXIED):
            return False
        _, _, below = artifact_uri.removeprefix(PROXIED).removeprefix("//").partition("/")
        for name, content in files.items():
            self._call("PUT", f"api/2.0/mlflow-artifacts/artifacts/{below}/{name}", data=content)
        return True

    def get(self, what: str, **query: str) -> dict[str, Any]:
        """Ask."""
        return self._call("GET", f"api/2.0/mlflow/{what}", params=query)

    def post(self, what: str, **body: Any) -> dict[str, Any]:
        """Tell."""
        return self._call("POST", f"api/2.0/mlflow/{what}", json=body)

    def _call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        try:
            # A redirected POST would arrive as a GET.
            answer = self._session.request(
                method, f"{self._uri}/{path}", timeout=TIMEOUT_S, allow_redirects=False, **content
            )
        except requests.RequestException as error:
            raise Unreachable(_cause(error)) from error
        if answer.status_code in BUSY or answer.status_code >= 500:
            raise Unreachable(f"it answered {answer.status_code} {answer.reason}")
        if answer.status_code >= 300:
            raise _refusal(answer)
        return _json(answer)


def _refusal(answer: requests.Response) -> Refused:
    said = _json(answer)
    if answer.status_code in (401, 403):
        return Refused(
            f"it answered {answer.status_code} {answer.reason}; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME "
            "and MLFLOW_TRACKING_PASSWORD"
        )
    if answer.is_redirect:
        return Refused(f"it redirects to {answer.headers['location']}; set track.mlflow to where the server is")
    message = " ".join(str(said.get("message") or answer.reason).split())[:300]
    return Refused(f"it answered {answer.status_code}: {message}", str(said.get("error_code", "")))


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        said = answer.json() if answer.content else {}
    except ValueError:
        said = None
    if not isinstance(said, dict):
        if answer.ok:  # a proxy's login page, or another service on that port
            raise Refused("its answer is no JSON: is this an MLflow server?")
        return {}
    return said


def _credentials() -> Any:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return _Bearer(token)
    if name := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        return (name, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    return None


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _cause(error: BaseException) -> str:
    """The innermost reason, such as "Connection refused", instead of urllib3's nested ones."""
    if isinstance(error, requests.Timeout):
        return "it does not answer in time"
    cause: Any = error
    while (inner := getattr(cause, "reason", None) or cause.__cause__ or cause.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return str(getattr(cause, "strerror", None) or type(cause).__name__)


def _batched(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    keyed = {_key(key): value[:MAX_VALUE] for key, value in values.items()}
    return [{"key": key, "value": value} for key, value in keyed.items()]


def _key(name: str) -> str:
    return NO_KEY.sub("_", name)[:MAX_KEY]


def in_ms(seconds: float) -> int:
    """As MLflow tells time."""
    return int(seconds * 1000)
