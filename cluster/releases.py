"""The releases of a storage folder. Neither torch nor Ray is loaded here: `manta models` and `predict` need neither."""

import contextlib
from pathlib import Path

from serving.registry import Registry, Release
from training.package.errors import PackageError
from training.package.manifest import MANIFEST_FILE, Manifest
from training.package.read import read_manifest
from training.run_folder import storage_root

REGISTRY_FOLDER = "registry"


def registry_of(storage: str) -> Registry:
    """The registry inside a storage folder."""
    return Registry(storage_root(storage) / REGISTRY_FOLDER)


def release_of(model: str, storage: str) -> Release:
    """The release that a reference means; a package's folder is registered first, if its content is not yet."""
    registry, folder = registry_of(storage), Path(model)
    if not (folder / MANIFEST_FILE).exists():
        return registry.resolve(model)
    manifest = read_manifest(folder)
    release = release_with(registry, manifest.name, manifest)
    return release or registry.register(manifest.name, folder, manifest.lineage.run)


def release_with(registry: Registry, name: str, manifest: Manifest) -> Release | None:
    """The release that holds this very package, if there is one."""
    for release in registry.releases(name):
        with contextlib.suppress(PackageError):  # an altered one is refused where it is used; it must not stop others
            if read_manifest(release.package).sha256 == manifest.sha256:
                return release
    return None
