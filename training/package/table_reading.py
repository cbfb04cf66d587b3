"""How the table was read that a package learned from: for whoever reads new rows of it."""

from pathlib import Path
from typing import Any

import yaml

from training.package.manifest import EXPERIMENT_FILE

KEYS = ("delimiter", "missing", "names", "rename", "cast", "convert", "target")  # of the experiment's data section


def table_reading_of(package: Path) -> dict[str, Any]:
    """What the package's experiment says of it; nothing where it says nothing."""
    path = package / EXPERIMENT_FILE
    data: dict[str, Any] = ((yaml.safe_load(path.read_text()) or {}) if path.exists() else {}).get("data") or {}
    return {key: data[key] for key in KEYS if key in data}
