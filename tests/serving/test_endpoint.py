"""A real endpoint: Ray Serve behind HAProxy, asked over HTTP."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
import yaml
from ray import serve
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from serving.app import deploy, endpoint_url, start_release, undeploy
from serving.client import Client
from serving.config import start_options
from serving.errors import ClientError, DeployError, NotEnoughResources
from serving.predictor import Predictor
from serving.registry import Registry, Release
from tests.packages import write_image_package, write_table_package
from tests.serving.asking import RECORD
from training.package.errors import PackageError
from training.package.manifest import EXPERIMENT_FILE
from training.package.serve_config import Replicas, ServeConfig

TABLE = {"names": ["age", "hours", "city", "pay"], "target": "pay", "missing": ["?"]}


@dataclass
class Endpoint:
    """What the tests below share. `adult` and `adult-2` differ in kind, and one name begins like the other."""

    url: str
    config: ServeConfig
    registry: Registry
    adult: Release
    predictor: Predictor

    @property
    def client(self) -> Client:
        return Client(self.url)


@pytest.fixture(scope="module")
def endpoint(ray_2_cpus: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    root = tmp_path_factory.mktemp("endpoint")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = ServeConfig(port=port, replicas=Replicas(min=1, max=1), cpus_per_replica=0.2, max_body_mb=0.1)
    serve.start(**start_options(config))
    registry = Registry(root / "registry")
    write_table_package(root / "adult", extra={EXPERIMENT_FILE: yaml.safe_dump({"data": TABLE}).encode()})
    write_image_package(root / "adult-2")
    adult = registry.register("adult", root / "adult", "run-1")
    for release in (adult, registry.register("adult-2", root / "adult-2", "run-2")):
        assert deploy(release, config) == f"http://127.0.0.1:{port}/v2/models/{release.name}"
    yield Endpoint(endpoint_url(config), config, registry, adult, Predictor.load(adult.package))
    serve.shutdown()


def rows(num_rows: int) -> dict[str, np.ndarray]:
    """Inputs for the table model, with gaps."""
    rng = np.random.default_rng(num_rows)
    ages = rng.uniform(17, 90, num_rows)
    ages[::7] = np.nan
    return {
        "age": ages,
        "hours": rng.integers(1, 99, num_rows),
        "city": np.array(rng.choice(["Rome", "Oslo", "São Paulo", "Atlantis"], num_rows), dtype=object),
    }


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("num_rows", [1, 50])
def test_our_client_gets_the_predictors_numbers(endpoint: Endpoint, num_rows: int, binary: bool) -> None:
    inputs = rows(num_rows)
    answers = endpoint.client.infer("adult", inputs, binary=binary)
    expected = endpoint.predictor.predict(inputs)
    assert answers["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(answers["probabilities"], expected["probabilities"], atol=1e-6)


def test_it_says_how_the_table_was_read(endpoint: Endpoint) -> None:
    assert endpoint.client.metadata("adult")["parameters"]["table"] == TABLE
    assert endpoint.client.metadata("adult-2")["parameters"]["table"] == {}


@pytest.mark.parametrize("send_binary", [True, False])
@pytest.mark.parametrize("receive_binary", [True, False])
def test_tritonclient_gets_the_same_numbers(endpoint: Endpoint, send_binary: bool, receive_binary: bool) -> None:
    with InferenceServerClient(endpoint.url.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("adult", "1")
        assert not client.is_model_ready("adult", "7")
        assert client.get_model_metadata("adult")["inputs"][0]["name"] == "age"
        arrays = {**rows(5), "age": np.array([20.0, 30, 40, 50, 60])}
        inputs = []
        for name, datatype in (("age", "FP64"), ("hours", "INT64"), ("city", "BYTES")):
            inputs.append(InferInput(name, [5], datatype))
            inputs[-1].set_data_from_numpy(arrays[name], binary_data=send_binary)
        outputs = [InferRequestedOutput(name, binary_data=receive_binary) for name in ("probabilities", "label")]
        result = client.infer("adult", inputs, outputs=outputs, request_id="7")
        assert result.get_response()["id"] == "7"
        expected = endpoint.predictor.predict(arrays)
        np.testing.assert_allclose(result.as_numpy("probabilities"), expected["probabilities"], atol=1e-6)
        labels = [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label")]
        assert labels == expected["label"].tolist()
        with pytest.raises(InferenceServerException, match="'city' is missing"):
            client.infer("adult", inputs[:2])


def test_many_at_once_get_their_own_answers(endpoint: Endpoint) -> None:
    records = [{"age": 17 + i % 70, "hours": i % 99, "city": "Rome"} for i in range(300)]
    expected = [answer["probabilities"]["yes"] for answer in endpoint.predictor.predict_records(records)]
    with ThreadPoolExecutor(16) as pool, endpoint.client as client:
        answers = list(pool.map(lambda record: client.predict("adult", [record])[0]["probabilities"]["yes"], records))
    np.testing.assert_allclose(answers, expected, atol=1e-6)


def test_models_side_by_side_are_not_confused(endpoint: Endpoint) -> None:
    with endpoint.client as client:
        assert [model["name"] for model in client.models()] == ["adult", "adult-2"]
        assert client.metadata("adult-2")["inputs"][0]["name"] == "image"
        assert client.metadata("adult")["inputs"][0]["name"] == "age"
        assert client.predict("adult-2", [{"image": [0] * 16}])[0]["label"] in {"0", "1", "2"}
        assert client.ready()
        assert client.live()


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/v2/models/adul", 404, r"no model 'adul' \(nearest: 'adult'\); served here: adult, adult-2"),
        ("POST", "/v2/models/adult-3/infer", 404, "no model 'adult-3'"),
        ("GET", "/v2/models/adult/versions/9", 404, "no version '9' of adult; adult is served in version 1"),
        ("GET", "/elsewhere", 404, "no path '/elsewhere'"),
        ("DELETE", "/v2/models/adult/infer", 405, "takes POST, got DELETE"),
        ("POST", "/v2", 405, "takes GET, got POST"),
        ("POST", "/v2/models/adult/infer", 400, "the body is not JSON"),
    ],
)
def test_refusals_over_http(endpoint: Endpoint, method: str, path: str, status: int, reason: str) -> None:
    response = requests.request(method, endpoint.url + path, timeout=10)
    assert response.status_code == status
    assert re.search(reason, response.json()["error"])
    assert ("Allow" in response.headers) == (status == 405)


def test_a_body_over_the_limit_with_and_without_its_length(endpoint: Endpoint) -> None:
    url = f"{endpoint.url}/v2/models/adult/predict"
    for body in (b" " * 200_000, iter([b" " * 1000] * 200)):  # an iterator goes out in chunks, without a length
        response = requests.post(url, data=body, timeout=10)
        assert response.status_code == 413
        assert "over the limit of 100000 bytes" in response.json()["error"]


def test_the_client_gives_the_servers_reason(endpoint: Endpoint) -> None:
    with pytest.raises(ClientError, match="answered 422: column 'age': element 0 is the text 'old'"):
        endpoint.client.predict("adult", [{**RECORD, "age": "old"}])
    with pytest.raises(ClientError, match="nothing answers"):
        Client("http://127.0.0.1:9").metadata("adult")


def test_the_page_is_served(endpoint: Endpoint) -> None:
    response = requests.get(endpoint.url, timeout=10)
    assert response.headers["content-type"].startswith("text/html")
    assert "<title>Manta</title>" in response.text


def test_a_replica_that_refuses_to_start_is_reported_by_its_own_reason(endpoint: Endpoint, tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    release = endpoint.registry.register("broken", tmp_path / "package", "run")
    (release.package / "golden.json").write_text("{}")
    with pytest.raises(PackageError, match=r"golden\.json is not as it was written"):
        deploy(release, endpoint.config)
    with pytest.raises(DeployError, match=r"broken.* did not start: .*golden\.json is not as it was written"):
        start_release(release, endpoint.config, timeout_s=60)
    assert endpoint.client.ready("adult")


def test_a_replica_that_fits_nowhere_is_an_error_at_once(endpoint: Endpoint) -> None:
    greedy = endpoint.config.model_copy(update={"cpus_per_replica": 1000.0})
    with pytest.raises(NotEnoughResources, match=r"fits on no node: the largest has 2 CPUs"):
        deploy(endpoint.adult, greedy)
    many = endpoint.config.model_copy(update={"replicas": Replicas(min=11, max=11)})
    with pytest.raises(NotEnoughResources, match=r"at most 10 fit: --set serve\.replicas\.min=10"):
        deploy(endpoint.adult, many)
    on_gpu = endpoint.config.model_copy(update={"gpus_per_replica": 1.0})
    with pytest.raises(NotEnoughResources, match=r"1 GPU fits on no node: the largest number of GPUs on one is 0"):
        deploy(endpoint.adult, on_gpu)


def test_new_settings_and_a_new_version_take_the_place_of_the_old(endpoint: Endpoint, tmp_path: Path) -> None:
    write_table_package(tmp_path / "package", bias=-1.0)
    second = endpoint.registry.register("adult", tmp_path / "package", "run-3")
    deploy(second, endpoint.config.model_copy(update={"max_body_mb": 1.0}))
    with endpoint.client as client:
        assert client.metadata("adult")["versions"] == ["2"]
        (answer,) = client.predict("adult", [RECORD])
        expected = Predictor.load(second.package).predict_records([RECORD])[0]
        assert answer["probabilities"]["yes"] == pytest.approx(expected["probabilities"]["yes"], abs=1e-6)
        assert (
            requests.post(f"{endpoint.url}/v2/models/adult/predict", data=b" " * 200_000, timeout=10).status_code == 400
        )
        assert client.predict("adult-2", [{"image": [1] * 16}])
    deploy(endpoint.adult, endpoint.config)


def test_undeployed_models_are_unknown(endpoint: Endpoint, tmp_path: Path) -> None:
    write_table_package(tmp_path / "package")
    deploy(endpoint.registry.register("passing", tmp_path / "package", "run"), endpoint.config)
    undeploy("passing")
    response = requests.get(f"{endpoint.url}/v2/models/passing", timeout=10)
    assert response.status_code == 404
    assert "served here: adult, adult-2" in json.loads(response.text)["error"]
