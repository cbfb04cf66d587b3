"""A small MLflow server: the calls that a training makes, over real HTTP, with what it was told kept."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"


class MlflowFake:
    """Answers as mlflow 3 does. `refuse` gives every call this status; `url` outlives `stop` and `start`."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.authorizations: list[str | None] = []
        self.refuse: tuple[int, dict[str, str]] | None = None
        self.holds = threading.Event()  # set: calls are answered
        self.holds.set()
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fake.holds.wait(20)
                fake.authorizations.append(self.headers.get("Authorization"))
                status, answer, headers = fake.answer(self.command, self.path, body)
                sent = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(sent))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST = do_PUT = handle_any

            def log_message(self, *args: Any) -> None:
                """Tests read what they ask for."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any], dict[str, str]]:
        if self.refuse is not None:
            return self.refuse[0], {}, self.refuse[1]
        parts = urlsplit(path)
        if parts.path.startswith(ARTIFACTS) and method == "PUT":
            self.files[parts.path.removeprefix(ARTIFACTS)] = body
            return 200, {}, {}
        what = parts.path.removeprefix("/api/2.0/mlflow/")
        asked = json.loads(body) if method == "POST" else {key: each[0] for key, each in parse_qs(parts.query).items()}
        found = self._call(f"{method} {what}", asked)
        return (
            (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": what}, {}) if found is None else (200, found, {})
        )

    def _call(self, call: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        run = self.runs.get(asked.get("run_id", ""))
        match call:
            case "GET experiments/get-by-name":
                known = self.experiments.get(asked["experiment_name"])
                return None if known is None else {"experiment": {"experiment_id": known, "lifecycle_stage": "active"}}
            case "POST experiments/create":
                self.experiments[asked["name"]] = "7"
                return {"experiment_id": "7"}
            case "POST runs/create":
                name = f"r{len(self.runs)}"
                uri = f"mlflow-artifacts:/{asked['experiment_id']}/{name}/artifacts"
                info = {"run_id": name, "artifact_uri": uri, "lifecycle_stage": "active"}
                self.runs[name] = {"info": info, "asked": asked, "params": {}, "metrics": [], "status": ["RUNNING"]}
                return {"run": {"info": info}}
            case "GET runs/get":
                if run is None:
                    return None
                latest = {each["key"]: each for each in run["metrics"]}
                return {"run": {"info": run["info"], "data": {"metrics": list(latest.values())}}}
            case "POST runs/log-batch" if run is not None:
                assert len(json.dumps(asked)) < 1e6
                assert len(asked.get("params", ())) <= 100
                assert len(asked.get("metrics", ())) <= 1000
                run["params"] |= {each["key"]: each["value"] for each in asked.get("params", ())}
                run["metrics"] += asked.get("metrics", ())
                return {}
            case "POST runs/update" if run is not None:
                run["status"].append(asked["status"])
                return {}
        return None
