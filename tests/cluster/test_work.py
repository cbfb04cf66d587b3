"""From a package to a release, and back from a config file to its run."""

import shutil
from pathlib import Path

import pytest

from cluster.history import find_run
from cluster.releases import registry_of
from cluster.work import register
from serving.registry import CHAMPION
from tests.packages import write_table_package
from training.config import Experiment
from training.errors import ConfigError
from training.journal import Journal
from training.pipeline import Work
from training.progress import Silent
from training.run_folder import RunFolder


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A run whose package is written and not yet registered."""
    experiment = Experiment.model_validate(
        {"name": "adult", "storage": str(tmp_path / "runs"), "data": {"source": "sklearn:iris", "target": "target"}}
    )
    return Work(experiment, RunFolder.of(experiment), Silent())


def test_a_package_is_registered_once(work: Work) -> None:
    manifest = write_table_package(work.run.package)
    first = register(work, manifest)
    assert (first.version, first.aliases) == (1, (CHAMPION,))
    assert register(work, manifest) == first


def test_a_run_stopped_while_it_registered_does_not_register_twice(work: Work) -> None:
    manifest = write_table_package(work.run.package)
    registry_of(work.experiment.storage).register("adult", work.run.package, "adult")  # and then the driver died
    release = register(work, manifest)
    assert (release.version, release.aliases) == (1, (CHAMPION,))


def test_a_registry_that_was_removed_is_filled_again(work: Work) -> None:
    manifest = write_table_package(work.run.package)
    register(work, manifest)
    shutil.rmtree(registry_of(work.experiment.storage).root)
    assert register(work, manifest).version == 1


def test_an_altered_release_does_not_stop_the_next_one(work: Work) -> None:
    first = register(work, write_table_package(work.run.package))
    (first.package / "manifest.json").write_text("{}")
    assert register(work, write_table_package(work.run.package, bias=-1.0)).version == 2


def test_a_config_finds_its_run_where_the_storage_option_put_it(tmp_path: Path) -> None:
    config = tmp_path / "t.yaml"
    config.write_text(f"name: t\nstorage: {tmp_path / 'own'}\ndata: {{source: sklearn:iris, target: target}}\n")
    for storage in ("other", "own"):
        (tmp_path / storage / "t").mkdir(parents=True)
        with pytest.raises(ConfigError, match="there is no run"):
            find_run(str(config), str(tmp_path / "nowhere"))
        Journal(tmp_path / storage / "t" / "journal.jsonl").append("started")
        assert find_run(str(config), str(tmp_path / "other")) == tmp_path / storage / "t"
