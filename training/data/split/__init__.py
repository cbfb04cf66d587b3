"""Divide rows into train, validation and test. The parts are stored with the run."""

from training.data.split.divide import columns_left_out, split_rows
from training.data.split.parts import Split
from training.data.split.sample import sample_split, sampled
from training.data.split.strata import strata_of

__all__ = ["Split", "columns_left_out", "sample_split", "sampled", "split_rows", "strata_of"]
