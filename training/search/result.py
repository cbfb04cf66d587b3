"""What a search came to. Importable without Ray."""

from dataclasses import dataclass, field
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
    ended: str = ""  # why, in words
    front: tuple[str, ...] = ()  # trials that no other one beats in all objectives, where there are several
    ledger: dict[str, Any] = field(default_factory=dict)
