"""A program, run by test_default_proxy.py: our endpoint on a cluster whose Serve was started without HAProxy."""

import sys
from pathlib import Path

import ray
from ray import serve

from serving.app import deploy
from serving.client import Client
from serving.config import start_options
from serving.registry import Registry
from training.package.serve_config import Replicas, ServeConfig


def main(package: Path, port: int) -> None:
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    config = ServeConfig(port=port, replicas=Replicas(min=1, max=1), cpus_per_replica=0.2)
    serve.start(**start_options(config))
    registry = Registry(package.parent / "registry")
    for name in ("adult", "adult-2"):
        deploy(registry.register(name, package, "run"), config)
    with Client(f"http://127.0.0.1:{port}") as client:
        assert client.ready()
        assert client.metadata("adult-2", "1")["name"] == "adult-2"
        (answer,) = client.predict("adult", [{"age": 39, "hours": 40, "city": "Rome"}])
        sys.stdout.write(f"label={answer['label']}\n")
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
