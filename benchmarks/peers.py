"""The two peers of `benchmarks.serve`, each as its own guide shows it: `python -m benchmarks.peers stock|fastapi`."""

import argparse
import signal
from pathlib import Path
from typing import Any

import ray
import uvicorn
from fastapi import FastAPI
from ray import serve
from starlette.requests import Request

from benchmarks.load import CONNECTIONS
from serving.predictor import Predictor


def run_fastapi(package: Path, port: int) -> None:
    """One process: uvicorn and FastAPI."""
    app, predictor = FastAPI(), Predictor.load(package)

    @app.post("/")
    async def predict(request: Request) -> list[dict[str, Any]]:
        return predictor.predict_records(await request.json())

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


@serve.deployment(max_ongoing_requests=CONNECTIONS)
class Model:
    """The one-file deployment.

    Its only setting lets it take all connections at once. With Serve's default of 5 its router backs off, and it
    answers a tenth of the requests, which would flatter us.
    """

    def __init__(self, package: str) -> None:
        self.predictor = Predictor.load(Path(package))

    async def __call__(self, request: Request) -> list[dict[str, Any]]:
        """Records in, answers out."""
        return self.predictor.predict_records(await request.json())


def run_stock(package: Path, port: int) -> None:
    """Ray Serve with its defaults."""
    ray.init(address="local")  # not some cluster that a file of the machine still names
    serve.start(http_options={"port": port})
    serve.run(Model.bind(str(package)))
    signal.sigwait({signal.SIGINT})
    serve.shutdown()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=["stock", "fastapi"])
    parser.add_argument("package", type=Path)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    if arguments.peer == "stock":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    {"stock": run_stock, "fastapi": run_fastapi}[arguments.peer](arguments.package, arguments.port)


if __name__ == "__main__":
    main()
