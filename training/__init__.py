"""Training: from a table to a package. Imports neither `serving` nor `cluster`."""
