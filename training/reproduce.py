"""A run made again: what differs beforehand, and whether the same model comes out. Pure: it trains nothing itself.

Shape letters: E epochs.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from training.journal import Event
from training.package.shapes import StoredModel
from training.provenance import Provenance

TOLERANCE = 1e-6
COMPARED = ("train/", "validation/")  # scores; the rest of an epoch is times and the like
Kind = Literal["data", "code", "own code", "versions", "machine", "threads", "workers", "folder", "unknown"]
Verdict = Literal["bit-equal", "equal within tolerance", "different"]


class Difference(StoredModel):
    """One thing that is not as it was."""

    kind: Kind
    what: str
    then: str
    now: str

    def __str__(self) -> str:
        return f"{self.what}: {self.then} then, {self.now} now"


class Comparison(StoredModel):
    """Two trainings of the same settings side by side."""

    verdict: Verdict
    tolerance: float
    best_epoch: tuple[int, int]  # then, now
    digest: tuple[str, str]  # sha256 of the best epoch's weights
    largest_difference: float | None  # between two weights; null where they cannot be compared
    where: str  # the tensor with it, or why there is none
    num_epochs: tuple[int, int]
    first_difference: str  # the first epoch and score that are not bit-equal; empty where all are
    largest_score_difference: float
    causes: tuple[str, ...] = ()  # what may have made the difference, the likeliest first


@dataclass(frozen=True)
class Outcome:
    """What one training left."""

    best_epoch: int
    weights: Mapping[str, Tensor]
    epochs: Sequence[Event]  # of the journal, in order


def differences_of(then: Provenance | None, now: Provenance) -> list[Difference]:
    """What the later execution does not share with the earlier one."""
    if then is None:
        return [Difference(kind="unknown", what="provenance", then="not recorded", now="recorded")]
    found = [
        *_changed("code", [("Manta's code", then.code.digest[:12], now.code.digest[:12])]),
        *_changed("own code", [("your own code", then.own_code.digest[:12], now.own_code.digest[:12])]),
        *_changed("folder", [("relative paths start from", then.folder, now.folder)]),
    ]
    libraries = dict.fromkeys([*then.versions, *now.versions])
    found += _changed("versions", [(name, then.versions.get(name), now.versions.get(name)) for name in libraries])
    flags = (set(then.machine.cpu_flags), set(now.machine.cpu_flags))
    lost, gained = sorted(flags[0] - flags[1]), sorted(flags[1] - flags[0])
    found += _changed(
        "machine",
        [
            ("CPU", then.machine.cpu, now.machine.cpu),
            ("CPU flags that only one has", _listed(lost), _listed(gained)),
            ("operating system", then.machine.os, now.machine.os),
            ("GPUs", _listed(then.machine.gpus), _listed(now.machine.gpus)),
            ("GPU driver", then.machine.driver, now.machine.driver),
            ("CUDA", then.machine.cuda, now.machine.cuda),
            ("BLAS", then.machine.blas, now.machine.blas),
        ],
    )
    return found + _changed("threads", [("threads", then.machine.num_threads, now.machine.num_threads)])


def _changed(kind: Kind, values: Iterable[tuple[str, Any, Any]]) -> list[Difference]:
    return [
        Difference(kind=kind, what=what, then=_said(before), now=_said(after))
        for what, before, after in values
        if before != after
    ]


def _said(value: Any) -> str:
    return "none" if value in (None, "") else str(value)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def compare(then: Outcome, now: Outcome, tolerance: float = TOLERANCE) -> Comparison:
    """Weights bit by bit, scores epoch by epoch.

    They are equal within the tolerance where no weight and no score is further off, and the same epoch is best.
    """
    digests = weights_digest(then.weights), weights_digest(now.weights)
    largest, where = _largest_difference(then.weights, now.weights)
    first, worst = _history_difference(then.epochs, now.epochs)
    is_bit_equal = digests[0] == digests[1] and not first and then.best_epoch == now.best_epoch
    is_close = (
        largest is not None and max(largest, worst) <= tolerance
        and then.best_epoch == now.best_epoch and len(then.epochs) == len(now.epochs)
    )  # fmt: skip
    return Comparison(
        verdict="bit-equal" if is_bit_equal else "equal within tolerance" if is_close else "different",
        tolerance=tolerance,
        best_epoch=(then.best_epoch, now.best_epoch),
        digest=digests,
        largest_difference=largest,
        where=where,
        num_epochs=(len(then.epochs), len(now.epochs)),
        first_difference=first,
        largest_score_difference=worst,
    )


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """sha256 (64 hex) over names, types, shapes and bits of all tensors, in the order of their names."""
    whole = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def _largest_difference(then: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> tuple[float | None, str]:
    """The largest absolute difference and the tensor that has it; None where tensors cannot be compared."""
    if other := sorted(set(then) ^ set(now)):
        return None, f"only one of them has {', '.join(other[:3])}"
    largest, where = 0.0, ""
    for name in then:
        before, after = then[name].double().cpu(), now[name].double().cpu()
        if before.shape != after.shape:
            return None, f"{name} is {tuple(before.shape)} then, {tuple(after.shape)} now"
        apart = float((before - after).abs().nan_to_num(nan=math.inf).max()) if before.numel() else 0.0
        if apart > largest:
            largest, where = apart, name
    return largest, where


def _history_difference(then: Sequence[Event], now: Sequence[Event]) -> tuple[str, float]:
    """The first score that is not bit-equal, in words, and the largest difference of any."""
    first, worst = "", 0.0
    for before, after in zip(then, now, strict=False):
        for name in _scores(before, after):
            values = (before["metrics"].get(name), after["metrics"].get(name))
            if values[0] == values[1]:
                continue
            worst = max(worst, _apart(*values))
            first = first or f"epoch {before['epoch']}, {name}: {_number(values[0])} then, {_number(values[1])} now"
    if len(then) != len(now):
        first = first or f"{len(then)} epochs then, {len(now)} now"
    return first, worst


def _scores(before: Event, after: Event) -> Iterable[str]:
    names = dict.fromkeys([*before["metrics"], *after["metrics"]])
    return (name for name in names if name.startswith(COMPARED))


def _apart(before: float | None, after: float | None) -> float:
    return math.inf if before is None or after is None else abs(before - after)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.9g}"


def likely_causes(differences: Sequence[Difference], *, deterministic: bool, on_gpu: bool) -> tuple[str, ...]:
    """What may have made two trainings differ, the likeliest first.

    Args:
        differences: what was not as before.
        deterministic: `train.deterministic`.
        on_gpu: whether GPUs trained.
    """
    by_kind: dict[str, list[str]] = {}
    for each in differences:
        by_kind.setdefault(each.kind, []).append(str(each))
    order: tuple[Kind, ...] = ("data", "own code", "code", "workers", "versions", "machine", "threads", "unknown")
    found = [f"{kind}: {'; '.join(by_kind[kind][:4])}" for kind in order if kind in by_kind]
    if not deterministic and on_gpu:
        found.append("kernels: GPUs add in any order unless train.deterministic is true")
    elif not deterministic:
        found.append("kernels: train.deterministic is false, so some operations may add in another order each time")
    return tuple(found)
