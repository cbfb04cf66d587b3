"""What MLflow calls: a package's answers for a pandas frame. It travels inside the exported model."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from serving.predictor import Predictor

PACKAGE_FOLDER, SETTINGS_FILE = "package", "settings.json"


class PackageModel:
    """A package as MLflow's pyfunc flavour has it."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row of answers a row, see `Predictor.predict_table`. Raises BadInput."""
        table = pa.Table.from_pandas(model_input, preserve_index=False)
        return self.predictor.predict_table(table).to_pandas()


def _load_pyfunc(data_path: str) -> PackageModel:
    """MLflow's entry point. Raises PackageError: altered, or with other answers here than where it was packed."""
    folder = Path(data_path)
    settings = json.loads((folder / SETTINGS_FILE).read_text())
    predictor = Predictor.load(folder / PACKAGE_FOLDER, settings["variant"])
    predictor.self_test()
    return PackageModel(predictor)
