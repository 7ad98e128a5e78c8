"""How fast lobula is here: each row against a plain formulation of the same arithmetic, in one process, interleaved."""

from lobula.bench.run import ROWS, chosen_rows, run_rows

__all__ = ["ROWS", "chosen_rows", "run_rows"]
