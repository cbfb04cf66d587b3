"""What training makes small: `Loss` and the weights in it."""

from training.losses.loss import Loss, Wanted
from training.losses.rows import classification_loss
from training.losses.weights import class_weights, loss_weights

__all__ = ["Loss", "Wanted", "class_weights", "classification_loss", "loss_weights"]
