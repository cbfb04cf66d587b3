"""Packages for elsewhere: a folder that other programs can serve, opened again and checked before it is there."""
