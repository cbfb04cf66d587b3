"""`python -m cluster` is `manta`: what a submitted job runs, where no console script is installed."""

from cluster.cli import main

main()
