"""The report of a run: one HTML page that works offline, with its figures and tables beside it."""

from lobula.report.run import make_report

__all__ = ["make_report"]
