"""The report of a run: one HTML page that works offline, with its figures and tables beside it.

`run.make_report` makes it. It is not re-exported: tables are needed where figures, and matplotlib, are not.
"""
