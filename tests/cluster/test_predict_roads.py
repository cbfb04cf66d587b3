"""Every road to an answer gives the same float32, to the last bit: package, files, HTTP, tensors, and a Ray."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray import serve

from cluster.place import Place
from cluster.predict.on_ray import Actors, actors_for
from cluster.predict.shipped import packed, unpacked_predictor
from cluster.predict.wish import ByPackage, Wish, by_endpoint, by_package, on_ray
from serving.app import deploy, endpoint_url
from serving.client import Client
from serving.config import start_options
from serving.predictor import Predictor, inputs_of_table
from serving.registry import Registry
from tests.cluster.predicting import (
    people,
    pixels,
    write_convnet_package,
    write_csv,
    write_lines,
    write_mlp_package,
    write_parquet,
)
from training.errors import CapacityError, ConfigError, DataError
from training.package.errors import PackageError
from training.package.serve_config import Replicas, ServeConfig

NUM_ROWS = 300


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roads") / "package"
    write_mlp_package(folder)
    return folder


def rows() -> pa.Table:
    return people(NUM_ROWS, seed=1)


def bits(answers: pa.Table) -> bytes:
    names = [name for name in answers.column_names if name.startswith("probability_")]
    return np.stack([answers[name].to_numpy() for name in names]).tobytes()


def of_records(answers: list[dict[str, Any]]) -> bytes:
    """JSON's numbers, read as float32."""
    numbers = [[np.float32(value) for value in answer["probabilities"].values()] for answer in answers]
    return np.array(numbers, np.float32).T.tobytes()


def _nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize("size", [1, 2, 3, 8, 32, 64, NUM_ROWS])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_bare_predictor_gives_a_row_the_same_bits_in_calls_of_any_size(
    package: Path, tmp_path: Path, size: int, num_threads: int
) -> None:
    write_convnet_package(tmp_path / "convnet")
    for folder, table in ((package, rows()), (tmp_path / "convnet", pixels(NUM_ROWS))):
        expected = bits(Predictor.load(folder).predict_table(table))
        predictor = Predictor.load(folder, num_threads=num_threads)
        parts = [predictor.predict_table(table.slice(start, size)) for start in range(0, NUM_ROWS, size)]
        assert bits(pa.concat_tables(parts)) == expected


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.jsonl"])
def test_predicting_from_files_gives_the_bits_of_the_package(package: Path, tmp_path: Path, name: str) -> None:
    write = {"rows.parquet": write_parquet, "rows.csv": write_csv, "rows.jsonl": write_lines}[name]
    write(rows().select(["age", "hours", "city"]), tmp_path / name)
    for output in ("a.parquet", "a.jsonl"):
        wish = Wish(str(tmp_path / name), str(tmp_path / output), batch_rows=77)
        by_package(wish, ByPackage(package), _nothing, _nothing)
    expected = bits(Predictor.load(package).predict_table(rows()))
    assert bits(pq.read_table(tmp_path / "a.parquet")) == expected
    assert of_records(list(map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines()))) == expected


@pytest.fixture(scope="module")
def url(ray_2_cpus: None, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        config = ServeConfig(port=probe.getsockname()[1], replicas=Replicas(min=1, max=1), cpus_per_replica=0.2)
    serve.start(**start_options(config))
    registry = Registry(tmp_path_factory.mktemp("registry"))
    deploy(registry.register("mlp", package, "run"), config)
    yield endpoint_url(config)
    serve.shutdown()


def test_an_endpoint_gives_the_bits_of_the_package_over_json_and_over_tensors(
    url: str, package: Path, tmp_path: Path
) -> None:
    predictor = Predictor.load(package)
    expected = bits(predictor.predict_table(rows()))
    records = rows().select(["age", "hours", "city"]).to_pylist()
    with Client(url) as client:
        for size in (1, 64, NUM_ROWS):
            parts = [client.predict("mlp", records[i : i + size]) for i in range(0, NUM_ROWS, size)]
            assert of_records([answer for part in parts for answer in part]) == expected
        inputs = inputs_of_table(rows(), predictor.manifest.inputs)
        for binary in (True, False):
            assert client.infer("mlp", inputs, binary=binary)["probabilities"].T.tobytes() == expected
    write_parquet(rows(), tmp_path / "rows.parquet")
    by_endpoint(
        Wish(str(tmp_path / "rows.parquet"), str(tmp_path / "a.parquet"), keep=("id",)), url, None, _nothing, _nothing
    )
    answers = pq.read_table(tmp_path / "a.parquet")
    assert bits(answers) == expected
    assert answers["id"].to_pylist() == list(range(NUM_ROWS))


def test_an_endpoint_is_not_asked_for_rows_that_cannot_be_read(url: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("age,hours,city\n1,2,Rome\n1,old,Rome\n")
    with pytest.raises(DataError, match=r"row 1 \(the first is 0\) hours: is no number"):
        by_endpoint(Wish(str(tmp_path / "rows.csv"), str(tmp_path / "a.csv")), url, "mlp", _nothing, _nothing)
    with pytest.raises(ConfigError, match="which only a Ray writes"):
        by_endpoint(Wish(str(tmp_path / "rows.csv"), f"{tmp_path}/a/"), url, "mlp", _nothing, _nothing)


def test_a_ray_gives_the_bits_of_the_package_in_the_order_of_the_rows(
    shared_ray: list[str], package: Path, tmp_path: Path
) -> None:
    (tmp_path / "all").mkdir()
    write_parquet(rows().slice(0, 200), tmp_path / "all" / "a.parquet")  # in 12 row groups
    write_csv(rows().slice(200), tmp_path / "all" / "b.csv")
    expected = bits(Predictor.load(package).predict_table(rows()))
    for output in (f"{tmp_path}/a.parquet", f"{tmp_path}/answers/"):
        wish = Wish(str(tmp_path / "all"), output, keep=("city",), batch_rows=10)
        tally = on_ray(wish, ByPackage(package), Place("local"), "1", _nothing, _nothing, on_gpu=False)
        answers = pq.read_table(output)
        assert (tally.rows, tally.bad) == (NUM_ROWS, 0)
        assert bits(answers) == expected
        assert [city or None for city in answers["city"].to_pylist()] == rows()["city"].to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "all", "answers"]
    assert shared_ray == ["session", "session"]


@pytest.mark.slow
def test_what_goes_wrong_on_a_ray_is_said_in_one_line(shared_ray: list[str], package: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("age,hours,city\n1,2,Rome\n1,old,Rome\n")

    def ask(output: str, variant: str | None = None, actors: str | None = None) -> None:
        by = ByPackage(package, variant)
        on_ray(Wish(str(tmp_path / "rows.csv"), output), by, Place("local"), actors, _nothing, _nothing, on_gpu=False)

    for output in (f"{tmp_path}/a.csv", f"{tmp_path}/a/"):
        with pytest.raises(DataError, match=r"row 1 \(the first is 0\) hours: is no number") as caught:
            ask(output)
        assert caught.value.message.endswith("is no number ('old')")
    with pytest.raises(PackageError, match="no variant 'fp64'"):
        ask(f"{tmp_path}/a.csv", variant="fp64")
    with pytest.raises(CapacityError, match=r"2 actor\(s\) of 1 CPU each and a reader of 1 CPU can never run"):
        ask(f"{tmp_path}/a.csv", actors="2-4")
    for wrong in ("0", "many", "3-1", "2-"):
        with pytest.raises(ConfigError, match="must be a number of actors or a range"):
            ask(f"{tmp_path}/a.csv", actors=wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_actors_with_a_gpu_are_refused_where_there_is_none(ray_2_cpus: None) -> None:
    with pytest.raises(CapacityError, match="has 2 CPU and 0 GPU"):
        actors_for(None, 1, None, on_gpu=True)
    assert actors_for(None, 1, "fp32", on_gpu=False) == Actors(1, 1, 1, 0, "fp32")


def test_a_package_travels_as_bytes_and_is_verified_where_it_arrives(package: Path) -> None:
    files = packed(package)
    expected = bits(Predictor.load(package).predict_table(rows()))
    assert bits(unpacked_predictor(files, None, 1).predict_table(rows())) == expected
    files["golden.json"] += b" "
    with pytest.raises(PackageError, match=r"golden\.json is not as it was written"):
        unpacked_predictor(files, None, 1)


def test_files_that_hold_a_kept_column_in_two_types(package: Path, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    write_parquet(rows().slice(0, 9), tmp_path / "all" / "a.parquet")
    write_csv(rows().slice(9, 9), tmp_path / "all" / "b.csv")
    wish = Wish(str(tmp_path / "all"), f"{tmp_path}/a.parquet", keep=("noise",))
    by_package(wish, ByPackage(package), _nothing, _nothing)
    assert pq.read_table(tmp_path / "a.parquet")["noise"].equals(rows()["noise"].slice(0, 18))
    (tmp_path / "all" / "b.csv").write_text("age,hours,city,noise\n1,2,Rome,loud\n")
    with pytest.raises(DataError, match="--keep noise is double in the first rows and string later"):
        by_package(Wish(wish.rows, f"{tmp_path}/b.parquet", keep=("noise",)), ByPackage(package), _nothing, _nothing)
