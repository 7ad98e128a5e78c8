"""The command line: `lobula run`, its stages one by one, and commands to look around."""

from lobula.cli.app import app, main

__all__ = ["app", "main"]
