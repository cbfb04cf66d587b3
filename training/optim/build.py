"""From a training's config to its optimizer."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from training.errors import ConfigError
from training.import_path import load_class
from training.optim.decay import decay_decoupled
from training.optim.groups import decayed_parameters, parameter_groups
from training.optim.lion import Lion
from training.optim.local import is_shared_out
from training.train_config import OptimizerConfig, TrainConfig

__all__ = ["build_optimizer", "decayed_parameters"]

_FUSED_DEVICES = ("cpu", "cuda", "mps")


def build_optimizer(model: nn.Module, config: TrainConfig, device: torch.device, code_path: str = "") -> Optimizer:
    """The optimizer of the model's trainable parameters; call it after the model is wrapped.

    Weight decay is decoupled in all of them, AdamW's and Lion's own or `training.optim.decay`. It acts on matrices,
    embeddings and kernels, not on norms and biases.

    Args:
        model: the original module, also where it is wrapped for several workers.
        config: names the optimizer, its rate and weight decay.
        device: where the parameters are.
        code_path: folder that `train.optimizer.target` is imported from, besides the usual places.
    """
    settings = config.optimizer
    if settings.args and settings.target is None:
        raise ConfigError(
            f"train.optimizer.args are for train.optimizer.target, and train.optimizer.kind={settings.kind} has none",
            "give target, package.module:Class, or leave args out",
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("the model has no parameter to train: none has requires_grad", "look into model.target")
    if settings.target is not None:
        return _build_custom(model, config, settings.target, code_path)
    groups = parameter_groups(model, config.weight_decay)
    match settings.kind:
        case "adamw":
            return torch.optim.AdamW(
                groups,
                lr=config.peak_lr,
                betas=settings.betas or (0.9, 0.999),
                eps=settings.eps,
                fused=device.type in _FUSED_DEVICES,
            )
        case "lion":
            return Lion(groups, lr=config.peak_lr, betas=settings.betas or (0.9, 0.99))
        case "sgd":
            return decay_decoupled(_sgd(groups, config, settings, device))


def _sgd(
    groups: list[dict[str, Any]], config: TrainConfig, settings: OptimizerConfig, device: torch.device
) -> Optimizer:
    # torch 2.13 has no fused SGD for DTensors.
    fused = device.type in _FUSED_DEVICES and not is_shared_out([p for group in groups for p in group["params"]])
    return torch.optim.SGD(
        groups,
        lr=config.peak_lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,  # torch refuses it where there is no momentum
        fused=fused,
        foreach=not fused,
    )


def _build_custom(model: nn.Module, config: TrainConfig, target: str, code_path: str) -> Optimizer:
    optimizer_class = load_class(target, code_path, "train.optimizer.target")
    if not issubclass(optimizer_class, Optimizer):
        raise ConfigError(
            f"train.optimizer.target {target} is no torch.optim.Optimizer", "name a class derived from it"
        )
    args = config.optimizer.args
    for name, ours in {"lr": "train.peak_lr", "weight_decay": "train.weight_decay", "params": "the model"}.items():
        if name in args:
            raise ConfigError(f"train.optimizer.args.{name} is given by us", f"it comes from {ours}")
    signature = inspect.signature(optimizer_class)
    if optimizer_class.step is Optimizer.step:
        raise ConfigError(
            f"train.optimizer.target {target} cannot be used: it has no step of its own",
            "write step(self, closure=None)",
        )
    if _needs_closure(optimizer_class):
        raise ConfigError(
            f"train.optimizer.target {target} cannot be used: its step needs a closure, which computes the loss "
            "several times a step",
            "take one that steps from gradients",
        )
    # A number, and not an argument of the class: not all have one, and some add it to the gradients.
    groups = parameter_groups(model, config.weight_decay)
    make: Callable[..., Optimizer] = optimizer_class
    try:
        optimizer = make([group for group in groups if group["params"]], lr=config.peak_lr, **args)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"train.optimizer.args do not fit {target}: {error}",
            f"it takes {signature}; params, lr and weight_decay are given by us",
        ) from error
    return decay_decoupled(optimizer)


def _needs_closure(optimizer_class: type) -> bool:
    parameters = inspect.signature(optimizer_class.step).parameters  # type: ignore[attr-defined]  # an Optimizer
    return "closure" in parameters and parameters["closure"].default is inspect.Parameter.empty
