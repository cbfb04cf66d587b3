"""One self-contained HTML page a run. Reads the run folder alone: no torch, no ray."""

from training.report.page import write_report

__all__ = ["write_report"]
