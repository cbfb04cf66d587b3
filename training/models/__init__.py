"""Architectures: built in, or your own by import path."""

from training.models.build import ModelInputs, build_model

__all__ = ["ModelInputs", "build_model"]
