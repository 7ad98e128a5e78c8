"""How fast lobula is here: each row against a plain formulation of the same arithmetic, in one process, interleaved.

`run.run_rows` times them. It is not re-exported: the command line names the rows without importing them.
"""
