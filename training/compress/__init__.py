"""Smaller and faster forms of a model: made, measured, and chosen by the numbers."""
