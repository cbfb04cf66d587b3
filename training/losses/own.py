"""A loss function of somebody's own, by import path. Shape letters: B rows of a batch, K outputs."""

import importlib
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from training.errors import ConfigError

LossFunction = Callable[[Tensor, Tensor], Tensor]

WANTED = "it is called with (output (B, K), target) and must give the loss of each row (B,)"


class OwnLoss:
    """`train.loss.target`, looked at when it is first called. Raises ConfigError where it cannot be imported."""

    def __init__(self, target: str, code_path: str = "") -> None:
        self._target, self._is_checked = target, False
        self._function = load_function(target, code_path)

    def __call__(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        """Loss of each row (B,). Raises ConfigError the first time where it is none, or has no gradient."""
        if self._is_checked:
            return self._function(output_BK, target_B)
        try:
            loss_B = self._function(output_BK, target_B)
        except Exception as error:  # whatever somebody's code raises
            raise ConfigError(
                f"train.loss.target {self._target} fails on the first batch: {type(error).__name__}: {error}",
                f"{WANTED}; here output is {_said(output_BK)} and target {_said(target_B)}",
            ) from error
        self._check(loss_B, output_BK)
        self._is_checked = True
        return loss_B

    def _check(self, loss_B: object, output_BK: Tensor) -> None:
        if not isinstance(loss_B, Tensor) or loss_B.shape != output_BK.shape[:1] or not loss_B.is_floating_point():
            got = _said(loss_B) if isinstance(loss_B, Tensor) else type(loss_B).__name__
            raise ConfigError(
                f"train.loss.target {self._target} gives {got} for {len(output_BK)} rows",
                f"{WANTED}: reduction='none', and a mean over all axes but the first",
            )
        if torch.is_grad_enabled() and output_BK.requires_grad and not loss_B.requires_grad:
            raise ConfigError(
                f"train.loss.target {self._target} gives a loss without a gradient: nothing would be learned",
                "it must reach output by operations that torch differentiates: no detach, argmax, rounding or numpy",
            )


def load_function(target: str, code_path: str = "") -> LossFunction:
    """The function behind "package.module:function". Raises ConfigError where it cannot be imported."""
    module_name, _, name = target.partition(":")
    if code_path and code_path not in sys.path:
        sys.path.insert(0, code_path)
    try:
        importlib.invalidate_caches()  # the file may be younger than the process
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"train.loss.target {target} cannot be imported: {error}",
            f"put {module_name.replace('.', '/')}.py beside the experiment file ({code_path or 'unknown'}) or "
            "install it",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"train.loss.target: {module_name} has no function {name}", f"it has: {', '.join(known) or 'none'}"
        )
    return function  # what it gives is checked when it is called


def _said(tensor: Tensor) -> str:
    return f"a tensor {tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
