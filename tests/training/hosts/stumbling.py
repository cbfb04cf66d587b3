"""A torch group that loses a worker, once, while it is being set up."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend


@dataclass
class StumblingTorch(TorchConfig):
    """Kills rank 1 before the ranks connect, unless the marker is there."""

    marker: str = ""

    @property
    def backend_cls(self) -> type[Any]:
        """What sets the group up, in Ray Train's controller."""
        return _Stumbling


class _Stumbling(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        if not Path(backend_config.marker).exists():
            Path(backend_config.marker).touch()
            worker_group.execute_single(1, os.kill, worker_group.get_workers()[1].metadata.pid, signal.SIGKILL)
        super().on_start(worker_group, backend_config)
