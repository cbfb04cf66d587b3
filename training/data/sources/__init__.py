"""Sources: tables, images, databases and functions, read into one checked shape."""

from training.data.sources.files import CSV_ENDINGS, PARQUET_ENDINGS
from training.data.sources.functions import SKLEARN_SETS
from training.data.sources.read import read_sources, read_table

__all__ = ["CSV_ENDINGS", "PARQUET_ENDINGS", "SKLEARN_SETS", "read_sources", "read_table"]
