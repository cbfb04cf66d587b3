"""Trials of one shape, trained side by side as one stacked model: each is a lane of it."""

from training.search.fused.find import LanesFound, find_lanes
from training.search.fused.lane import Lane
from training.search.fused.shape import Shape, signature
from training.search.fused.stack import Stack

__all__ = ["Lane", "LanesFound", "Shape", "Stack", "find_lanes", "signature"]
