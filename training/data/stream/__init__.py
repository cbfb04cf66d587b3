"""Tables that do not fit in memory: Parquet files, read window by window."""
