"""`manta predict`: rows of files to answers, by a package in this process or on a Ray, or by an endpoint."""

from cluster.predict.few import as_csv, here

__all__ = ["as_csv", "here"]
