"""In which numbers matrices are multiplied, and how gradients come back from them."""

import contextlib
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training.errors import ConfigError
from training.train_config import TrainConfig

Kind = Literal["fp32", "tf32", "bf16", "fp16"]
_NARROW: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_TF32_CAPABILITY = (8, 0)  # Ampere


def narrow_type(kind: Kind) -> torch.dtype | None:
    """The type of matrix products where they are narrower than the weights; None for fp32 and tf32."""
    return _NARROW.get(kind)


def check_precision(config: TrainConfig, device: torch.device) -> None:
    """Raises ConfigError where this device cannot train in that precision."""
    kind, gpu = config.precision, device.type == "cuda"
    if kind == "tf32" and not gpu:
        raise ConfigError(
            f"train.precision=tf32 is a mode of NVIDIA's matrix units, and this trains on {device.type}",
            "take fp32, or bf16, which also runs on CPUs",
        )
    if kind == "fp16" and not gpu:
        raise ConfigError(
            f"train.precision=fp16 trains on NVIDIA GPUs only, and this trains on {device.type}: its narrow range "
            "needs loss scaling, and CPUs have no fast fp16 products",
            "take bf16, which has the range of fp32 and needs no scaling, or fp32",
        )
    if not gpu or kind not in ("tf32", "bf16"):
        return
    name, capability = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    if capability < _TF32_CAPABILITY:
        raise ConfigError(
            f"train.precision={kind} needs an Ampere GPU or a later one, and {name} is of compute capability "
            f"{capability[0]}.{capability[1]}",
            "take fp16 or fp32",
        )


class Precision:
    """The forward pass in a precision, and the way from a loss to a step. Weights and their steps stay fp32.

    It sets the process's tf32 switches on a GPU: fp32 is fp32, in convolutions too, where torch's default is not.
    Nothing here waits for the device, but what torch's GradScaler does for an optimizer that cannot skip a step on it
    (all but fused AdamW and SGD).
    """

    def __init__(self, kind: Kind, device: torch.device) -> None:
        self._device, self._narrow = device, narrow_type(kind)
        self.scaler = torch.amp.GradScaler(device.type) if kind == "fp16" else None
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
            torch.backends.cudnn.allow_tf32 = kind == "tf32"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Around the forward pass and the loss."""
        if self._narrow is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, self._narrow)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the loss, scaled where the precision needs it, added to what there is."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def clip(self, optimizer: Optimizer, parameters: Sequence[Tensor], max_norm: float) -> Tensor:
        """Clip the gradients of all parameters together to a norm; gives the norm before, on the device.

        A norm that is not finite makes all gradients NaN: fp16 skips such a step. The
        model's parameters come as a list that is made once, walking through modules costs more than clipping. Under
        FSDP the norm is of all shards, a DTensor; `full_tensor` of it is a collective.
        """
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        return nn.utils.clip_grad_norm_(parameters, max_norm, foreach=True)

    def step(self, optimizer: Optimizer) -> None:
        """One optimizer step; with loss scaling none where a gradient overflowed, and the next scale."""
        if self.scaler is None:
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The loss scale; empty without one. Reading it waits for the device."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a loss scale; with the first one where the checkpoint was taken in another precision."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)
