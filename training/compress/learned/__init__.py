"""Smaller forms that must be trained: pruned, distilled, tuned to rounding."""
