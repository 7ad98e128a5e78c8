"""How fast lobula is here: each row against a plain formulation of the same arithmetic, in one process, interleaved."""

from lobula.bench.run import ROWS, run_rows

__all__ = ["ROWS", "run_rows"]
