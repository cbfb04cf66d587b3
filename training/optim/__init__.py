"""From gradients to steps: optimizers, schedules, precision, averages of the weights."""

from training.optim.build import build_optimizer, decayed_parameters
from training.optim.ema import Ema
from training.optim.penalty import l1_penalty
from training.optim.precision import Precision, check_precision
from training.optim.schedule import Schedule

__all__ = ["Ema", "Precision", "Schedule", "build_optimizer", "check_precision", "decayed_parameters", "l1_penalty"]
