"""How good answers are on rows that are new: scores with intervals, slices, calibration, learning curves.

Arithmetic alone: numpy and scipy, no torch and no Ray.
"""
