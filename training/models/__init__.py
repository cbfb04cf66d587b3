"""Architectures: built in, or your own by import path."""

from training.models.build import build_model
from training.models.inputs import ModelInputs

__all__ = ["ModelInputs", "build_model"]
