"""Serving reads packages: Open Inference Protocol v2 over HTTP, on Ray Serve behind HAProxy."""

VERSION = "0.1.0"  # told to clients; from here, as a submitted job runs where nothing is installed
