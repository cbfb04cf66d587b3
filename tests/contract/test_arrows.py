"""Imports point down: cluster -> serving -> training.package, and the package room needs neither torch nor ray."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_import_arrows_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("training.package.read", ("torch", "ray", "pandas")),
        ("serving.predictor", ("torch", "pandas")),
        ("training.config_file", ("torch", "ray", "pyarrow", "numpy")),
        ("cluster.cli", ("torch", "ray", "pyarrow", "numpy")),
    ],
)
def test_light_rooms_load_nothing_heavy(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {unwanted!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
