"""Checkpoints made up from their step, so that whoever reads one knows what it must hold."""

from typing import Any

import torch

from training.session import Checkpoint, Place


def made(step: int, *, best_epoch: int = 1, width: int = 16) -> Checkpoint:
    """The same content for the same arguments, and other content for other ones."""
    generator = torch.Generator().manual_seed(step)
    weights = torch.randn(width, width, generator=generator)
    return {
        "format": 3,
        "epoch": step // 10,
        "samples": step % 10,
        "step": step,
        "model": {"weight": weights, "bias": weights[0].clone(), "count": torch.tensor(step)},
        "optimizer": {"state": {0: {"exp_avg": weights * 0.1, "step": torch.tensor(float(step))}}, "param_groups": []},
        "rng": torch.get_rng_state(),
        "best": {
            "epoch": best_epoch,
            "score": 0.5 + best_epoch / 100,
            "loss": float("nan"),
            "model": {"weight": torch.full((width, width), float(best_epoch))} if best_epoch else {},
        },
        "history": [{"epoch": float(epoch), "train/loss": 1.0 / (1 + epoch)} for epoch in range(step // 10)],
        "data_sources": [{"uri": "table.csv", "num_rows": 10}],
    }


def place(step: int) -> Place:
    return Place(step // 10, step % 10, step)


def same(left: Any, right: Any) -> bool:
    """True for two trees of the same values, NaN being the same as NaN."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right or (left != left and right != right))
