"""Quantization-aware fine-tuning: the model trains on with rounded weights and activations, and keeps plain weights."""

import copy
from typing import Literal

import torch

from training.compress.errors import NotMade
from training.compress.forms.products import MIN_LAYER_WEIGHTS
from training.compress.learned.around import Around, Base
from training.compress.learned.rounding import num_rounded, rounding, watch
from training.compress.learned.tuning import fine_tune, plain_state
from training.compress_config import QatConfig

STEP = "qat"
LR_SHARE = 0.05  # of the rate of training: only what rounding broke is to be mended


def rounding_aware(base: Base, config: QatConfig, form: Literal["int8", "int8_static"], around: Around) -> Base:
    """The model with weights that bear the rounding of a form better; they are in 32 bits, for the form to be made of.

    Its validation score is that of the rounded model.

    Args:
        base: left as it is.
        config: how long it trains on.
        form: whose rounding.
        around: data and settings.

    Raises:
        NotMade: the form rounds no layer, training diverged, or found nothing better; with the reason.
    """
    if not num_rounded(base.model, form):
        least = f" of at least {MIN_LAYER_WEIGHTS:,} weights" if form == "int8" else ""
        raise NotMade(f"{form} rounds no layer of the model: it has no linear one{least}")
    peak_lr = around.experiment.train.peak_lr * LR_SHARE if config.peak_lr is None else config.peak_lr
    start = rounding(base.model, form)
    watch(start, around.some_rows(around.experiment.compress.calibration_rows))
    tuned, score = fine_tune(start, around, epochs=config.epochs, peak_lr=peak_lr)
    model = copy.deepcopy(base.model).cpu().eval()
    model.load_state_dict(plain_state(tuned, model))
    before, after = base.model.state_dict(), model.state_dict()
    if all(torch.equal(before[name].cpu(), after[name]) for name in before):
        raise NotMade(
            f"no epoch with the rounding of {form} was better than the weights as they were "
            f"({around.metric} {score:.4f} on the validation rows)"
        )
    return base.after(STEP, model, score)
