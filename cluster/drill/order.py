"""What a driver is told to train. Apart from the driver, which imports Ray."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Order:
    """A training. The same order a second time goes on with the same run."""

    config: str
    overrides: list[str]
    code_folder: str
    verbose: bool

    def write(self, path: Path) -> None:
        """For a driver to read."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Order":
        """As it was written."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
