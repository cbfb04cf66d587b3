"""What a search came to. Importable without Ray."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    trial: str
    params: dict[str, Any]
    score: float
    num_complete: int
    num_pruned: int
    num_failed: int
