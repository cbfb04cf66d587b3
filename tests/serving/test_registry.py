"""Registry: numbered releases, aliases, history; safe when several processes write at once."""

import multiprocessing
import shutil
from pathlib import Path

import pytest

from serving.errors import RegistryError
from serving.registry import Registry
from tests.packages import write_regression_package, write_table_package
from training.package.errors import PackageError
from training.package.read import load_package
from training.package.signature import make_keys
from training.package.write import sign_package, write_package


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    write_table_package(tmp_path / "package")
    return tmp_path / "package"


def test_versions_count_up_and_packages_are_copies(registry: Registry, package: Path) -> None:
    first = registry.register("adult", package, "run-1")
    second = registry.register("adult", package, "run-2")
    shutil.rmtree(package)
    assert (first.version, second.version) == (1, 2)
    assert (second.run, second.metric, second.score) == ("run-2", "test/accuracy", 0.9)
    assert load_package(second.package).manifest == load_package(first.package).manifest
    assert registry.releases() == [first, second]
    assert registry.names() == ["adult"]


def test_a_score_of_other_rows_is_called_by_its_own_name(registry: Registry, package: Path) -> None:
    """Of a form that was chosen on rows that somebody brought along."""
    manifest = load_package(package).manifest
    other = manifest.variant().model_copy(update={"metrics": {"other/accuracy": 0.75}})
    changed = manifest.model_copy(update={"variants": (other, manifest.variant("int8"))})
    write_package(package, changed, {path: (package / path).read_bytes() for path in manifest.sha256})
    release = registry.register("adult", package, "run")
    assert (release.metric, release.score) == ("other/accuracy", 0.75)


def test_references(registry: Registry, package: Path) -> None:
    for run in ("a", "b", "c"):
        registry.register("adult", package, run)
    assert registry.resolve("adult").version == 3
    registry.set_alias(registry.resolve("adult@2"), "champion")
    assert registry.resolve("adult").version == 2
    moved = registry.set_alias(registry.resolve("adult@1"), "champion")
    assert moved.aliases == ("champion",)
    assert registry.resolve("adult@champion").version == 1
    assert registry.resolve("adult@2").aliases == ()


def test_unknown_references_name_what_there_is(registry: Registry, package: Path) -> None:
    with pytest.raises(RegistryError, match=r"registry .* is empty"):
        registry.resolve("adult")
    registry.set_alias(registry.register("adult", package, "a"), "champion")
    registry.register("adult", package, "b")
    with pytest.raises(RegistryError, match=r"adult has no version or alias '5'") as caught:
        registry.resolve("adult@5")
    assert caught.value.hint == "versions: 1, 2; aliases: champion"
    with pytest.raises(RegistryError, match=r"no model 'adlut' \(nearest: adult\)"):
        registry.resolve("adlut@1")
    for reference in ("", "@1", "../adult", "adult/records"):
        with pytest.raises(RegistryError):
            registry.resolve(reference)


@pytest.mark.parametrize("name", ["", "Adult", "../x", "a/b", "-a", "a" * 64])
def test_unusable_names_and_aliases_are_refused(name: str, registry: Registry, package: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be a name"):
        registry.register(name, package, "run")
    release = registry.register("adult", package, "run")
    for alias in ("1", "", "Best"):
        with pytest.raises(RegistryError, match="cannot be an alias"):
            registry.set_alias(release, alias)


def test_history_keeps_what_was_deployed_when(registry: Registry, package: Path) -> None:
    release = registry.register("adult", package, "run-1")
    registry.set_alias(release, "champion")
    registry.record_deployment(release, "http://127.0.0.1:8000")
    history = registry.history("adult")
    assert [record.event for record in history] == ["registered", "aliased", "deployed"]
    assert history[2].details == {"url": "http://127.0.0.1:8000"}
    assert registry.history("nobody") == []


def test_an_altered_package_is_not_registered(registry: Registry, package: Path) -> None:
    (package / "golden.json").write_text("{}")
    with pytest.raises(PackageError, match=r"golden\.json"):
        registry.register("adult", package, "run")
    assert registry.names() == []


def test_a_half_copied_package_cannot_be_resolved(registry: Registry, package: Path) -> None:
    """A copy that never got its record, as a crash leaves it, is nobody's release."""
    registry.register("adult", package, "run")
    half = registry.root / "adult" / "packages" / "0123456789abcdef"
    (half / "variants").mkdir(parents=True)
    (registry.root / "adult" / "records" / ".tmp-record").write_text("{")
    assert [release.version for release in registry.releases("adult")] == [1]


def test_removed_records_are_noticed(registry: Registry, package: Path) -> None:
    registry.register("adult", package, "a")
    registry.register("adult", package, "b")
    (registry.root / "adult" / "records" / "000001.json").unlink()
    with pytest.raises(RegistryError, match="has gaps"):
        registry.resolve("adult")


def test_a_registry_that_cannot_be_written(tmp_path: Path, package: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="cannot be written"):
        Registry(tmp_path / "file").register("adult", package, "run")


def _register_often(root: Path, package: Path, run: str) -> list[int]:
    return [Registry(root).register("adult", package, run).version for _ in range(5)]


def test_processes_at_once_get_different_versions(registry: Registry, package: Path, tmp_path: Path) -> None:
    write_regression_package(tmp_path / "other")
    context = multiprocessing.get_context("spawn")  # fork would copy the threads of onnxruntime
    with context.Pool(3) as pool:
        folders = (package, tmp_path / "other", package)
        results = pool.starmap(
            _register_often, [(registry.root, folder, f"run-{i}") for i, folder in enumerate(folders)]
        )
    assert sorted(version for versions in results for version in versions) == list(range(1, 16))
    releases = registry.releases("adult")
    assert [release.version for release in releases] == list(range(1, 16))
    for release in releases:
        assert load_package(release.package).manifest.name == ("diabetes" if release.run == "run-1" else "adult")


def test_a_release_keeps_its_signature(registry: Registry, package: Path, tmp_path: Path) -> None:
    sign_package(package, make_keys(tmp_path / "keys")[0])
    release = registry.register("adult", package, "run")
    for name in ("manifest.json", "signature.json"):
        assert (release.package / name).read_bytes() == (package / name).read_bytes()
