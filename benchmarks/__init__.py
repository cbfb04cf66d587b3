"""Peers side by side in one run. Each module prints a table and one JSON line of ratios."""
