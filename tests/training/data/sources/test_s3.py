"""Object stores: a real S3 API on the loopback."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.training.data.sources.asking import bad, config
from training.data.sources import read_sources, read_table
from training.errors import DataError


@pytest.fixture(scope="module")
def bucket(s3_options: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bucket")
    (folder / "csv").mkdir()
    for i in range(3):
        (folder / "csv" / f"part-{i}.csv").write_text("a,y\n" + f"{i},u\n" * (i + 1))
    (folder / "ragged.csv").write_text("a,y\n1,u\n1,2,3\n")
    (folder / "empty.csv").write_text("")
    pq.write_table(pa.table({"a": [1.5, 2.5], "y": ["u", "v"]}), folder / "t.parquet")
    for label in ("cat", "dog"):
        (folder / "pets" / label).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "pets" / label / "1.png")
    store, path = pafs.FileSystem.from_uri(f"s3://data{s3_options}")
    pafs.copy_files(str(folder), path, destination_filesystem=store)
    return "s3://data"


def test_a_file_a_folder_and_a_glob(bucket: str, s3_options: str) -> None:
    assert read_table(config(f"{bucket}/t.parquet{s3_options}")).column("a").to_pylist() == [1.5, 2.5]
    folder = read_sources(config(f"{bucket}/csv{s3_options}"))
    assert folder.table.column("a").to_pylist() == [0, 1, 1, 2, 2, 2]
    assert [file.size_bytes for file in folder.sources[0].files] == [8, 12, 16]
    assert all(file.modified_at for file in folder.sources[0].files)
    assert read_table(config(f"{bucket}/csv/part-[12]*{s3_options}")).num_rows == 5
    assert read_table(config(f"{bucket}/**/part-*.csv{s3_options}")) == folder.table


def test_images(bucket: str, s3_options: str) -> None:
    assert read_table(config(f"{bucket}/pets{s3_options}")).column("label").to_pylist() == ["cat", "dog"]


def test_bad_files_are_named(bucket: str, s3_options: str) -> None:
    raw = read_sources(config(f"{bucket}/ragged.csv{s3_options}"))
    assert bad(raw) == [("ragged.csv", 1, "", "has 3 fields instead of 2", "1,2,3")]
    assert raw.bad.column("source").to_pylist() == ["data/ragged.csv"]
    with pytest.raises(DataError, match=r"data/empty\.csv is empty"):
        read_sources(config(f"{bucket}/empty.csv{s3_options}"))
    with pytest.raises(DataError, match=r"does not exist\nhint: .*holds .*t\.parquet"):
        read_sources(config(f"{bucket}/tt.parquet{s3_options}"))
    with pytest.raises(DataError, match="holds no file that can be read"):
        read_sources(config(f"{bucket}/none-*.csv{s3_options}"))


def test_joins_of_a_local_and_a_remote_source(bucket: str, s3_options: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("b,y\n2.5,u\n1.5,v\n")
    join = {"source": f"{bucket}/t.parquet{s3_options}", "on": {"b": "a"}, "rename": {"y": "z"}}
    assert read_table(config(tmp_path / "t.csv", join=[join])).column("z").to_pylist() == ["v", "u"]
