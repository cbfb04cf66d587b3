"""Checkpoints: taken off the step's path, written whole or not at all, found again intact."""
