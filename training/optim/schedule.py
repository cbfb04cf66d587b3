"""The learning rate, and with one_cycle the momentum, of every step."""

import math
from typing import Any

from torch.optim import Optimizer

from training.metric_names import Mode, is_better
from training.train_config import OptimizerConfig, TrainConfig

ONE_CYCLE_START = 25  # the peak rate / the first one, as in torch's OneCycleLR and fastai


class Schedule:
    """Rates as a function of the step; only `plateau` remembers anything, namely how its scores went.

    `lr_scale` multiplies every rate: whoever finds training diverging makes it smaller.
    """

    def __init__(self, config: TrainConfig, num_steps: int, mode: Mode) -> None:
        """`num_steps` of all epochs together; `mode` says whether a small or a large score is good."""
        self._kind, self._peak = config.schedule.kind, config.peak_lr
        self._num_steps, self._mode = num_steps, mode
        self._rise = config.warmup_fraction * num_steps
        self._final = config.schedule.final_fraction * config.peak_lr
        self._factor, self._patience = config.schedule.factor, config.schedule.patience
        self._momenta = _momenta(config.optimizer) if self._kind == "one_cycle" else None
        self.lr_scale = 1.0
        self._plateau_scale, self._best, self._num_stalled = 1.0, math.nan, 0

    def rate(self, step: int) -> float:
        """Learning rate of a step, the first is 0.

        cosine: linear warm-up, then half a cosine (Loshchilov and Hutter, SGDR, 2017). one_cycle: half a cosine from
        peak / 25 to the peak, and another down (Smith, A disciplined approach to neural network hyper-parameters,
        2018). plateau and constant: linear warm-up, then the peak, for plateau times what the scores made of it.
        """
        if self._kind == "one_cycle":
            return self._one_cycle(step) * self.lr_scale
        if step < self._rise:
            return self._peak * (step + 1) / (self._rise + 1) * self._plateau_scale * self.lr_scale
        if self._kind == "cosine":
            return _cosine(self._peak, self._final, self._progress(step)) * self.lr_scale
        return self._peak * self._plateau_scale * self.lr_scale

    def momentum(self, step: int) -> float | None:
        """With one_cycle SGD's momentum or the first beta, low where the rate is high; else None: it stays.

        It goes between base - h (at least base / 2) and base + h, h half of what the base lacks to 1: 0.85 and 0.95
        for 0.9.
        """
        if self._momenta is None:
            return None
        low, high = self._momenta
        if step < self._rise:
            return _cosine(high, low, step / self._rise)
        return _cosine(low, high, self._progress(step))

    def apply(self, optimizer: Optimizer, step: int) -> None:
        """Set the optimizer up for a step."""
        rate, momentum = self.rate(step), self.momentum(step)
        for group in optimizer.param_groups:
            if group["lr"] != rate:
                group["lr"] = rate
            if momentum is not None:
                _set_momentum(group, momentum)

    def epoch_done(self, score: float) -> None:
        """Tell the validation score. `plateau` makes the rate smaller after `patience` epochs without improvement."""
        if self._kind != "plateau":
            return
        if is_better(score, self._best, self._mode):
            self._best, self._num_stalled = score, 0
            return
        self._num_stalled += 1
        if self._num_stalled >= self._patience:
            self._plateau_scale, self._num_stalled = self._plateau_scale * self._factor, 0

    def state_dict(self) -> dict[str, Any]:
        """Numbers only."""
        return {
            "lr_scale": self.lr_scale,
            "plateau_scale": self._plateau_scale,
            "best": self._best,
            "num_stalled": self._num_stalled,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.lr_scale, self._plateau_scale = state["lr_scale"], state["plateau_scale"]
        self._best, self._num_stalled = state["best"], state["num_stalled"]

    def _progress(self, step: int) -> float:
        return (step - self._rise) / max(self._num_steps - self._rise, 1)

    def _one_cycle(self, step: int) -> float:
        if step < self._rise:
            return _cosine(self._peak / ONE_CYCLE_START, self._peak, step / self._rise)
        return _cosine(self._peak, self._final, self._progress(step))


def _cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * progress))


def _momenta(config: OptimizerConfig) -> tuple[float, float] | None:
    """Lowest and highest momentum; None where the optimizer is to have none."""
    if config.target is not None:
        base = config.args.get("momentum", config.args.get("betas", (0.9,))[0])
    else:
        base = config.momentum if config.kind == "sgd" else (config.betas or (0.9,))[0]
    half = (1 - base) / 2
    return (max(base - half, base / 2), base + half) if base > 0 else None


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    elif group.get("momentum"):  # one that is 0 has no buffer to start from
        group["momentum"] = momentum
