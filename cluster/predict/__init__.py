"""`manta predict`: rows of files to answers, by a package in this process or on a Ray, or by an endpoint."""
